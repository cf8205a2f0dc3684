"""An agent's figures and its health, as twinpath.exposition serves them."""

import time
from collections.abc import Mapping
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from twinpath.detection.model import OutcomeKind

KINDS = get_args(OutcomeKind)
LIVELY_S = 15.0  # a loop that did not turn for so long is not healthy
STALL_BUCKETS_S = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1)
BUCKETS_S = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 60, 600)


class Metrics:
    """The counters and gauges of one agent; names are stable."""

    def __init__(self, rule: str) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._labels = {"rule": rule}
        self.records = self._counter("records", "Records read from the topic")
        self.outcomes = Counter(
            "twinpath_agent_outcomes", "Changes by what they did", ["rule", "kind"], registry=self.registry
        )
        self.alerts = self._counter("alerts", "Alerts stored")
        self.suppressed = self._counter("duplicates_suppressed", "Duplicates dropped or refused")
        self.dead_letters = self._counter("dead_letters", "Records kept as dead letters")
        self.skipped = self._counter("skipped", "Records that are no change of our table")
        self.store_failures = self._counter("store_failures", "Failed attempts to reach the alert store or Kafka")
        self.lag_records = self._gauge("lag_records", "Records in the topic that were not folded yet")
        self.lag_seconds = self._gauge("lag_seconds", "Age of the last folded record while lagging, else 0")
        self.last_record = self._gauge("last_record_timestamp_seconds", "When the last record was read")
        self.checkpoint_age = self._gauge("checkpoint_age_seconds", "Age of the oldest unsaved change, else 0")
        self.checkpoint_bytes = self._gauge("checkpoint_bytes", "State bytes of the last checkpoint")
        self.checkpoints = self._counter("checkpoints", "Checkpoints stored")
        self.checkpointed_bytes = self._counter("checkpointed_bytes", "State bytes of all checkpoints")
        self.users = self._gauge("users", "Users remembered")
        self.live_users = self._gauge("live_users", "Users that are objects; the others are kept as bytes")
        self.partitions = self._gauge("partitions", "Partitions owned")
        self.decision_latency = Histogram(
            "twinpath_agent_decision_latency_seconds",
            "Append to the topic until stored, for the last record of each poll",
            ["rule"],
            buckets=BUCKETS_S,
            registry=self.registry,
        ).labels(rule)
        self.checkpoint_stall = Histogram(
            "twinpath_agent_checkpoint_stall_seconds",
            "Time that checkpoints took from one turn of the loop",
            ["rule"],
            buckets=STALL_BUCKETS_S,
            registry=self.registry,
        ).labels(rule)
        self._rule = rule
        self._turned = time.monotonic()
        self._joined = False
        self._last_age = 0.0

    def folded(self, counts: Mapping[str, int], appended_us: int, records: int) -> None:
        """Count what one poll of a partition led to; `appended_us` stamps its last record."""
        now = time.time()
        self.records.inc(records)
        for kind in KINDS:
            if counts.get(kind, 0) > 0:
                self.outcomes.labels(self._rule, kind).inc(counts[kind])
        self.alerts.inc(counts.get("alerts", 0))
        self.suppressed.inc(counts.get("duplicate", 0) + counts.get("alerts_refused", 0))
        self.dead_letters.inc(counts.get("dead_letters", 0))
        self.skipped.inc(counts.get("skipped", 0))
        self.last_record.set(now)
        self._last_age = max(0.0, now - appended_us / 1_000_000)
        self.decision_latency.observe(self._last_age)

    def position(self, lag_records: int, unsaved_s: list[float]) -> None:
        """Where the agent stands: records not folded yet, and the ages of unsaved checkpoints."""
        self.lag_records.set(lag_records)
        self.lag_seconds.set(self._last_age if lag_records else 0.0)
        self.checkpoint_age.set(max(unsaved_s, default=0.0))

    def saved(self, state_bytes: int) -> None:
        """One checkpoint was stored."""
        self.checkpoints.inc()
        self.checkpointed_bytes.inc(state_bytes)
        self.checkpoint_bytes.set(state_bytes)

    def turned(self) -> None:
        """The loop turned once."""
        self._turned = time.monotonic()

    def joined(self) -> None:
        """The group gave us partitions."""
        self._joined = True

    def healthy(self) -> bool:
        """True while the loop turns and the group has spoken."""
        return self._joined and time.monotonic() - self._turned < LIVELY_S

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(f"twinpath_agent_{name}", text, ["rule"], registry=self.registry).labels(**self._labels)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"twinpath_agent_{name}", text, ["rule"], registry=self.registry).labels(**self._labels)
