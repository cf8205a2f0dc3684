"""Both sides on the same stream as they stand at a moment: what `twinpath watch` shows.

Each figure has one source: agents by their own /metrics, the Spark stream by what it stores with each micro-batch, the
batch job by its progress, alerts by the alert store, the slot by PostgreSQL. A part that cannot be asked is a problem
in words; the others are shown all the same.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

import httpx
import msgspec
import psycopg2

from lab import versions
from lab.batch_side import DAG
from lab.live.look import Lane, Look, Of, run_words, slot_words
from lab.measure.verdict import PATH as AGENT
from lab.scrape import scrape
from lab.slot import slot_at
from lab.stack import process
from lab.stack.airflow_api import AirflowApi
from lab.stack.spark_stream import PATH as STREAM
from lab.stack.spark_stream import shown
from lab.stack.stack import Stack
from twinpath.detection.rules import RULES
from twinpath.errors import ServiceFault, TwinpathError, first_line
from twinpath.kafka_topic import KafkaTopic
from twinpath.store_session import StoreSession

NEWEST = """
SELECT path, rule, extract(epoch FROM now() - coalesce(alerted_at, decided_at))::float, latency_ms::float
FROM (SELECT DISTINCT ON (path, rule) path, rule, rule_version, user_id, tx_id, incarnation, previous_commit_lsn,
                                      row_lsn
      FROM alert_log JOIN active_rules USING (path, rule, rule_version)
      ORDER BY path, rule, decided_at DESC NULLS LAST) newest
JOIN alert_latency USING (path, rule, rule_version, user_id, tx_id, incarnation, previous_commit_lsn, row_lsn)"""
RUNS = """
SELECT path, max(run), extract(epoch FROM now() - min(updated_at))::float
FROM batch_progress JOIN active_rules USING (path, rule, rule_version) GROUP BY path ORDER BY path"""
AIRFLOW_EVERY_S = 5.0  # its API costs it more than the others' figures cost them
SCRAPE_TIMEOUT_S = 2.0
ALL = "all"
T = TypeVar("T")


class Stored(msgspec.Struct, frozen=True):
    """What the alert store says of the active versions."""

    active: Mapping[Of, versions.Version] = {}
    newest: Mapping[Of, tuple[float | None, float | None]] = {}
    runs: Sequence[tuple[str, int, float]] = ()

    def lane(self, path: str, rules: Sequence[str], **figures: Any) -> Lane:
        """A lane with the alerts of some rules, all of one path."""
        ages = [self.newest[path, rule] for rule in rules if (path, rule) in self.newest]
        age, latency = min(ages, key=lambda one: float("inf") if one[0] is None else one[0], default=(None, None))
        known = (self.active.get((path, rule)) for rule in rules)
        alerts = sum(one.alerts for one in known if one)
        name = ALL if set(rules) == set(RULES) else "+".join(rules)
        return Lane(path, name, alerts=alerts, alert_age_s=age, latency_ms=latency, **figures)

    def rules(self, path: str) -> list[str]:
        """Rules that are folded on a path, in the order of RULES."""
        return [rule for rule in RULES if (path, rule) in self.active]


class Race:
    """Looks at one running stack, again and again."""

    def __init__(self, stack: Stack) -> None:
        if process.running(stack.home, "postgres") is None:
            raise ServiceFault(f"found no running stack in {stack.home.path}, wanted one to watch. Run: twinpath up")
        self._stack = stack
        settings = stack.settings
        self._topic = KafkaTopic(settings.kafka_bootstrap_servers, settings.topic)
        self._store = StoreSession(stack.credentials.alerts_dsn(settings, "twinpath_lab"))
        self._api: AirflowApi | None = None
        self._airflow: tuple[float, list[Of]] = (0.0, [])
        self._notes: list[Of] = []
        self._problems: list[Of] = []

    def close(self) -> None:
        """End the sessions."""
        self._store.close()

    def look(self) -> Look:
        """How everything stands now."""
        self._notes, self._problems = [], []
        at, moment = time.monotonic(), datetime.now(tz=UTC)
        for name in ("postgres", "kafka", "connect"):
            if process.running(self._stack.home, name) is None:
                self._problems.append((name, "does not run; twinpath up"))
        ends = self._part("topic", self._ends, None)
        stored = self._part("alert store", self._stored, Stored())
        agents = [self._part(f"agent {rule}", partial(self._agent, rule, ends, stored), None) for rule in RULES]
        lanes = [lane for lane in agents if lane is not None]
        lanes += self._part("spark stream", partial(self._stream, ends or {}, stored), [])
        lanes += self._batch(stored)
        self._part("slot", self._slot, None)
        self._part("airflow", self._last_run, None)
        records = None if ends is None else sum(ends.values())
        return Look(at, moment, self._stack.settings.topic, records, lanes, self._notes, self._problems)

    def _part(self, name: str, read: Callable[[], T], otherwise: T) -> T:
        """What a part says; a problem when it cannot be asked."""
        try:
            return read()
        except (TwinpathError, psycopg2.Error, httpx.HTTPError, OSError) as error:
            self._problems.append((name, first_line(error)))
            return otherwise

    def _ends(self) -> dict[int, int] | None:
        if process.running(self._stack.home, "kafka") is None:
            return None
        _, partitions = self._topic.describe()
        return self._topic.ends(partitions)

    def _stored(self) -> Stored:
        with self._store.transaction() as cursor:
            active = {(one.path, one.rule): one for one, _ in versions.stored(cursor) if one.active}
            cursor.execute(NEWEST)
            newest = {(path, rule): (age, latency) for path, rule, age, latency in cursor.fetchall()}
            cursor.execute(RUNS)
            return Stored(active, newest, cursor.fetchall())

    def _agent(self, rule: str, ends: Mapping[int, int] | None, stored: Stored) -> Lane:
        agents = self._stack.agents()
        if not agents.running(rule):
            self._problems.append((f"agent {rule}", "does not run; twinpath up"))
            return stored.lane(AGENT, [rule])
        found = scrape(f"{agents.url(rule)}/metrics", SCRAPE_TIMEOUT_S)
        behind = int(found["twinpath_agent_lag_records"])
        return stored.lane(
            AGENT,
            [rule],
            done=None if ends is None else max(0, sum(ends.values()) - behind),
            counted=found["twinpath_agent_records_total"],
            behind=behind,
            lag_s=found["twinpath_agent_lag_seconds"],
        )

    def _stream(self, ends: Mapping[int, int], stored: Stored) -> list[Lane]:
        """A lane for each query that folds an active version, with its last micro-batch in words."""
        stream = self._stack.spark_stream()
        if not stream.started():
            return []
        if not stream.running():
            self._problems.append(("spark stream", "does not run; twinpath up --with spark-stream"))
        lanes = []
        for found in stream.progress():
            versions_of = {rule: stored.active[STREAM, rule].version for rule in stored.rules(STREAM)}
            rules = [rule for rule, version in versions_of.items() if f"{rule}-{version}" in found["query"]]
            if not rules:
                continue
            done = sum(found["next_offsets"].values())
            behind = max(0, sum(ends.values()) - done) if ends else None
            lag = found["age_s"] if behind else 0.0
            lanes.append(stored.lane(STREAM, rules, done=done, counted=done, behind=behind, lag_s=lag))
            self._notes.append(("stream", shown(found, ends)))
        return lanes

    def _batch(self, stored: Stored) -> list[Lane]:
        """A lane for each mode of the batch job that was ever run."""
        lanes = []
        for path, run, age_s in stored.runs:
            rules = stored.rules(path)
            done = min((stored.active[path, rule].judged for rule in rules), default=0)
            lanes.append(stored.lane(path, rules, done=done, counted=done, lag_s=age_s))
            self._notes.append(("batch", f"{path}: run {run} was merged {age_s:.0f} s ago"))
        if not lanes:
            self._notes.append(("batch", "no run yet; twinpath up --with airflow has one every few minutes"))
        return lanes

    def _slot(self) -> None:
        name = self._stack.settings.slot
        found = slot_at(self._stack.credentials.dsn("twinpath_lab", "postgres"), name)
        if found is None:
            self._problems.append(("slot", f"no replication slot {name}; twinpath doctor"))
            return
        self._notes.insert(0, ("slot", slot_words(name, found)))
        if found.lost:
            self._problems.append(("slot", "WAL that it needs is gone; twinpath doctor"))
        elif found.alarm:
            self._problems.append(("slot", f"it {found.alarm}"))
        elif not found.active:
            self._problems.append(("slot", "nobody reads it, WAL piles up; twinpath doctor"))

    def _last_run(self) -> None:
        """The last run of the batch DAG, asked for every few seconds."""
        airflow = self._stack.airflow
        if not airflow.started():
            return
        asked, notes = self._airflow
        if time.monotonic() - asked >= AIRFLOW_EVERY_S or not asked:
            self._api = self._api or airflow.api
            try:
                notes = [("airflow", run_words(DAG, self._api.last_run(DAG)))]
            except TwinpathError:
                self._api = None  # its token may have run out
                raise
            self._airflow = (time.monotonic(), notes)
        self._notes += notes
