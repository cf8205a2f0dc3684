"""Work that a watermark cannot follow: transactions held for long, and ids that commit in reverse.

Both only insert, and correct nothing but their own rows, so that nobody waits for them. Pure, as lab.drills.work.
"""

from collections.abc import Iterator
from random import Random
from typing import Literal

from lab.drills.work import BUSY_USERS, SECOND_US, Action, Script, Work

SHORTEST_HOLD_US = SECOND_US
GAP_US = 50_000  # between two held transactions of one writer
HELD_ROLLBACK_SHARE = 0.15
REVERSED = 3  # transactions of one group
PERIOD_US, STEP_US = 2 * SECOND_US, 300_000


class HeldWork(Work):
    """One writer that holds each of its transactions open, for 1 s to `longest_us`, evenly on a logarithmic scale."""

    def __init__(self, seed: int, writer: int, writers: int, longest_us: int) -> None:
        super().__init__(seed, writer, 1.0, writers)
        self._longest_us = max(longest_us, SHORTEST_HOLD_US)

    def scripts(self) -> Iterator[Script]:
        """One held transaction after the other, for ever."""
        while True:
            recipe = self._rng.choice((self.single, self.values, self.insert_and_correct, self.own_savepoints))
            outcome: Literal["commit", "rollback"] = "rollback" if self._chance(HELD_ROLLBACK_SHARE) else "commit"
            hold_us = self._between((SHORTEST_HOLD_US, self._longest_us))
            yield Script(int(self._at_us), tuple(recipe()), outcome, hold_us)
            self._at_us += hold_us + GAP_US

    def own_savepoints(self) -> list[Action]:
        """Rows inside of a savepoint that is rolled back, and of one that is released: subtransactions of their own."""
        undone = [self._insert(2), Action("rollback_to_savepoint")]
        kept = [self._insert(2), Action("release")]
        return [self._insert(1), Action("savepoint"), *undone, Action("savepoint"), *kept, self._insert(1)]


class ReversedWork(Work):
    """One of REVERSED writers that begin one behind the other, each with a row of the same user, and end in reverse."""

    def __init__(self, seed: int, writer: int, writers: int, place: int) -> None:
        super().__init__(seed, writer, 1.0, writers)
        self._seed = seed
        self._place = place

    def scripts(self) -> Iterator[Script]:
        """One group after the other, for ever."""
        number = 0
        while True:
            self._at_us = number * PERIOD_US + self._place * STEP_US
            user = Random(f"reversed/{self._seed}/{number}").choice(BUSY_USERS)  # noqa: S311  seeded, shared by the group
            ends_us = (2 * REVERSED + 2 - self._place) * STEP_US // 2  # behind all beginnings, the first one last
            hold_us = ends_us - self._place * STEP_US
            yield Script(int(self._at_us), (Action("insert", self._rows(1, user)),), "commit", hold_us)
            number += 1
