"""The run on one time axis: rows committed, latency by the second, runs of the batch job, and what was killed."""

from collections.abc import Sequence

import numpy as np

from lab.measure.latency import Sample
from lab.report.html import svg
from lab.report.html.blocks import Chart, Drawing, Table
from lab.report.html.lines import (
    BOTTOM,
    NARROW,
    WIDE,
    Axis,
    Frame,
    Look,
    Series,
    framed,
    legend,
    look,
    plotted,
    ticks_below,
)
from lab.report.html.svg import Point, around
from lab.report.model import AirflowRun, Summary
from lab.report.saved import Saved
from lab.report.words import duration, listed, tick, whole

RATE, LATENCY, LANE, PANEL_GAP = 90, 190, 22, 30  # heights in pixels
NAME_ROOM = 0.4  # decades of the axis for the name of a fault
MARKS = 8  # on a line, beside its dashes
TITLE = 18
WAITING = ("schedule", "queue")
MB = 2**20
ROWS = Look("rows", "circle")
TITLE_TEXT = "The run, second by second"


def timeline(saved: Saved) -> Chart | None:
    """Latency of a second is that of the alerts whose payments were committed in it."""
    seconds = {path: by_second(saved.summary, samples) for path, samples in saved.samples.items() if samples}
    if not seconds:
        return None
    said = _said(saved.summary, seconds)
    wide, narrow = (_drawn(saved, seconds, said, width) for width in (WIDE, NARROW))
    return Chart("timeline", TITLE_TEXT, said, wide, narrow, _table(saved, seconds))


def by_second(summary: Summary, samples: Sequence[Sample]) -> dict[int, list[float]]:
    """Latencies by whole second since the load began."""
    found: dict[int, list[float]] = {}
    for one in samples:
        found.setdefault(int((one.changed_at - summary.began).total_seconds() // 1), []).append(one.latency_ms)
    return dict(sorted(found.items()))


def _since(summary: Summary, run: AirflowRun) -> tuple[float, float, float]:
    """When a run was due, began and ended, seconds since the load began."""
    due = (run.run_after - summary.began).total_seconds()
    begun = due + sum(run.seconds.get(part, 0.0) for part in WAITING)
    return due, begun, due + sum(run.seconds.values())


def _said(summary: Summary, seconds: dict[str, dict[int, list[float]]]) -> str:
    killed = listed([f"{one.killed} at {_at(summary, one.at.timestamp()):.0f} s" for one in summary.faults])
    faults = f"Killed: {killed}" if summary.faults else "Nothing was killed"
    worst = []
    for path, found in seconds.items():
        second = max(found, key=lambda each: max(found[each]))
        worst.append(f"{path} {duration(max(found[second]))} for a payment of second {second}")
    return f"{faults}. The latest alert: {', '.join(worst)}."


def _at(summary: Summary, timestamp: float) -> float:
    return timestamp - summary.began.timestamp()


def _drawn(saved: Saved, seconds: dict[str, dict[int, list[float]]], said: str, width: int) -> Drawing:
    summary = saved.summary
    lines = _lines(seconds)
    values = [value for found in seconds.values() for each in found.values() for value in each]
    runs = [(one, _since(summary, one)) for one in summary.airflow_runs]
    last = max(
        [summary.workload.duration_s or 1.0, *(end for _, (_, _, end) in runs), *(max(s) for s in seconds.values())]
    )
    time = Axis("seconds since the load began", 0.0, last, whole)
    shapes, top = legend(lines, width)
    if saved.committed:
        frame, top = _rate(saved, time, width, top)
        shapes += frame
    for title, behind in _behind(saved):
        frame, top = _panel(title, behind, time, width, top)
        shapes += frame
    begin = top
    shapes.append(svg.label("title", (4, top + 10), "latency: median of each second, up to its latest"))
    low, high = around(values)
    latencies = Axis("", low, high * 10 ** (NAME_ROOM * len(summary.faults)), tick, log=True)
    frame_of = framed(time, latencies, width, top + TITLE, LATENCY, bare=bool(runs))
    shapes += frame_of.shapes
    for one in lines:
        shapes += plotted(one, frame_of)
    shapes += _whiskers(seconds, frame_of)
    bottom = top + TITLE + LATENCY
    if runs:
        lanes, bottom = _lanes(runs, time, frame_of, width, bottom)
        shapes += lanes
    shapes += _faults(summary, frame_of, begin, bottom)
    return Drawing(width, svg.drawn("timeline", (width, round(bottom + BOTTOM)), TITLE_TEXT, said, shapes))


def _lines(seconds: dict[str, dict[int, list[float]]]) -> list[Series]:
    lines = []
    for path, found in seconds.items():
        medians: list[Point] = [(second + 0.5, float(np.median(values))) for second, values in found.items()]
        lines.append(Series(path, look(path), medians, medians[:: max(1, len(medians) // MARKS)]))
    return lines


def _whiskers(seconds: dict[str, dict[int, list[float]]], frame: Frame) -> list[str]:
    """From the median of a second up to its latest alert."""
    return [
        svg.line(f"whisker {look(path).kind}", (x, frame.y.at(float(np.median(each)))), (x, frame.y.at(max(each))))
        for path, found in seconds.items()
        for x, each in ((frame.x.at(second + 0.5), each) for second, each in found.items())
    ]


def _rate(saved: Saved, time: Axis, width: int, top: float) -> tuple[list[str], float]:
    """Rows committed in each second of the load."""
    offered = saved.summary.workload.rate
    points = [(second + 0.5, float(rows)) for second, rows in sorted(saved.committed.items())]
    title = f"writes committed in a second; dashed: {offered:,.0f} inserts offered"
    return _panel(title, [Series("rows", ROWS, points)], time, width, top, level=offered)


def _behind(saved: Saved) -> list[tuple[str, list[Series]]]:
    """What lay between the writers and each path, second by second: title and lines."""
    paths = list(dict.fromkeys(path for one in saved.behind for path in one.lag_records))
    records = [
        Series(
            path,
            look(path),
            [(one.second, lag) for one in saved.behind if (lag := one.lag_records.get(path)) is not None],
        )
        for path in paths
    ]
    kept = [(one.second, one.wal_kept_bytes / MB) for one in saved.behind if one.wal_kept_bytes is not None]
    panels = [
        ("records in the topic that were not folded yet", [one for one in records if one.points]),
        ("WAL that PostgreSQL keeps for the slot, MB", [Series("kept", ROWS, kept)] if kept else []),
    ]
    return [one for one in panels if one[1]]


def _panel(
    title: str, lines: Sequence[Series], time: Axis, width: int, top: float, level: float | None = None
) -> tuple[list[str], float]:
    """Lines from 0 on, on the time axis of the others; with a level, that is dashed."""
    most = max([1.0 if level is None else level, *(value for one in lines for _, value in one.points)])
    frame = framed(time, Axis("", 0, 1.05 * most, whole), width, top + TITLE, RATE, bare=True)
    shapes = [svg.label("title", (4, top + 10), title), *frame.shapes]
    if level is not None:
        y = frame.y.at(level)
        shapes.append(svg.line("line computed", (frame.x.begin, y), (frame.x.end, y)))
    for one in lines:
        shapes += plotted(one, frame)
    return shapes, top + TITLE + RATE + PANEL_GAP / 2


def _lanes(
    runs: Sequence[tuple[AirflowRun, tuple[float, float, float]]], time: Axis, frame: Frame, width: int, top: float
) -> tuple[list[str], float]:
    """A lane for each run: hollow while it waits, full while it works."""
    shapes = [svg.label("title", (4, top + PANEL_GAP - 4), "runs of the batch job: hollow waits, full works")]
    y = top + PANEL_GAP + 4
    for one, (due, begun, end) in runs:
        kind = look(one.path).kind
        at = [frame.x.at(max(0.0, value)) for value in (due, begun, end)]
        said = f"{one.path}, {one.kind}: due {due:.0f} s, begun {begun:.0f} s, ended {end:.0f} s"
        shapes.append(svg.bar(f"wait {kind}", (at[0], y), at[1] - at[0], LANE - 8, said))
        shapes.append(svg.bar(f"work {kind}", (at[1], y), at[2] - at[1], LANE - 8, said))
        y += LANE
    shapes.append(svg.line("axis", (frame.x.begin, y), (frame.x.end, y)))
    shapes += ticks_below(frame.x, time.shown(frame.x, 8 if width > NARROW else 4), y, width)
    shapes.append(svg.label("title", ((frame.x.begin + frame.x.end) / 2, y + 36), time.title, "middle"))
    return shapes, y


def _faults(summary: Summary, frame: Frame, top: float, bottom: float) -> list[str]:
    shapes = []
    for number, one in enumerate(summary.faults, 1):
        x = frame.x.at(_at(summary, one.at.timestamp()))
        shapes.append(svg.line("fault", (x, top + TITLE), (x, bottom)))
        shapes.append(svg.label("fault-name", (x + 4, top + TITLE + 14 * number + 4), f"{one.killed} killed"))
    return shapes


def _table(saved: Saved, seconds: dict[str, dict[int, list[float]]]) -> Table:
    spread = sorted(set(saved.committed) | {second for found in seconds.values() for second in found})
    rows = []
    for second in spread:
        row = [str(second), whole(saved.committed.get(second))]
        for found in seconds.values():
            values = found.get(second)
            row += (
                [str(len(values)), duration(float(np.median(values))), duration(max(values))] if values else ["-"] * 3
            )
        rows.append(row)
    columns = ["second", "writes committed", *(f"{path} {of}" for path in seconds for of in ("alerts", "p50", "max"))]
    return Table(TITLE_TEXT, columns, rows)
