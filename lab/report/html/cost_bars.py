"""A bar for each variant, as long as its median, with a dot for each round below it."""

from collections.abc import Sequence

import msgspec

from lab.bench.statistics import Estimate
from lab.report.html import svg
from lab.report.html.blocks import Drawing
from lab.report.html.lines import NARROW, WIDE, Look
from lab.report.html.svg import Scale

NAME_ROOM, BAR, DOTS, GAP = 20, 14, 14, 10  # heights in pixels
EDGE = 12


class Bar(msgspec.Struct, frozen=True):
    """What a bar is of, what is said of it, how it looks and its rounds; a hollow one is a variety of another."""

    name: str
    look: Look
    found: Estimate
    hollow: bool = False


def bar_chart(name: str, title: str, said: str, bars: Sequence[Bar], axis: str) -> tuple[Drawing, Drawing]:
    """The chart for wide and for narrow pages; `axis` says what the length is."""
    wide, narrow = (_drawn(name, title, said, bars, axis, width) for width in (WIDE, NARROW))
    return wide, narrow


def _drawn(name: str, title: str, said: str, bars: Sequence[Bar], axis: str, width: int) -> Drawing:
    values = [value for one in bars for value in one.found.rounds]
    low, high = min(0.0, *values), max(0.0, *values)
    across = Scale(low, high if high > low else low + 1.0, EDGE, width - EDGE)
    each = NAME_ROOM + BAR + DOTS + GAP
    bottom = len(bars) * each + 4
    shapes: list[str] = []
    for value in across.ticks(6 if width > NARROW else 3):
        x = across.at(value)
        shapes.append(svg.line("axis" if value == 0 else "grid", (x, 4), (x, bottom)))
        anchor = "start" if x < 2 * EDGE else "middle" if x < width - 3 * EDGE else "end"
        shapes.append(svg.label("tick", (x, bottom + 16), f"{value:,.6g}", anchor))
    for place, one in enumerate(bars):
        shapes += _bar(one, across, 4 + place * each)
    shapes.append(svg.label("title", (EDGE, bottom + 36), axis))
    return Drawing(width, svg.drawn(name, (width, bottom + 46), title, said, shapes))


def _bar(one: Bar, across: Scale, y: float) -> list[str]:
    begin, end = sorted((across.at(0.0), across.at(one.found.median)))
    kind, top = one.look.kind, y + NAME_ROOM
    shapes = [svg.label("name", (across.begin, y + 14), one.name)]
    shapes.append(svg.bar(f"{'wait' if one.hollow else 'work'} {kind}", (begin, top), end - begin, BAR, one.name))
    dots = top + BAR + DOTS / 2 + 1
    ends = [across.at(value) for value in (one.found.low, one.found.high)]
    shapes.append(svg.line(f"whisker {kind}", (ends[0], dots), (ends[1], dots)))
    shapes += [svg.marker(one.look.mark, f"mark {kind}", (across.at(value), dots)) for value in one.found.rounds]
    return shapes
