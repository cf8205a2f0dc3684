"""Latency by PostgreSQL's clock: commit of the alert minus commit of the change that caused it."""

import csv
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path

import msgspec
import numpy as np
import psycopg2

P99_LEAST = 1_000  # samples below which no p99 is given
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # how a spreadsheet knows one


class Sample(msgspec.Struct, frozen=True):
    """One alert: when the change was committed, how long until its alert was, and which row it is about."""

    rule: str
    changed_at: datetime
    latency_ms: float
    hops_ms: tuple[float | None, ...]
    tx_id: int = 0


class Percentiles(msgspec.Struct, frozen=True):
    """Milliseconds, from raw samples; None where the samples are too few."""

    n: int
    p50: float | None
    p90: float | None
    p99: float | None
    max: float | None


HOPS = (
    "commit to connector",
    "connector to broker",
    "broker to poll",
    "poll to decision",
    "decision to alert committed",
)
HOPS_MS = (
    "extract(epoch FROM captured_at - changed_at)::float * 1000, "
    "extract(epoch FROM appended_at - captured_at)::float * 1000, "
    "extract(epoch FROM polled_at - appended_at)::float * 1000, "
    "extract(epoch FROM decided_at - polled_at)::float * 1000, "
    "extract(epoch FROM alerted_at - decided_at)::float * 1000"
)
"""Columns of the view alert_latency that make HOPS, in that order."""
READ = (
    f"SELECT rule, changed_at, latency_ms::float, {HOPS_MS}, tx_id "  # noqa: S608  constant
    "FROM alert_latency WHERE path = %s AND op = 'c' AND status = 'RAISED' AND latency_ms IS NOT NULL "
    "ORDER BY changed_at"
)


def read_samples(dsn: str, path: str) -> list[Sample]:
    """One sample for each alert raised at an insert; corrections are not in it."""
    with closing(psycopg2.connect(dsn)) as session, session.cursor() as cursor:
        cursor.execute(READ, [path])
        return [Sample(row[0], row[1], row[2], tuple(row[3:-1]), row[-1]) for row in cursor.fetchall()]


def write_samples(samples: Mapping[str, Sequence[Sample]], file: Path) -> None:
    """The raw samples by path as CSV: path, rule, commit of the change, latency and hops in ms, row."""
    with file.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["path", "rule", "changed_at", "latency_ms", *HOPS, "tx_id"])
        for path, found in samples.items():
            writer.writerows(
                [
                    cell_text(path),
                    cell_text(one.rule),
                    one.changed_at.isoformat(),
                    *_to_microseconds(one.latency_ms, *one.hops_ms),
                    one.tx_id or None,
                ]
                for one in found
            )


def cell_text(text: str) -> str:
    """A text that a spreadsheet does not take for a formula."""
    return f"'{text}" if text.startswith(FORMULA) else text


def plain_text(cell: str) -> str:
    """What `cell_text` was made from."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(FORMULA) else cell


def _to_microseconds(*values_ms: float | None) -> list[float | None]:
    """The server's stamps have no more."""
    return [None if value is None else round(value, 3) for value in values_ms]


def percentiles(values: Sequence[float]) -> Percentiles:
    """p50, p90, p99 and max; p99 only with 1,000 samples or more."""
    if not values:
        return Percentiles(0, None, None, None, None)
    p50, p90, p99 = (round(float(value), 1) for value in np.percentile(values, [50, 90, 99]))
    return Percentiles(len(values), p50, p90, p99 if len(values) >= P99_LEAST else None, round(float(max(values)), 1))


def between(samples: Sequence[Sample], begin: datetime, end: datetime) -> list[Sample]:
    """Samples whose change was committed in [begin, end)."""
    return [one for one in samples if begin <= one.changed_at < end]


def hop_medians(samples: Sequence[Sample]) -> dict[str, float | None]:
    """Median milliseconds of each hop."""
    medians: dict[str, float | None] = {}
    for place, hop in enumerate(HOPS):
        values = [value for one in samples if (value := one.hops_ms[place]) is not None]
        medians[hop] = round(float(np.median(values)), 1) if values else None
    return medians
