"""A run's report for a repository: its figures and its page, without the raw log of every write."""

import shutil
from pathlib import Path

from lab.bench.result import shown
from lab.report.html.page import render
from lab.report.model import PathFigures, Summary
from lab.report.rounds import over_rounds
from lab.report.saved import LATENCIES, SUMMARY, read_summary
from lab.report.saved_experiments import file_of
from lab.report.tables import table
from lab.report.words import UNKNOWN, duration, whole
from twinpath.errors import ConfigurationError

COPIED, MADE = (SUMMARY, "summary.md", LATENCIES, file_of("*")), ("*.html", "*.svg")
COLUMNS = (
    "path",
    "commit to alert, p50",
    "p90",
    "rows never seen",
    "alerts that differ",
    "without a cause",
    "PostgreSQL's CPU for reading, µs a row",
)


def publish(folder: Path, target: Path) -> Path:
    """Copy a run's figures into `target`, in place of those of an earlier run, and make the page of them.

    Returns the path of the page; ConfigurationError for a target that holds anything else.
    """
    read_summary(folder)
    if target.exists():
        ours = {path for pattern in (*COPIED, *MADE) for path in target.glob(pattern)}
        if others := sorted(path.name for path in set(target.iterdir()) - ours):
            raise ConfigurationError(f"{target}: found {', '.join(others)}, wanted a report or an empty folder")
        shutil.rmtree(target)
    target.mkdir(parents=True)
    for pattern in COPIED:
        for path in sorted(folder.glob(pattern)):
            shutil.copy(path, target / path.name)
    return render(target)


def headline_table(summary: Summary) -> list[str]:
    """One row for each path, as Markdown: medians over the rounds with their 95 % intervals, sums over the rounds."""
    rows = []
    for path, one in summary.paths.items():
        late = [_late(summary, path, one, figure) for figure in ("p50", "p90")]
        differ, without = _sum(summary, path, one)
        cost = summary.postgres_bill.get(path)
        cpu = UNKNOWN if cost is None or cost.over_writers_us_per_row is None else shown(cost.over_writers_us_per_row)
        rows.append([path, *late, whole(one.rows_missed), whole(differ), whole(without), cpu])
    return table(COLUMNS, rows)


def _late(summary: Summary, path: str, one: PathFigures, figure: str) -> str:
    found = over_rounds(summary.rounds, path, f"{figure}_ms", summary.seed)
    if found is None:
        late = one.latency_ms_calm or one.latency_ms
        return _ms(getattr(late, figure))
    return f"{_ms(found.median)} ({_ms(found.low)} to {_ms(found.high)})"


def _ms(value: float | None) -> str:
    return UNKNOWN if value is None else duration(value)


def _sum(summary: Summary, path: str, one: PathFigures) -> tuple[int, int]:
    """Alerts that differ from those of the oracle, and those of them without a cause."""
    every = summary.rounds
    if not every:
        return one.missing + one.extra, one.unexplained
    differ = sum(each.missing.get(path, 0) + each.extra.get(path, 0) for each in every)
    return differ, sum(each.unexplained.get(path, 0) for each in every)
