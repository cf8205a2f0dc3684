"""Goals of a bench: met only when the worse end of the interval meets the target."""

from typing import Literal

import msgspec

from lab.bench.statistics import Estimate

Direction = Literal["at least", "at most"]


class Goal(msgspec.Struct, frozen=True):
    """One target and what was measured; `worse_end` is what it is judged by, `ok` the verdict."""

    id: str
    text: str
    direction: Direction
    target: float
    unit: str
    measured: Estimate
    worse_end: float
    ok: bool

    @property
    def short_by(self) -> float:
        """How far the worse end is from the target, as a share of it (of 1, for a target of 0); 0 when it is met."""
        return 0.0 if self.ok else abs(self.worse_end - self.target) / (self.target or 1.0)


def judged(goal_id: str, text: str, direction: Direction, target: float, unit: str, measured: Estimate) -> Goal:
    """Hold an estimate against its target."""
    worse = measured.low if direction == "at least" else measured.high
    ok = worse >= target if direction == "at least" else worse <= target
    return Goal(goal_id, text, direction, target, unit, measured, worse, ok)
