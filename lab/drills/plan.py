"""Which fault strikes when: a pure function of the seed."""

from collections.abc import Sequence
from random import Random
from typing import Literal, NamedTuple

Kind = Literal["connect", "agent", "broker", "postgres", "connector"]
"""What is broken: the worker, an agent and the broker by SIGKILL; PostgreSQL by an immediate restart; the
connector is deleted with its offsets and its slot, and made anew on the kept topic."""


class Fault(NamedTuple):
    """One thing to break; `target` is the rule of an agent, otherwise empty."""

    kind: Kind
    target: str = ""

    @property
    def name(self) -> str:
        """For people: `connect`, `agent spending`."""
        return f"{self.kind} {self.target}".strip()


class Planned(NamedTuple):
    """A fault, and when it is due in seconds after the load's start.

    A `patient` one waits until the line has recovered from those before it; the others strike a line that may
    still be recovering. PostgreSQL stays down `down_s` seconds.
    """

    at_s: float
    fault: Fault
    patient: bool = True
    down_s: float = 0.0


ONCE = (Fault("broker"), Fault("postgres"), Fault("connector"))
LONGEST_DOWN_S = 3.0
PATIENT_SHARE = 0.7


def plan(seed: int, duration_s: float, rules: Sequence[str], rounds: int) -> list[Planned]:
    """`rounds` kills of Connect and of each agent, and the rest once: evenly spread, in an order by the seed.

    The same thing is not struck twice in a row while there is another choice: it would still be rising.
    """
    left = [*ONCE, *([Fault("connect"), *(Fault("agent", rule) for rule in rules)] * rounds)]
    rng = Random(f"plan/{seed}")  # noqa: S311  a seeded number is the point
    step_s = duration_s / (len(left) + 1)
    planned: list[Planned] = []
    while left:
        others = [one for one in left if not planned or one != planned[-1].fault]
        fault = rng.choice(others or left)
        left.remove(fault)
        down_s = round(rng.uniform(0, LONGEST_DOWN_S), 1) if fault.kind == "postgres" else 0.0
        patient = rng.random() < PATIENT_SHARE
        planned.append(Planned(round(step_s * (len(planned) + 1), 3), fault, patient, down_s))
    return planned
