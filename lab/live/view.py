"""A moment of the race as a frame of text: 80 columns are enough, and no colour carries anything that no word says."""

from collections.abc import Mapping

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lab.live.look import TOPIC, Lane, Look, Of
from lab.report.words import UNKNOWN, duration, whole

STYLES = {"agent": "cyan", "spark_stream": "green"}
BATCH_STYLE = "yellow"
COLUMNS = ("path", "rules", "done", "/s", "behind", "lag", "alerts", "newest", "took")
NOTE = (
    "done: records of the topic, for spark_batch rows of the table. behind: records waiting. lag: age of what was "
    "judged last while more waits, for spark_batch since its last run. newest: age of the last alert. took: its "
    "payment's commit to its own."
)
MINUTE_S, HOUR_S, DAY_S = 60.0, 3600.0, 86400.0
MINUTES_FROM_S = 100.0


def frame(look: Look, rates: Mapping[Of, float | None], *, keys: bool) -> RenderableType:
    """The whole frame; with `keys` it says how to leave."""
    rate = rates.get(TOPIC)
    topic = f"{look.topic}: {whole(look.records)} records, {per_second(rate)}/s"
    head = Text(f"twinpath watch  {look.moment:%Y-%m-%d %H:%M:%S} UTC", style="bold")
    if keys:
        head.append("  q leaves", style="not bold")
    lines = [("topic", topic), *look.notes]
    failed = [(f"FAIL {part}", words) for part, words in look.problems]
    return Group(head, Text(), _lanes(look, rates), Text(), _named(lines), _named(failed, "red"), Text(NOTE, "dim"))


def _lanes(look: Look, rates: Mapping[Of, float | None]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    for name in COLUMNS:
        text = name in COLUMNS[:2]
        table.add_column(name, justify="left" if text else "right", no_wrap=not text, overflow="fold")
    for lane in look.lanes:
        cells = _cells(lane, rates.get((lane.path, lane.rules)))
        table.add_row(Text(lane.path, STYLES.get(lane.path, BATCH_STYLE)), *cells)
    return table


def _cells(lane: Lane, rate: float | None) -> list[str]:
    return [
        lane.rules,
        whole(lane.done),
        per_second(rate),
        whole(lane.behind),
        short(lane.lag_s),
        whole(lane.alerts),
        short(lane.alert_age_s),
        short(None if lane.latency_ms is None else lane.latency_ms / 1000),
    ]


def _named(lines: list[Of], style: str = "") -> Table:
    """Lines with a name before each, which wrap beside it."""
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(no_wrap=True, style=style)
    grid.add_column(overflow="fold")
    for name, words in lines:
        grid.add_row(name, Text(words))
    return grid


def per_second(rate: float | None) -> str:
    """A rate: a whole number, below 10 with one decimal."""
    if rate is None:
        return UNKNOWN
    return f"{rate:.1f}" if 0 < rate < 10 else f"{rate:,.0f}"  # noqa: PLR2004


def short(seconds: float | None) -> str:
    """A span of time in seven characters: 8.2 ms, 340 ms, 3.42 s, 46.2 s, 12 min, 5 h, 3 d."""
    if seconds is None:
        return UNKNOWN
    if abs(seconds) < MINUTES_FROM_S:
        return duration(seconds * 1000) if seconds else "0"
    for unit, name in ((DAY_S, "d"), (HOUR_S, "h")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / MINUTE_S:.0f} min"
