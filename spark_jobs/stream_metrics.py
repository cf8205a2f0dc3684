"""What can be seen of streaming queries: one log line for each micro-batch, and their figures at /metrics."""

import json
import time
from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector
from pyspark.sql.streaming.listener import (
    QueryIdleEvent,
    QueryProgressEvent,
    QueryStartedEvent,
    QueryTerminatedEvent,
    StreamingQueryListener,
)

from spark_jobs.stream_fold import BucketFold
from twinpath.alert_rows import Written
from twinpath.detection.rules import Rule

PHASES = ("latestOffset", "getBatch", "queryPlanning", "walCommit", "addBatch", "commitOffsets", "triggerExecution")


class StreamMetrics:
    """The counters and gauges of a job; names are stable."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.batches = self._counter("batches", "Micro-batches finished")
        self.records = self._counter("records", "Records folded")
        self.rate = self._gauge("rows_per_second", "Records per second of the last micro-batch")
        self.phase = self._gauge("batch_seconds", "Duration of the last micro-batch", "phase")
        self.state_rows = self._gauge("state_rows", "Buckets in the state store")
        self.state_bytes = self._gauge("state_bytes", "Memory of the state store")
        self.users = self._gauge("users", "Users of the buckets of the last micro-batch", "rule")
        self.lag_records = self._gauge("lag_records", "Records in the topic that were not folded yet")
        self.lag_seconds = self._gauge("lag_seconds", "Age of the newest folded record while lagging, else 0")
        self.outcomes = self._counter("outcomes", "Changes by what they did", "rule", "kind")
        self.alerts = self._counter("alerts", "Alerts stored", "rule")
        self.suppressed = self._counter("duplicates_suppressed", "Duplicates dropped or refused", "rule")
        self.store_failures = self._counter("store_failures", "Failed attempts to reach the alert store or Kafka")
        self._newest_us: dict[str, int] = {}
        self._states: dict[str, bool] = {}

    def stored(
        self, query: str, rules: tuple[Rule, ...], folds: list[BucketFold], written: Mapping[str, Written]
    ) -> None:
        """A micro-batch was stored."""
        self._newest_us[query] = max((fold.newest_us for fold in folds), default=self._newest_us.get(query, 0))
        self.records.labels(query).inc(sum(fold.records for fold in folds))
        for place, rule in enumerate(rules):
            ours = [fold.rules[place] for fold in folds]
            for kind in {kind for one in ours for kind in one.outcomes}:
                count = sum(one.outcomes.get(kind, 0) for one in ours)
                self.outcomes.labels(query, rule.name, kind).inc(count)
            duplicates = sum(one.outcomes.get("duplicate", 0) for one in ours)
            self.alerts.labels(query, rule.name).inc(written[rule.name].stored)
            self.suppressed.labels(query, rule.name).inc(duplicates + written[rule.name].suppressed)
            self.users.labels(query, rule.name).set(sum(one.users for one in ours))

    def lag_s(self, query: str, lag_records: int) -> float:
        """Age of the newest record that was folded, while others wait."""
        newest_us = self._newest_us.get(query, 0)
        return round(max(0.0, time.time() - newest_us / 1e6), 3) if lag_records and newest_us else 0.0

    def note(self, query: str, *, alive: bool) -> None:
        """A query began or ended."""
        self._states[query] = alive

    def healthy(self) -> bool:
        """True while every query that was begun runs, and one was."""
        return bool(self._states) and all(self._states.values())

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"twinpath_stream_{name}", text, ["query", *labels], registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"twinpath_stream_{name}", text, ["query", *labels], registry=self.registry)


class Listener(StreamingQueryListener):
    """Told by Spark of each micro-batch, after it is over."""

    def __init__(self, metrics: StreamMetrics, topic: str, logger: Any) -> None:
        self._metrics = metrics
        self._topic = topic
        self._logger = logger
        self._names: dict[str, str] = {}

    def onQueryStarted(self, event: QueryStartedEvent) -> None:
        """A query begins."""
        self._names[str(event.runId)] = event.name or ""

    def onQueryProgress(self, event: QueryProgressEvent) -> None:
        """A micro-batch is over."""
        found: dict[str, Any] = json.loads(event.progress.json)
        query = str(found["name"])
        seconds = {name: found["durationMs"].get(name, 0) / 1000 for name in PHASES}
        state = found["stateOperators"][0] if found["stateOperators"] else {}
        lag = lag_records(found["sources"][0], self._topic)
        lag_s = self._metrics.lag_s(query, lag)
        rate = round(found.get("processedRowsPerSecond") or 0.0, 1)
        rows, size = state.get("numRowsTotal", 0), state.get("memoryUsedBytes", 0)
        metrics = self._metrics
        metrics.batches.labels(query).inc()
        metrics.rate.labels(query).set(rate)
        metrics.state_rows.labels(query).set(rows)
        metrics.state_bytes.labels(query).set(size)
        metrics.lag_records.labels(query).set(lag)
        metrics.lag_seconds.labels(query).set(lag_s)
        for name, value in seconds.items():
            metrics.phase.labels(query, name).set(value)
        self._logger.info(
            "micro-batch",
            query=query,
            batch=found["batchId"],
            records=found["numInputRows"],
            rows_per_s=rate,
            seconds=seconds,
            state_rows=rows,
            state_bytes=size,
            lag_records=lag,
            lag_s=lag_s,
        )

    def onQueryIdle(self, event: QueryIdleEvent) -> None:
        """Nothing new: the last figures stay, but there is no lag any more."""
        query = self._names.get(str(event.runId))
        if query:
            self._metrics.lag_records.labels(query).set(0)
            self._metrics.lag_seconds.labels(query).set(0)

    def onQueryTerminated(self, event: QueryTerminatedEvent) -> None:
        """A query is over."""
        query = self._names.get(str(event.runId))
        if query:
            self._metrics.note(query, alive=False)


def lag_records(source: Mapping[str, Any], topic: str) -> int:
    """Records between the end of a micro-batch and the end of the topic as Spark saw it when it planned the batch."""
    end, latest = (_offsets(source.get(name), topic) for name in ("endOffset", "latestOffset"))
    return sum(max(0, offset - end.get(partition, 0)) for partition, offset in latest.items())


def _offsets(found: Any, topic: str) -> dict[str, int]:
    if isinstance(found, str):
        found = json.loads(found)
    return dict((found or {}).get(topic, {}))
