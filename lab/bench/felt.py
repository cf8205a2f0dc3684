"""What the writers may feel (P7, I6): commits held against those of a base, pair by pair, and none of them failed."""

from typing import NamedTuple

from lab.bench.goals import judged
from lab.bench.result import Result
from lab.bench.statistics import estimate

P99_FACTOR = 1.25
P99_MS = 2.0


class Compared(NamedTuple):
    """Which commits are held against which: a part of a bench, two of its variants, the name of the p99 in ms."""

    part: str
    base: str
    variant: str
    p99: str


def judge(result: Result, goal_id: str, compared: Compared, text: str) -> None:
    """Commit p99 against what is allowed: 1.25 times the base or 2 ms more, whichever is larger; no failures."""
    base = result.values(compared.part, compared.base, compared.p99)
    live = result.values(compared.part, compared.variant, compared.p99)
    if base and len(base) == len(live):
        shares = [one / max(P99_FACTOR * other, other + P99_MS) for one, other in zip(live, base, strict=True)]
        words = f"{text}: share of what is allowed"
        result.goals.append(judged(goal_id, words, "at most", 1.0, "", estimate(shares, result.seed)))
    failed = result.values(compared.part, compared.variant, "failed_commits")
    if failed:
        words = f"failed commits, {compared.variant}"
        result.goals.append(judged(goal_id, words, "at most", 0, "", estimate(failed, result.seed)))
