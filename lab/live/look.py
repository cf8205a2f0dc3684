"""What `twinpath watch` knows of a moment, how fast things went between two, and each part in words."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from lab.slot import Slot

TOPIC = ("", "")
USUAL = "reserved"  # what PostgreSQL calls WAL that is within max_wal_size
Of = tuple[str, str]
"""A path and its rules; or a part and its words."""


class Lane(msgspec.Struct, frozen=True):
    """One runner: an agent, a query of the stream, or the batch job in one mode; None is what is not known.

    `done` counts records of the topic, on a batch path rows of the table; `counted` grows with what it does and is for
    rates. `lag_s` is the age of what it judged last while more waits, on a batch path the time since its last run.
    `latency_ms` is that of its newest alert, from commit to commit.
    """

    path: str
    rules: str
    done: int | None = None
    counted: float | None = None
    behind: int | None = None
    lag_s: float | None = None
    alerts: int = 0
    alert_age_s: float | None = None
    latency_ms: float | None = None


class Look(msgspec.Struct, frozen=True):
    """Everything at one moment; `at` is on a clock of its own, in seconds. Notes and problems are (part, words)."""

    at: float
    moment: datetime
    topic: str
    records: int | None
    lanes: list[Lane]
    notes: list[Of]
    problems: list[Of]


def slot_words(name: str, found: Slot) -> str:
    """A slot in a line."""
    reader = f"active, read by walsender {found.reader}" if found.active else "not active"
    odd = "" if found.wal_status == USUAL else f", WAL {found.wal_status}"
    return f"{name}: {reader}, {found.kept} retained{odd}"


def run_words(dag: str, found: Mapping[str, Any] | None) -> str:
    """A run of a DAG in a line, from what Airflow's API says of it."""
    if found is None:
        return f"{dag}: no run yet"
    begun, ended = (datetime.fromisoformat(at) if at else None for at in (found["start_date"], found["end_date"]))
    when = "not started" if begun is None else f"started {begun:%H:%M:%S} UTC"
    took = f", took {(ended - begun).total_seconds():.0f} s" if begun and ended else ""
    return f"{dag}, {found['run_type']}: {found['state']}, {when}{took}"


def rates(looks: Sequence[Look]) -> dict[Of, float | None]:
    """Per second between the first and the last look, by (path, rules); TOPIC is the topic itself.

    None: not known, or the program was started again in between.
    """
    first, last = looks[0], looks[-1]
    seconds = last.at - first.at
    before = {(lane.path, lane.rules): lane.counted for lane in first.lanes} | {TOPIC: first.records}
    now = {(lane.path, lane.rules): lane.counted for lane in last.lanes} | {TOPIC: last.records}
    return {of: _rate(before.get(of), counted, seconds) for of, counted in now.items()}


def _rate(before: float | None, now: float | None, seconds: float) -> float | None:
    if before is None or now is None or now < before or seconds <= 0:
        return None
    return (now - before) / seconds
