"""The arithmetic of a bench: percentiles of raw samples, ratios of paired rounds, and their intervals.

Unpaired figures of a shared machine are worthless, so a ratio is taken within each round, its median over
the rounds is given, and beside it the interval that a bootstrap of the rounds leaves (95 %).
"""

from collections.abc import Sequence

import msgspec
import numpy as np

PLACES = {"p50": (50.0, 1), "p90": (90.0, 1), "p99": (99.0, 1_000), "p99.9": (99.9, 10_000)}
"""Percentile, and the samples below which it is not given."""
DRAWS = 10_000
LEVEL = 0.95


class Estimate(msgspec.Struct, frozen=True):
    """The median of one figure over the rounds, with the interval of the median and the figures themselves."""

    median: float
    low: float
    high: float
    rounds: list[float]


def percentiles(values: Sequence[float], digits: int = 3) -> dict[str, float | int | None]:
    """n, p50, p90, p99, p99.9 and max of raw samples; None where the samples are too few."""
    found: dict[str, float | int | None] = {"n": len(values)}
    for name, (percent, least) in PLACES.items():
        found[name] = round(float(np.percentile(values, percent)), digits) if len(values) >= least else None
    found["max"] = round(float(max(values)), digits) if len(values) else None
    return found


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """above / below, round by round; ValueError when the rounds do not pair."""
    if len(above) != len(below) or not above:
        raise ValueError(f"found {len(above)} and {len(below)} rounds, wanted as many of both, and one at least")
    return [one / other for one, other in zip(above, below, strict=True)]


def slope(places: Sequence[float], values: Sequence[float]) -> float:
    """What `values` grow by for each 1 of `places`: least squares; ValueError for fewer than two places."""
    if len(places) != len(values) or len(set(places)) < 2:  # noqa: PLR2004
        raise ValueError(f"found {len(values)} values at {len(set(places))} places, wanted one at each of two or more")
    middle = sum(places) / len(places)
    away = [one - middle for one in places]
    return sum(one * value for one, value in zip(away, values, strict=True)) / sum(one * one for one in away)


def estimate(rounds: Sequence[float], seed: int) -> Estimate:
    """Median over the rounds and its bootstrap interval; one round alone is its own interval."""
    if not rounds:
        raise ValueError("found no round, wanted one at least")
    values = np.asarray(rounds, dtype=float)
    drawn = np.random.default_rng(seed).choice(values, size=(DRAWS, len(values)), replace=True)
    medians = np.median(drawn, axis=1)
    tail = (1 - LEVEL) / 2 * 100
    low, high = np.percentile(medians, [tail, 100 - tail])
    return Estimate(
        _short(float(np.median(values))), _short(float(low)), _short(float(high)), [_short(one) for one in rounds]
    )


def _short(value: float) -> float:
    """Six significant digits: more would claim what no clock here gives."""
    return float(f"{value:.6g}")
