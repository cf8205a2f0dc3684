"""`summary.json` as values: what the report reads, and the source of its JSON Schema.

`python -m lab.report.model > docs/summary.schema.json` writes the schema anew. Keys are added, never renamed; a key
that older runs lack has a default. A figure that was not measured is null.
"""

import sys
from datetime import datetime
from typing import Any, Literal

import msgspec

from lab.measure.causes import Explained
from lab.measure.latency import Percentiles
from lab.measure.money import Money

SCHEMA_VERSION = 1
Count = int | float | str | None


class RuleFigures(msgspec.Struct, frozen=True):
    """One rule on one path."""

    version: str
    alerts: int
    missing: int
    extra: int
    dead_letters: int
    latency_ms: Percentiles | None = None


class PathFigures(msgspec.Struct, frozen=True):
    """One path; missing and extra are before explanation. Hops and calm are of log-fed paths, runs of batch."""

    rows_seen: int
    alerts: int
    missing: int
    extra: int
    explained: int
    unexplained: int
    duplicates_suppressed: int
    dead_letters: int
    cpu_s: float | None
    peak_rss_mb: float | None
    latency_ms: Percentiles
    rules: dict[str, RuleFigures]
    rows_missed: int = 0
    causes: dict[str, int] = {}
    runs: int | None = None
    latency_ms_calm: Percentiles | None = None
    hops_ms_p50: dict[str, float | None] = {}

    @property
    def undisturbed(self) -> Percentiles:
        """Of the time after the warm-up, where it was told apart; else of the whole run."""
        return self.latency_ms_calm or self.latency_ms


class Goal(msgspec.Struct, frozen=True):
    """ok is null when the goal was not judged in this run; `transactions` are some behind a figure that missed."""

    id: str
    kind: Literal["correctness", "performance"]
    text: str
    target: int | float | str
    measured: dict[str, Count]
    ok: bool | None
    transactions: dict[str, list[int]] = {}
    experiment: str = ""


class Workload(msgspec.Struct, frozen=True):
    """What was offered and what came of it; rates are rows per second."""

    profile: str
    rate: float
    rows_inserted: int
    rows_updated: int
    rows_deleted: int
    rows_rolled_back: int
    achieved_rate: float | None = None
    duration_s: float | None = None
    records_in_topic: int | None = None


class Fault(msgspec.Struct, frozen=True):
    """A process that was killed on purpose."""

    killed: str
    at: datetime


class Pair(msgspec.Struct, frozen=True):
    """Two sets of alerts; a fact is (transaction, status, score, reason)."""

    a: str
    b: str
    only_a: list[tuple[int, str, int, str]]
    only_b: list[tuple[int, str, int, str]]
    unexplained: int
    explained: list[Explained] = []


class Agreement(msgspec.Struct, frozen=True):
    """All pairs."""

    reference_alerts: int
    pairs: list[Pair]


class Loss(msgspec.Struct, frozen=True):
    """One class of operation: how many were done, and how many each path saw; the note says what that means."""

    done: int
    seen: dict[str, int]
    note: str = ""


class Window(msgspec.Struct, frozen=True):
    """Ten minutes of one sensor; average is null without a reading."""

    start: datetime
    end: datetime
    sensor_id: str
    readings: int
    average: float | None


class Temperature(msgspec.Struct, frozen=True):
    """The small case."""

    windows: list[Window]


class AirflowRun(msgspec.Struct, frozen=True):
    """One run of the batch job; seconds by part, from the moment it was due until its check had ended."""

    dag_run_id: str
    kind: str
    run_after: datetime
    tries: int
    path: str
    rows_read: int
    alerts_written: int
    cpu_s: float
    peak_rss_mb: float
    seconds: dict[str, float]


class PhaseCost(msgspec.Struct, frozen=True):
    """What a phase of the experiment `bill` asked of the source's PostgreSQL: medians over its rounds.

    CPU, counts and bytes are of the whole phase, in which rows_written rows were written; connections are the most at
    a time; CPU per row in microseconds, and that over what the writers alone cost in the same round.
    """

    cpu_s: float | None
    statements: float | None
    rows_returned: float | None
    blocks_read: float | None
    blocks_hit: float | None
    wal_bytes: float | None
    connections: float | None
    rounds: int
    rows_written: float | None = None
    rows_scanned: float | None = None
    sessions: float | None = None
    cpu_us_per_row: float | None = None
    over_writers_us_per_row: float | None = None
    polls: float | None = None
    missed_rows: float | None = None


class Interval(msgspec.Struct, frozen=True):
    """The median over the rounds and its 95 % interval."""

    median: float
    low: float
    high: float


class ExperimentFigures(msgspec.Struct, frozen=True):
    """How an experiment was run and what it estimated; everything else is in its own file."""

    run_id: str
    command: str
    seed: int
    rounds: int
    disturbed_rounds: int
    estimates: dict[str, Interval]
    notes: list[str]
    not_publishable: list[str]


class Claim(msgspec.Struct, frozen=True):
    """A sentence that people say, what this run has to say to it, and the section that shows it."""

    claim: str
    measured: str
    verdict: Literal["holds", "holds only if", "not shown here"]
    section: str = ""


class RoundFigures(msgspec.Struct, frozen=True):
    """One round of the main run: by path, latencies after the warm-up where they are told apart; `verdict` is true
    when every goal of correctness was met; alerts are those that the rules call for."""

    number: int
    run_id: str
    seed: int
    verdict: bool
    rows_inserted: int
    alerts: int
    missing: dict[str, int]
    extra: dict[str, int]
    unexplained: dict[str, int]
    p50_ms: dict[str, float | None]
    p90_ms: dict[str, float | None]


class Summary(msgspec.Struct, frozen=True):
    """The whole file."""

    schema_version: int
    run_id: str
    seed: int
    verdict: Literal["pass", "fail"]
    began: datetime
    finished: datetime
    goals: list[Goal]
    workload: Workload
    paths: dict[str, PathFigures]
    agreement: Agreement
    losses: dict[str, Loss]
    environment: dict[str, Any]
    calm_s: tuple[float, float] | None = None
    faults: list[Fault] = []
    temperature: Temperature | None = None
    airflow_runs: list[AirflowRun] = []
    command: str | None = None
    batch_scheduler: str | None = None
    batch_interval_s: float | None = None
    complexity: dict[str, dict[str, Count]] = {}
    money: Money | None = None
    claims: list[Claim] = []
    postgres_bill: dict[str, PhaseCost] = {}
    experiments: dict[str, ExperimentFigures] = {}
    rounds: list[RoundFigures] = []


def schema() -> bytes:
    """The JSON Schema of the file."""
    return msgspec.json.format(msgspec.json.encode(msgspec.json.schema(Summary)), indent=1) + b"\n"


def main() -> None:
    """Write the schema to stdout."""
    sys.stdout.write(schema().decode())


if __name__ == "__main__":
    main()
