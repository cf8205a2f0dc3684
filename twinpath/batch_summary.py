"""What a run of the batch job says of itself, checked against what the alert store has kept of it."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from twinpath.errors import ExactnessError, ServiceFault

LOSSLESS = ("safe", "full")  # the other modes are kept to show what they miss
# Rows that could not be judged, over all runs of the version that a rule folds now: (path, rule, rows).
DEAD_LETTERS = """
SELECT path, rule, sum(value)::bigint
FROM counters JOIN (
    SELECT DISTINCT ON (path, rule) path, rule, rule_version FROM batch_progress ORDER BY path, rule, updated_at DESC
) AS latest USING (path, rule, rule_version)
WHERE name = 'dead_letters'
GROUP BY path, rule"""


class BatchSummary(msgspec.Struct, frozen=True):
    """One run of spark_jobs/fraud_batch.py.

    rows_known counts, by rule, the ids that were judged or taught, over all runs except in mode full; seconds are by
    part of the job; cpu_s and peak_rss_mb are those of its processes on the driver's machine.
    """

    mode: str
    path: str
    read: str
    attempt: str
    merged: bool
    rows_read: int
    rows_visible: int | None  # None unless it was asked to count them
    rows_known: dict[str, int]
    alerts_written: int
    counts: dict[str, dict[str, int]]
    horizon: int
    seconds: dict[str, float]
    cpu_s: float
    peak_rss_mb: float


def summary_file(airflow_home: Path, run_id: str) -> Path:
    """Where the job of a run of the DAG `fraud_batch` leaves its summary."""
    return airflow_home / "summaries" / f"{run_id}.json"


def read_summary(path: Path) -> BatchSummary:
    """The summary in a file; ServiceFault when there is none, or one of another shape."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=BatchSummary)
    except OSError as error:
        raise ServiceFault(f"the job left no summary ({error}): it did not come to its end") from None
    except msgspec.DecodeError as error:
        raise ServiceFault(f"{path} is no summary of the batch job: {error}") from None


def left_out(summary: BatchSummary, dead_letters: Iterable[Sequence[Any]]) -> dict[str, int]:
    """By rule: visible rows that were neither judged, nor taught, nor kept as a dead letter, in this run or before.

    A row that was deleted since still counts as known: a lower bound. ServiceFault when they were not counted.
    """
    if summary.rows_visible is None:
        raise ServiceFault("the run did not count the visible rows: give it --count-visible")
    visible = summary.rows_visible
    dead = {rule: int(rows) for path, rule, rows in dead_letters if path == summary.path}
    if summary.mode == "full":  # it begins from nothing each time
        dead = {rule: counts.get("dead_letters", 0) for rule, counts in summary.counts.items()}
    return {rule: max(0, visible - known - dead.get(rule, 0)) for rule, known in summary.rows_known.items()}


def report(path: Path, mode: str, dead_letters: Iterable[Sequence[Any]]) -> dict[str, Any]:
    """Rows and alerts of a run; ExactnessError when a mode that must not lose a row left one out."""
    summary = read_summary(path)
    if summary.mode != mode:
        raise ServiceFault(f"{path}: found a summary of mode {summary.mode}, wanted {mode}")
    missed = left_out(summary, dead_letters)
    if summary.merged and summary.mode in LOSSLESS and any(missed.values()):
        raise ExactnessError(
            f"{summary.path}: {summary.rows_visible} rows were visible, {summary.rows_read} were read, and these were "
            f"never folded: {missed}. Run the job with --mode full and compare, or begin anew: twinpath down --purge"
        )
    return {
        "merged": summary.merged,
        "rows_read": summary.rows_read,
        "rows_visible": summary.rows_visible,
        "rows_left_out": missed,
        "alerts_written": summary.alerts_written,
        "seconds": summary.seconds,
    }
