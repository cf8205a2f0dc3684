"""A chart of lines: what the staleness, the spectrum of percentiles and the timelines are drawn with."""

from collections.abc import Callable, Sequence

import msgspec

from lab.report.html import svg
from lab.report.html.blocks import Drawing
from lab.report.html.svg import Point, Scale

WIDE, NARROW = 960, 356  # pixels: a page of a desk, and one of 400 pixels
TOP, BOTTOM, RIGHT, LEGEND_ROW = 8, 46, 16, 20
TICK_ROOM, HEIGHT, NARROW_HEIGHT = 52, 300, 260


class Look(msgspec.Struct, frozen=True):
    """How a series is told from the others: a class (hue and dash) and a mark."""

    kind: str
    mark: str


PATHS = {
    "agent": Look("agent", "circle"),
    "spark_stream": Look("stream", "square"),
    "spark_batch": Look("batch", "triangle"),
    "spark_batch_naive_id": Look("naive-id", "diamond"),
    "spark_batch_full": Look("full", "cross"),
    "spark_batch_naive_time": Look("naive-time", "hourglass"),
}
OTHER = Look("other", "square")


def look(path: str) -> Look:
    """Of a path; one that nobody knows is grey."""
    return PATHS.get(path, OTHER)


class Series(msgspec.Struct, frozen=True):
    """A line with its marks; either may be empty."""

    name: str
    look: Look
    points: Sequence[Point]
    marks: Sequence[Point] = ()


class Axis(msgspec.Struct, frozen=True):
    """From low to high; `ticks` are (value, text), otherwise they are chosen."""

    title: str
    low: float
    high: float
    said: Callable[[float], str]
    log: bool = False
    ticks: Sequence[tuple[float, str]] = ()

    def scale(self, begin: float, end: float) -> Scale:
        """The axis on the page."""
        return Scale(self.low, self.high, begin, end, self.log)

    def shown(self, scale: Scale, wanted: int) -> list[tuple[float, str]]:
        """Where the ticks are, and what they say."""
        return list(self.ticks) or [(value, self.said(value)) for value in scale.ticks(wanted)]


class Frame(msgspec.Struct, frozen=True):
    """Axes on the page: scales, and what was drawn of them."""

    x: Scale
    y: Scale
    shapes: list[str]
    height: int


def framed(x: Axis, y: Axis, width: int, top: float, height: int, *, bare: bool = False) -> Frame:
    """Grid, ticks and titles of two axes in a box below `top`; `bare` leaves out what stands below the x axis."""
    across = x.scale(TICK_ROOM, width - RIGHT)
    bottom = top + height
    down = y.scale(bottom, top + TOP)
    shapes = []
    for value, text in y.shown(down, 5):
        shapes.append(svg.line("grid", (TICK_ROOM, down.at(value)), (width - RIGHT, down.at(value))))
        shapes.append(svg.label("tick", (TICK_ROOM - 6, down.at(value) + 4), text, "end"))
    ticks = x.shown(across, 8 if width > NARROW else 4)
    shapes += [svg.line("grid", (across.at(value), top + TOP), (across.at(value), bottom)) for value, _ in ticks]
    if not bare:
        shapes += ticks_below(across, ticks, bottom, width)
    shapes.append(svg.line("axis", (TICK_ROOM, bottom), (width - RIGHT, bottom)))
    if not bare:
        shapes.append(svg.label("title", ((TICK_ROOM + width - RIGHT) / 2, bottom + 36), x.title, "middle"))
    return Frame(across, down, shapes, height)


def ticks_below(across: Scale, ticks: Sequence[tuple[float, str]], bottom: float, width: int) -> list[str]:
    """What an x axis says, kept on the page and out of each other's way."""
    shapes = []
    free = 0.0
    for value, text in ticks:
        x, half = across.at(value), len(text) * svg.CHARACTER / 2
        middle = min(x, width - half)
        if middle - half >= free:
            shapes.append(svg.label("tick", (middle, bottom + 16), text, "middle"))
            free = middle + half + 4
    return shapes


def legend(series: Sequence[Series], width: int) -> tuple[list[str], float]:
    """Line, mark and name of each series; and how high that is."""
    shapes = []
    rows = svg.legend_rows([one.name for one in series], width - 8)
    left = iter(series)
    for number, row in enumerate(rows):
        y = 14 + number * LEGEND_ROW
        for x, text in row:
            one = next(left)
            shapes.append(svg.line(f"line {one.look.kind}", (x + 4, y - 4), (x + 32, y - 4)))
            if one.marks:
                shapes.append(svg.marker(one.look.mark, f"mark {one.look.kind}", (x + 18, y - 4)))
            shapes.append(svg.label("name", (x + 38, y), text))
    return shapes, len(rows) * LEGEND_ROW + 6


def line_chart(name: str, title: str, said: str, series: Sequence[Series], x: Axis, y: Axis) -> tuple[Drawing, Drawing]:
    """The chart for wide and for narrow pages."""
    wide, narrow = (_drawn(name, title, said, series, x, y, size) for size in ((WIDE, HEIGHT), (NARROW, NARROW_HEIGHT)))
    return wide, narrow


def _drawn(
    name: str, title: str, said: str, series: Sequence[Series], x: Axis, y: Axis, size: tuple[int, int]
) -> Drawing:
    width, height = size
    shapes, top = legend(series, width)
    shapes.append(svg.label("title", (4, top + 10), y.title))
    frame = framed(x, y, width, top + 14, height)
    shapes += frame.shapes
    for one in series:
        shapes += plotted(one, frame)
    return Drawing(width, svg.drawn(name, (width, round(top + 14 + height + BOTTOM)), title, said, shapes))


def plotted(one: Series, frame: Frame) -> list[str]:
    """The line and the marks of a series."""
    shapes = []
    if one.points:
        spots = [(frame.x.at(x), frame.y.at(y)) for x, y in one.points]
        shapes.append(svg.path(f"line {one.look.kind}", spots))
    return shapes + [
        svg.marker(one.look.mark, f"mark {one.look.kind}", (frame.x.at(x), frame.y.at(y))) for x, y in one.marks
    ]
