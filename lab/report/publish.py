"""A run's report for a repository: its figures and its page, without the raw log of every write."""

import shutil
from pathlib import Path

from lab.bench.result import Result, shown
from lab.bench.statistics import Estimate
from lab.experiments.staleness import PART, beside, sides_of, times_as_late
from lab.measure.verdict import PATH as AGENT
from lab.report.html.page import render
from lab.report.model import PathFigures, Summary
from lab.report.saved import LATENCIES, SUMMARY, read_summary
from lab.report.saved_experiments import file_of, over_rounds, read_experiments, spread
from lab.report.tables import table
from lab.report.words import UNKNOWN, duration, whole
from twinpath.errors import ConfigurationError

COPIED, MADE = (SUMMARY, "summary.md", LATENCIES, file_of("*")), ("*.html", "*.svg")
LATE = ("each alone beside the agents", "commit to alert, p50", "p90", "p99", "p50 as a multiple of the agents'")
AT_ONCE = (
    "all at once",
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


def headline_tables(folder: Path) -> list[str]:
    """Lateness of each side and what each path saw and cost, as Markdown.

    Medians over the rounds with their 95 % intervals, sums over the rounds.
    """
    summary, found = read_summary(folder), read_experiments(folder)
    lines = [*lateness_table(found.staleness), ""] if found.staleness else []
    return [*lines, *table(AT_ONCE, [_at_once(summary, path, one) for path, one in summary.paths.items()])]


def lateness_table(result: Result) -> list[str]:
    """Agents, then each side that ran beside them."""
    sides = sides_of(result)
    rows = [[AGENT, *_late(result, beside(sides[0])), "1"]] if sides else []
    for name in sides:
        ratio = times_as_late(result, name)
        rows.append([name, *_late(result, name), UNKNOWN if ratio is None else spread(ratio)])
    return table(LATE, rows)


def _late(result: Result, variant: str) -> list[str]:
    return [_spread(over_rounds(result, PART, variant, f"latency_ms_{figure}")) for figure in ("p50", "p90", "p99")]


def _spread(one: Estimate | None) -> str:
    return UNKNOWN if one is None else f"{duration(one.median)} ({duration(one.low)} to {duration(one.high)})"


def _at_once(summary: Summary, path: str, one: PathFigures) -> list[str]:
    differ, without = _sums(summary, path, one)
    cost = summary.postgres_bill.get(path)
    cpu = UNKNOWN if cost is None or cost.over_writers_us_per_row is None else shown(cost.over_writers_us_per_row)
    return [path, whole(one.rows_missed), whole(differ), whole(without), cpu]


def _sums(summary: Summary, path: str, one: PathFigures) -> tuple[int, int]:
    """Alerts that differ from those of the oracle, and those of them without a cause."""
    every = summary.rounds
    if not every:
        return one.missing + one.extra, one.unexplained
    differ = sum(each.missing.get(path, 0) + each.extra.get(path, 0) for each in every)
    return differ, sum(each.unexplained.get(path, 0) for each in every)
