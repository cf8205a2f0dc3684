"""The little of SVG that the charts need: escaped elements, scales with ticks, and the colours by name.

A shape carries a class (`line agent`) and no colour; `chart.css` gives the colours for light and dark pages.
"""

from collections.abc import Mapping, Sequence
from html import escape
from math import ceil, floor, log10
from pathlib import Path

import msgspec

TEMPLATES = Path(__file__).with_name("templates")
CHARACTER = 6.7  # mean width of a character of the labels, pixels
STEPS = (1, 2, 2.5, 5, 10)
Point = tuple[float, float]


class Scale(msgspec.Struct, frozen=True):
    """Values low..high onto pixels begin..end; with `log` by powers of ten, and what is below low stands at low."""

    low: float
    high: float
    begin: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """The pixel of a value."""
        low, high = (log10(self.low), log10(self.high)) if self.log else (self.low, self.high)
        place = log10(max(value, self.low)) if self.log else value
        return self.begin + (place - low) / (high - low) * (self.end - self.begin)

    def ticks(self, wanted: int = 6) -> list[float]:
        """Round values from low to high."""
        if self.log:
            return [10.0**power for power in range(ceil(log10(self.low)), floor(log10(self.high)) + 1)]
        rough = (self.high - self.low) / wanted
        size = 10 ** floor(log10(rough))
        step = next(size * one for one in STEPS if size * one >= rough)
        return [step * number for number in range(ceil(self.low / step), floor(self.high / step) + 1)]


def around(values: Sequence[float]) -> tuple[float, float]:
    """Ends of a logarithmic axis for the positive values: a power of ten below, 1, 2 or 5 of one above, at least ten
    times apart; (1, 1000) when there are none."""
    positive = [value for value in values if value > 0] or [1.0, 1000.0]
    low, most = 10.0 ** floor(log10(min(positive))), max(positive)
    below = 10.0 ** floor(log10(most))
    return low, max(10 * low, next(step * below for step in (1, 2, 5, 10) if step * below >= most))


def element(name: str, attributes: Mapping[str, object], text: str | None = None) -> str:
    """One element; text and attributes are escaped."""
    said = "".join(f' {key}="{escape(_short(value))}"' for key, value in attributes.items())
    return f"<{name}{said}/>" if text is None else f"<{name}{said}>{escape(text)}</{name}>"


def _short(value: object) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)


def line(kind: str, begin: Point, end: Point) -> str:
    """A straight line."""
    return element("line", {"class": kind, "x1": begin[0], "y1": begin[1], "x2": end[0], "y2": end[1]})


def label(kind: str, at: Point, text: str, anchor: str = "start") -> str:
    """A text."""
    return element("text", {"class": kind, "x": at[0], "y": at[1], "text-anchor": anchor}, text)


def bar(kind: str, corner: Point, width: float, height: float, said: str = "") -> str:
    """A rectangle; `said` is shown when one points at it."""
    shape = {"class": kind, "x": corner[0], "y": corner[1], "width": max(width, 1.0), "height": height}
    if not said:
        return element("rect", shape)
    return f"{element('rect', shape).removesuffix('/>')}>{element('title', {}, said)}</rect>"


def path(kind: str, points: Sequence[Point]) -> str:
    """Points joined by straight lines."""
    return element("polyline", {"class": kind, "points": " ".join(f"{x:.1f},{y:.1f}" for x, y in points)})


def marker(shape: str, kind: str, at: Point) -> str:
    """A small mark: circle, square, triangle, diamond, cross or plus."""
    x, y = at
    if shape == "circle":
        return element("circle", {"class": kind, "cx": x, "cy": y, "r": 4})
    corners: dict[str, list[Point]] = {
        "square": [(-3.5, -3.5), (3.5, -3.5), (3.5, 3.5), (-3.5, 3.5)],
        "triangle": [(0, -5), (4.6, 3.6), (-4.6, 3.6)],
        "diamond": [(0, -5), (5, 0), (0, 5), (-5, 0)],
        "cross": [(-4, -2), (-2, -4), (0, -2), (2, -4), (4, -2), (2, 0), (4, 2), (2, 4), (0, 2), (-2, 4), (-4, 2)],
        "hourglass": [(-4, -4), (4, -4), (-4, 4), (4, 4)],
    }
    points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners[shape])
    return element("polygon", {"class": kind, "points": points})


def drawn(name: str, size: tuple[int, int], title: str, said: str, shapes: Sequence[str]) -> str:
    """The whole picture, with its title and description for those who do not see it."""
    width, height = size
    ids = (f"{name}-{width}-title", f"{name}-{width}-said")
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" aria-labelledby="{ids[0]} {ids[1]}">'
    )
    words = element("title", {"id": ids[0]}, title) + element("desc", {"id": ids[1]}, said)
    return "\n".join([head, words, *shapes, "</svg>"])


def standing_alone(svg: str) -> str:
    """The picture as a file of its own, with its colours."""
    head, _, rest = svg.partition("\n")
    style = (TEMPLATES / "chart.css").read_text()
    return f"{head}\n<style>{style}</style>\n{rest}\n"


def legend_rows(texts: Sequence[str], width: float) -> list[list[tuple[float, str]]]:
    """The texts of a legend by row, each with its left edge, so that no row is wider than `width`."""
    rows: list[list[tuple[float, str]]] = [[]]
    x = 0.0
    for text in texts:
        needed = 34 + len(text) * CHARACTER + 14
        if rows[-1] and x + needed > width:
            rows.append([])
            x = 0.0
        rows[-1].append((x, text))
        x += needed
    return rows
