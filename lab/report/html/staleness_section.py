"""Lateness of each side that has the machine to itself beside the agents: measured, and computed from intervals."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lab.bench.result import Result
from lab.experiments.staleness import P50, PART, beside, sides_of, times_as_late
from lab.measure.verdict import PATH as AGENT
from lab.report.html.blocks import Chart, Section, Table
from lab.report.html.latency_charts import COMPUTED, computed_line
from lab.report.html.lines import Axis, Look, Series, line_chart, look
from lab.report.html.notes import notes_of
from lab.report.html.svg import Point, around
from lab.report.saved_experiments import median_of, over_rounds, rounds_said, spread
from lab.report.words import duration, listed, tick, whole
from lab.stack.spark_stream import PATH as STREAM

TITLE = "Lateness of the alerts, each side alone beside the agents"
MARKS = ("triangle", "diamond", "cross", "hourglass")
MARKED = (10, 50, 90)
FIGURES = ("n", "p50", "p90", "p99", "max")


def by_interval(result: Result | None) -> Section | None:
    """The chart with a measured and a computed line for each interval, and P3's ratios."""
    if result is None:
        return None
    sides = sides_of(result)
    if not sides:
        return None
    ratios = {name: times_as_late(result, name) for name in sides}
    said = [f"{spread(one)} times with {name}" for name, one in ratios.items() if one is not None]
    notes = [
        f"Against the agents at the median, in the same run: {listed(said)} ({rounds_said(result)}).",
        *(f"{note[0].upper()}{note[1:]}." for note in result.notes),
        *notes_of(result),
    ]
    return Section("staleness-by-interval", TITLE, charts=[_chart(result, sides)], notes=notes)


def _chart(result: Result, sides: Sequence[str]) -> Chart:
    first = beside(sides[0])
    measured = [(first, AGENT, look(AGENT))]
    marks = iter(MARKS)
    measured += [(name, name, look(name) if name == STREAM else Look("batch", next(marks, "circle"))) for name in sides]
    found = {name: _quantiles(result.variants[name]) for name, _, _ in measured}
    low, high = around([value for values in found.values() for value in values])
    lines = []
    for name, short, how in measured:
        median = median_of(result, PART, name, P50)
        points = [(value, 100 * place / (len(found[name]) - 1)) for place, value in enumerate(found[name])]
        at: list[Point] = [points[share * (len(points) - 1) // 100] for share in MARKED]
        lines.append(Series(f"{short}, p50 {duration(median)}" if median else short, how, points, at))
    for name in sides:
        interval_s, runs_s = result.variants[name]["interval_s"], result.variants[name]["runs_s"]
        if interval_s is None:
            continue
        said = f"computed: every {interval_s:g} s, a run of {np.median(runs_s):.1f} s"
        lines.append(Series(said, Look(COMPUTED, "circle"), computed_line(low, high, interval_s, runs_s)))
    said = alone(result) or ""
    x = Axis("from commit of payment to commit of alert", low, high, tick, log=True)
    wide, narrow = line_chart("staleness-by-interval", TITLE, said, lines, x, Axis("% of the alerts", 0, 100, whole))
    names = [name for side in sides for name in (side, beside(side))]
    rows = [[name, *(_cell(result, name, figure) for figure in FIGURES)] for name in names]
    table = Table("Latency, medians over the rounds", ["side", *FIGURES], rows)
    return Chart("staleness-by-interval", TITLE, said, wide, narrow, table)


def _quantiles(variant: dict[str, Any]) -> list[float]:
    return [float(one) for one in variant["quantiles_ms"]]


def alone(result: Result | None) -> str | None:
    """How late half of the alerts of each side are, each alone beside the agents; None where it was not measured."""
    if result is None or not (sides := sides_of(result)):
        return None
    medians = [(name, over_rounds(result, PART, name, P50)) for name in (beside(sides[0]), *sides)]
    said = [f"{duration(one.median)} ({name})" for name, one in medians if one is not None]
    return f"Each alone beside the agents, half of the alerts had come within {listed(said)}."


def _cell(result: Result, name: str, figure: str) -> str:
    found = median_of(result, PART, name, f"latency_ms_{figure}")
    return whole(found) if figure == "n" else duration(found)
