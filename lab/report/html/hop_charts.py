"""Where the time goes: the hops of the paths that read the log, and the parts of a batch run, as stacked bars."""

from collections.abc import Mapping, Sequence

from lab.report.html import svg
from lab.report.html.blocks import Chart, Drawing, Table
from lab.report.html.lines import LEGEND_ROW, NARROW, WIDE
from lab.report.html.svg import Scale
from lab.report.model import AirflowRun, Summary
from lab.report.saved import Saved
from lab.report.words import duration, whole

BAR, GAP, NUMBER_ROOM = 26, 34, 16  # pixels
PARTS = {
    "waiting for its turn": ("schedule", "queue"),
    "starting Spark": ("submit", "session"),
    "reading": ("prepare", "read"),
    "judging": ("fold",),
    "writing": ("stage", "count", "merge"),
    "checking": ("check",),
}
Stack = tuple[str, Mapping[str, float]]
"""What a bar is of, and milliseconds by part."""


def hops(saved: Saved) -> Chart | None:
    """Medians of the hops of each path that read the log, in the calm."""
    stacks: list[Stack] = []
    for path, one in saved.summary.paths.items():
        known = {hop: ms for hop, ms in one.hops_ms_p50.items() if ms is not None and ms >= 0}
        if known:
            stacks.append((path, known))
    if not stacks:
        return None
    path, parts = stacks[0]
    longest = max(parts, key=parts.__getitem__)
    said = (
        f"Of {path} the hop {longest} takes longest, {duration(parts[longest])} in the median; "
        "medians of hops do not add up to the median of the whole."
    )
    return stacked("hops", "Where the time goes on the paths that read the log", said, stacks)


def batch_runs(saved: Saved) -> Chart | None:
    """Each run of the batch job by its parts."""
    runs = saved.summary.airflow_runs
    if not runs:
        return None
    stacks = [(f"{one.path}, {one.kind}, due {one.run_after:%H:%M:%S}", grouped(one)) for one in runs]
    totals = {part: sum(each[part] for _, each in stacks) for part in PARTS}
    longest = max((part for part in PARTS if part != "waiting for its turn"), key=totals.__getitem__)
    said = (
        f"Besides waiting for its turn a run spends most of its time on {longest}, "
        f"{duration(totals[longest] / len(runs))} on average; one run waits for the other, as they come one at a time."
    )
    return stacked("batch-runs", "Where the time goes in a run of the batch job", said, stacks)


def grouped(run: AirflowRun) -> dict[str, float]:
    """Milliseconds of a run by what a reader knows of it."""
    return {name: 1000 * sum(run.seconds.get(part, 0.0) for part in parts) for name, parts in PARTS.items()}


def stacked(name: str, title: str, said: str, stacks: Sequence[Stack], *, log: bool = False) -> Chart:
    """A bar for each stack, its parts one after the other; with `log` on an axis by powers of ten, where a part ends
    at its time and its length means nothing."""
    parts = list(dict.fromkeys(part for _, each in stacks for part in each))
    wide, narrow = (_drawn(name, title, said, stacks, parts, width, log) for width in (WIDE, NARROW))
    rows = [[of, *(duration(each.get(part)) for part in parts), duration(sum(each.values()))] for of, each in stacks]
    return Chart(name, title, said, wide, narrow, Table(title, ["", *parts, "sum"], rows))


def _drawn(
    name: str, title: str, said: str, stacks: Sequence[Stack], parts: Sequence[str], width: int, log: bool
) -> Drawing:
    numbered = [f"{number} {part}" for number, part in enumerate(parts, 1)]
    shapes: list[str] = []
    rows = svg.legend_rows(numbered, width - 8)
    number = 0
    for y, row in enumerate(rows):
        for x, text in row:
            number += 1
            shapes.append(svg.bar(f"part part-{number}", (x + 6, 4 + y * LEGEND_ROW), 22, 12))
            shapes.append(svg.label("name", (x + 34, 14 + y * LEGEND_ROW), text))
    top = len(rows) * LEGEND_ROW + 12
    most = max(sum(each.values()) for _, each in stacks) or 1.0
    low, high = svg.around([most, *(next(iter(each.values())) for _, each in stacks)]) if log else (0, most)
    across = Scale(low, high, 4, width - 12, log)
    bottom = top + len(stacks) * (BAR + GAP)
    for value in across.ticks(6 if width > NARROW else 3):
        shapes.append(svg.line("grid", (across.at(value), top), (across.at(value), bottom)))
        anchor = "start" if not value else "middle" if across.at(value) < width - 30 else "end"
        shapes.append(svg.label("tick", (across.at(value), bottom + 16), duration(value) if value else "0", anchor))
    for place, (of, each) in enumerate(stacks):
        shapes += _bar(of, each, parts, across, top + place * (BAR + GAP))
    return Drawing(width, svg.drawn(name, (width, bottom + 26), title, said, shapes))


def _bar(of: str, each: Mapping[str, float], parts: Sequence[str], across: Scale, y: float) -> list[str]:
    shapes = [svg.label("name", (across.begin, y + 16), f"{of}: {duration(sum(each.values()))}")]
    begin = 0.0
    for number, part in enumerate(parts, 1):
        ms = each.get(part, 0.0)
        left, right = across.at(begin), across.at(begin + ms)
        if ms > 0:
            shapes.append(
                svg.bar(f"part part-{number}", (left, y + 22), right - left, BAR, f"{number} {part}: {duration(ms)}")
            )
        if right - left > NUMBER_ROOM:
            shapes.append(svg.label("number", ((left + right) / 2, y + 22 + BAR / 2 + 4), str(number), "middle"))
        begin += ms
    return shapes


def airflow_table(summary: Summary) -> Table:
    """The runs with their seconds."""
    rows = [
        [
            one.path,
            one.kind,
            f"{one.run_after:%H:%M:%S}",
            whole(one.rows_read),
            whole(one.alerts_written),
            f"{sum(one.seconds.values()):.1f}",
            f"{one.cpu_s:.1f}",
            whole(one.peak_rss_mb),
        ]
        for one in summary.airflow_runs
    ]
    columns = ["path", "started", "due (UTC)", "rows read", "alerts", "due to checked, s", "CPU s", "peak MB"]
    return Table("Runs of the batch job under Airflow", columns, rows, texts=3)
