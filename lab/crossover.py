"""What a load costs the source PostgreSQL by either side, in CPU seconds per second, and where the answer turns.

Both sides are a few costs with a meaning, fitted to measured points and held against points that the fit never saw::

    cdc      idle + per_row * rate + per_wakeup * wakeups(rate)             however many consumers there are
    polling  consumers / interval * (per_poll + per_row_scanned * rows in the table
                                              + per_row_returned * rate * interval)

`safe` is the poll that loses no row and looks at each row of the table; `naive_id` finds new rows by the primary key,
so that it scans none, and loses rows that commit late. What the writers themselves cost is in neither.

The process that sends the log is woken by each commit while it sleeps, and not while it is at work: of few rows each
wakes it, of many only some do.
"""

import math
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any, Literal

import msgspec
import numpy as np

Array = np.ndarray[Any, Any]
Side = Literal["cdc", "safe", "naive_id"]
SIDES: tuple[Side, ...] = ("cdc", "safe", "naive_id")
HELD_OUT_EVERY, FIRST_HELD_OUT = 4, 2  # the third group of points, the seventh, ...: inside of the grid
BUSY_AT = 500.0  # rows per second of which half wake it: the row costs 112, 76 and 46 us at 100, 500 and 2,000/s (seen)
TRUSTED_TO = 0.1  # of its value: no point weighs more than if it were known this well


class Load(msgspec.Struct, frozen=True):
    """Rows per second, rows in the table, seconds between two polls of one consumer, and how many consumers."""

    rate: float
    rows: float
    interval_s: float
    consumers: float = 1


class Capture(msgspec.Struct, frozen=True):
    """CPU seconds: per second while nothing is written, per row, and per time that the sender is woken."""

    idle: float
    per_row: float
    per_wakeup: float

    def cost(self, load: Load) -> float:
        """CPU seconds per second."""
        return self.idle + self.per_row * load.rate + self.per_wakeup * wakeups(load.rate)


def wakeups(rate: float) -> float:
    """How often a second the sender of the log is woken."""
    return rate / (1 + rate / BUSY_AT)


class Polling(msgspec.Struct, frozen=True):
    """CPU seconds of a poll: whatever it finds, per row of the table that it looks at, and per row that it returns."""

    per_poll: float
    per_row_scanned: float
    per_row_returned: float

    def once(self, rows: float, returned: float) -> float:
        """What one poll takes."""
        return self.per_poll + self.per_row_scanned * rows + self.per_row_returned * returned

    def cost(self, load: Load) -> float:
        """CPU seconds per second."""
        return load.consumers / load.interval_s * self.once(load.rows, load.rate * load.interval_s)


class Point(msgspec.Struct, frozen=True):
    """One measured cost in CPU seconds per second; `resolution` is what the measurement cannot tell from nothing.

    Points of one group (a load, measured in several rounds) are held out together; `scheduled` ones always are.
    """

    side: Side
    group: str
    load: Load
    cpu_s_per_s: float
    resolution: float
    scheduled: bool = False


class Error(msgspec.Struct, frozen=True):
    """How far the model is from points that it was not fitted to, as a share of what was measured; None without any."""

    points: int
    median: float | None
    worst: float | None


class Fit(msgspec.Struct, frozen=True):
    """The costs of each side, and how far they are from the points held out."""

    cdc: Capture
    safe: Polling
    naive_id: Polling
    errors: dict[Side, Error]

    def cost(self, side: Side, load: Load) -> float:
        """CPU seconds per second of one side."""
        costs: dict[Side, Capture | Polling] = {"cdc": self.cdc, "safe": self.safe, "naive_id": self.naive_id}
        return costs[side].cost(load)


def nonnegative(terms: Array, wanted: Array) -> Array:
    """The x >= 0 with the least |terms x - wanted|: the best of all choices of columns, of which there are few."""
    scale = np.linalg.norm(terms, axis=0)
    scale[scale == 0] = 1.0
    columns, best, least = terms / scale, np.zeros(terms.shape[1]), float(wanted @ wanted)
    for size in range(1, terms.shape[1] + 1):
        for chosen in combinations(range(terms.shape[1]), size):
            found, *_ = np.linalg.lstsq(columns[:, chosen], wanted, rcond=None)
            off = columns[:, chosen] @ found - wanted
            if (found >= 0).all() and float(off @ off) < least:
                least = float(off @ off)
                best = np.zeros(terms.shape[1])
                best[list(chosen)] = found
    unscaled: Array = best / scale
    return unscaled


def split(points: Sequence[Point]) -> tuple[list[Point], list[Point]]:
    """The points to fit to, and those held out: every fourth group, and all that ran by a real schedule."""
    groups = dict.fromkeys(one.group for one in points if not one.scheduled)
    out = {name for number, name in enumerate(groups) if number % HELD_OUT_EVERY == FIRST_HELD_OUT}
    kept = [one for one in points if not one.scheduled and one.group not in out]
    return kept, [one for one in points if one.scheduled or one.group in out]


def fit(points: Sequence[Point]) -> Fit:
    """The model of measured points; ValueError when a side has fewer groups of points than costs."""
    held_out: dict[Side, list[Point]] = {}
    cdc, held_out["cdc"] = _fitted("cdc", points, lambda load: (1.0, load.rate, wakeups(load.rate)))
    safe, held_out["safe"] = _fitted("safe", points, _scanning)
    naive, held_out["naive_id"] = _fitted("naive_id", points, _finding)
    found = Fit(Capture(*cdc), Polling(*safe), Polling(naive[0], 0.0, naive[1]), {})
    errors = {side: error(lambda load, side=side: found.cost(side, load), held_out[side]) for side in SIDES}  # type: ignore[misc]
    return msgspec.structs.replace(found, errors=errors)


def error(model: Callable[[Load], float], points: Sequence[Point]) -> Error:
    """How far a model is from these points; of a point below its resolution the share is taken of the resolution."""
    shares = [abs(model(one.load) - one.cpu_s_per_s) / max(one.cpu_s_per_s, one.resolution) for one in points]
    if not shares:
        return Error(0, None, None)
    return Error(len(shares), float(np.median(shares)), max(shares))


def durations(samples: Sequence[tuple[float, float, float]]) -> Polling:
    """What a run takes, in seconds on the clock, from (rows in the table, rows returned, seconds)."""
    measured = np.array(samples)
    terms = np.column_stack([np.ones(len(measured)), measured[:, 0], measured[:, 1]])
    return Polling(*map(float, nonnegative(terms / measured[:, 2:], np.ones(len(measured)))))


def turning_interval(cdc: Capture, polling: Polling, load: Load) -> float | None:
    """Seconds between polls from which on polling costs less than CDC; None when it does at no interval.

    `load.interval_s` plays no part.
    """
    left = cdc.cost(load) - load.consumers * polling.per_row_returned * load.rate
    whole = load.consumers * polling.once(load.rows, 0)
    return whole / left if left > 0 else None


def turning_consumers(cdc: Capture, polling: Polling, load: Load) -> int | None:
    """The number of consumers from which on CDC costs less; None when it does for no number."""
    one = polling.cost(msgspec.structs.replace(load, consumers=1))
    return math.floor(cdc.cost(load) / one) + 1 if one > 0 else None


def _scanning(load: Load) -> tuple[float, ...]:
    polls = load.consumers / load.interval_s
    return polls, polls * load.rows, load.consumers * load.rate


def _finding(load: Load) -> tuple[float, ...]:
    return load.consumers / load.interval_s, load.consumers * load.rate


def _fitted(
    side: Side, points: Sequence[Point], terms: Callable[[Load], tuple[float, ...]]
) -> tuple[list[float], list[Point]]:
    """The costs of one side, and its points held out; of few groups only those by the clock are."""
    ours = [one for one in points if one.side == side]
    kept, out = split(ours)
    if len({one.group for one in kept}) < len(terms(Load(0, 0, 1))):
        kept, out = [one for one in ours if not one.scheduled], [one for one in ours if one.scheduled]
    table = np.array([terms(one.load) for one in kept])
    groups = len({one.group for one in kept})
    wanted = table.shape[1] if groups else 1
    if groups < wanted:
        raise ValueError(f"{side}: found {groups} groups of points to fit to, wanted {wanted} or more")
    values = np.array([one.cpu_s_per_s for one in kept])
    weights = 1 / np.maximum([one.resolution for one in kept], TRUSTED_TO * values)
    return [float(one) for one in nonnegative(table * weights[:, None], values * weights)], out
