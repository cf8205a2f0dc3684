"""What the nemesis of the soak strikes, when and for how long, and when it is fenced: pure functions of the seed."""

import math
from collections.abc import Sequence
from random import Random
from typing import Literal, NamedTuple

from lab.drills.proxy import CUTS, Cut

Kind = Literal[
    "agent killed", "agent frozen", "connect killed", "connect frozen", "broker killed", "broker frozen",
    "postgres killed", "walsender ended", "link cut", "alert store locked",
]  # fmt: skip


class Menace(NamedTuple):
    """One kind of fault: how often of 100 it is drawn, and for how long it is held (of PostgreSQL: down), seconds."""

    kind: Kind
    weight: int
    hold_s: tuple[float, float] = (0.0, 0.0)


MENACES = (
    Menace("agent killed", 18),
    Menace("agent frozen", 10, (2.0, 12.0)),  # shorter and longer than the session of its group, 6 s
    Menace("connect killed", 15),
    Menace("connect frozen", 10, (3.0, 15.0)),
    Menace("broker killed", 10),
    Menace("broker frozen", 8, (2.0, 12.0)),
    Menace("postgres killed", 10, (0.0, 2.0)),
    Menace("walsender ended", 7),
    Menace("link cut", 7, (2.0, 8.0)),
    Menace("alert store locked", 5, (2.0, 8.0)),
)
EVERY_S = (20.0, 40.0)
PATIENT_SHARE = 0.7
FENCE_EVERY_S = 300.0
LEAST_FENCES = 3


class Blow(NamedTuple):
    """One fault of the plan, due `at_s` seconds after the load's start, the time of fences not counted.

    `target` is the rule of an agent or the name of a link, `how` the way it is cut. A `patient` one is waited for until
    the line is fresh again; behind the others the next one strikes a line that may still be recovering.
    """

    at_s: float
    kind: Kind
    target: str = ""
    how: Cut | None = None
    hold_s: float = 0.0
    patient: bool = True


def fences(duration_s: float) -> list[float]:
    """When the line is fenced, evenly spread: each 300 s or sooner, three times or more, the last time at the end."""
    count = max(LEAST_FENCES, math.ceil(duration_s / FENCE_EVERY_S))
    return [round(duration_s * number / count, 3) for number in range(1, count + 1)]


def plan(
    seed: int, duration_s: float, fenced_s: Sequence[float], rules: Sequence[str], links: Sequence[str]
) -> list[Blow]:
    """A fault each 20 to 40 s, drawn by weight; the last one before a fence is always patient."""
    rng = Random(f"nemesis/{seed}")  # noqa: S311  a seeded number is the point
    planned: list[Blow] = []
    at_s = rng.uniform(*EVERY_S)
    while at_s < duration_s:
        (menace,) = rng.choices(MENACES, [one.weight for one in MENACES])
        targets = {"agent": rules, "link": links}.get(menace.kind.partition(" ")[0])
        blow = Blow(
            round(at_s, 1),
            menace.kind,
            target=rng.choice(targets) if targets else "",
            how=rng.choice(CUTS) if menace.kind == "link cut" else None,
            hold_s=round(rng.uniform(*menace.hold_s), 1),
            patient=rng.random() < PATIENT_SHARE,
        )
        planned.append(blow)
        at_s += rng.uniform(*EVERY_S)
    next_s = [one.at_s for one in planned[1:]] + [duration_s]
    return [
        one._replace(patient=one.patient or any(one.at_s < fence_s <= later_s for fence_s in fenced_s))
        for one, later_s in zip(planned, next_s, strict=True)
    ]
