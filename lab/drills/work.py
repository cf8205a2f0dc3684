"""What the writers of a drill do: seeded scripts of transactions that are as awkward as PostgreSQL allows.

Pure: random numbers come from the seed only, nothing is read or written. Few users have most of the rows,
so that histories overlap, fall out and come back; which existing row a correction meets is left open
(`Target`), because it depends on what the other writers have committed by then.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from random import Random
from typing import Literal

import msgspec

from twinpath.detection.workload import Row

SECOND_US = 1_000_000
START_US = 1_767_571_200_000_000  # 2026-01-05T00:00:00Z
SPEED = 100  # created_at runs so many times as fast as the clock: a busy user then has about 5 rows a minute
BUSY_USERS = tuple(range(-6, 24))
BUSY_SHARE, SOME_SHARE = 0.85, 0.10  # of rows; the others are of users with the strangest numbers
STRANGE_USERS = (-(2**31), 2**31 - 1, -1_000_003, 2_000_000_011)
USUAL_CENTS, SPIKE_CENTS, HIGH_CENTS = (5_00, 200_00), (600_00, 3_000_00), (4_000_01, 9_000_00)
SPIKE_SHARE, HIGH_SHARE, ODD_SHARE = 0.06, 0.05, 0.01
STAYS_HIGH_SHARE = 0.4  # of corrected amounts of loud rows
LOUD_CENTS = 500_00  # rows above it may have an alert: corrections look for them
ROLLBACK_SHARE, HOLD_SHARE, PAUSE_SHARE = 0.08, 0.04, 0.10
HOLD_US, PAUSE_US = (200_000, 4_000_000), (1_000, 30_000)
LATE_SHARE, TIE_SHARE = 0.05, 0.5

ActionKind = Literal[
    "insert", "copy", "amount", "time", "user", "delete", "delete_own", "amount_own", "user_own",
    "savepoint", "rollback_to_savepoint", "release", "pause",
]  # fmt: skip


class Target(msgspec.Struct, frozen=True):
    """An existing row: the one at `nth` (0 to 1) among the recent, the old or the loud ones.

    `waits` for a row that another transaction holds; otherwise such a row is left alone.
    """

    among: Literal["recent", "old", "loud"]
    nth: float
    waits: bool = False


class Action(msgspec.Struct, frozen=True):
    """One step of a transaction.

    insert and copy write `rows` (copy: most land at one position of the log); amount, time and user
    give the target (or `_own`: the row this transaction inserted last) the new `value`: cents, a shift in
    microseconds, a user_id. pause waits `value` microseconds.
    """

    kind: ActionKind
    rows: tuple[Row, ...] = ()
    target: Target | None = None
    value: int = 0


class Script(msgspec.Struct, frozen=True):
    """One transaction, due `at_us` after the start, held open `hold_us` before its end."""

    at_us: int
    actions: tuple[Action, ...]
    outcome: Literal["commit", "rollback"]
    hold_us: int = 0


class Work:
    """The endless work of one writer at `rate` rows/s; `writers` share the keys."""

    def __init__(
        self, seed: int, writer: int, rate: float, writers: int = 8, recipes: "Sequence[Recipe] | None" = None
    ) -> None:
        self._rng = Random(f"work/{seed}/{writer}")  # noqa: S311  a seeded number is the point
        self._row_us = SECOND_US / rate
        self._key = writer
        self._writers = writers
        self._at_us = 0.0
        self._recipes = RECIPES if recipes is None else recipes

    def scripts(self) -> Iterator[Script]:
        """One transaction after the other, for ever."""
        weights = list(accumulate(weight for weight, _ in self._recipes))
        while True:
            (recipe,) = self._rng.choices([recipe for _, recipe in self._recipes], cum_weights=weights)
            actions = tuple(self._with_pauses(recipe(self)))
            outcome: Literal["commit", "rollback"] = "rollback" if self._chance(ROLLBACK_SHARE) else "commit"
            hold_us = self._between(HOLD_US) if self._chance(HOLD_SHARE) else 0
            yield Script(int(self._at_us), actions, outcome, hold_us)
            self._at_us += sum(map(_rows_of, actions)) * self._row_us

    def single(self) -> list[Action]:
        """One row, one commit: the usual producer."""
        return [self._insert(1)]

    def values(self) -> list[Action]:
        """Multi-row VALUES of several users."""
        return [self._insert(self._rng.randint(2, 40))]

    def copy_of_one_user(self) -> list[Action]:
        """COPY: many rows of one user, most of them at one position."""
        return [Action("copy", self._rows(self._rng.randint(10, 60), self._user()))]

    def copy_of_many(self) -> list[Action]:
        """COPY of many users, and a few rows behind it."""
        return [Action("copy", self._rows(self._rng.randint(20, 150))), self._insert(2)]

    def correction(self) -> list[Action]:
        """One correction of one row, which waits for the row."""
        return [self._correct(waits=True)]

    def corrections(self) -> list[Action]:
        """Several corrections between inserts."""
        return [self._insert(1), *(self._correct() for _ in range(self._rng.randint(2, 6))), self._insert(1)]

    def insert_and_delete(self) -> list[Action]:
        """A row that comes and goes within one transaction."""
        return [self._insert(2), Action("delete_own"), self._insert(1)]

    def insert_and_correct(self) -> list[Action]:
        """A row that changes its amount and its user before anybody else sees it."""
        own = [Action("amount_own", value=self._cents()), Action("user_own", value=self._user())]
        self._rng.shuffle(own)
        return [self._insert(self._rng.randint(1, 3)), *own]

    def savepoints(self) -> list[Action]:
        """One savepoint that is rolled back, with corrections in it, and one that is released."""
        undone = [self._insert(2), self._correct(), Action("delete_own"), self._insert(1)]
        kept = [self._insert(1), self._correct(), Action("release")]
        back = Action("rollback_to_savepoint")
        return [self._insert(1), Action("savepoint"), *undone, back, self._insert(1), Action("savepoint"), *kept]

    def _correct(self, *, waits: bool = False) -> Action:
        among: Literal["recent", "old", "loud"] = self._rng.choices(("recent", "loud", "old"), (40, 40, 20))[0]
        target = Target(among, self._rng.random(), waits)
        kind: ActionKind = self._rng.choices(("amount", "time", "user", "delete"), (45, 20, 20, 15))[0]
        value = {"amount": self._cents, "time": self._shift_us, "user": self._user}.get(kind, int)()
        if kind == "amount" and among == "loud" and self._chance(STAYS_HIGH_SHARE):
            value = self._rng.randint(*HIGH_CENTS)  # the alert stands, with another reason
        return Action(kind, (), target, value)

    def _insert(self, count: int) -> Action:
        return Action("insert", self._rows(count))

    def _rows(self, count: int, user_id: int | None = None) -> tuple[Row, ...]:
        tied = self._chance(TIE_SHARE)
        first_us = self._created_us()
        rows = []
        for _ in range(count):
            self._key += self._writers
            user = self._user() if user_id is None else user_id
            created_us = first_us if tied else self._created_us()
            rows.append(Row(self._key, user, self._cents(), "visa", self._rng.randrange(500), created_us))
        return tuple(rows)

    def _user(self) -> int:
        drawn = self._rng.random()
        if drawn < BUSY_SHARE:
            return self._rng.choice(BUSY_USERS)
        if drawn < BUSY_SHARE + SOME_SHARE:
            return self._rng.randrange(100, 1_100)
        return self._rng.choice(STRANGE_USERS)

    def _cents(self) -> int:
        drawn = self._rng.random()
        if drawn < SPIKE_SHARE:
            return self._rng.randint(*SPIKE_CENTS)
        if drawn < SPIKE_SHARE + HIGH_SHARE:
            return self._rng.randint(*HIGH_CENTS)
        if drawn < SPIKE_SHARE + HIGH_SHARE + ODD_SHARE:
            return self._rng.choice((0, -self._rng.randint(1, 50_00), LOUD_CENTS, HIGH_CENTS[0] - 1))
        return self._rng.randint(*USUAL_CENTS)

    def _created_us(self) -> int:
        late_us = self._rng.randrange(3_600 * SECOND_US) if self._chance(LATE_SHARE) else 0
        return START_US + int(self._at_us) * SPEED + self._rng.randrange(SECOND_US) - late_us

    def _shift_us(self) -> int:
        return self._rng.randint(-300 * SECOND_US, 300 * SECOND_US)

    def _with_pauses(self, actions: list[Action]) -> Iterator[Action]:
        """Now and then a moment between two steps, so that transactions interleave."""
        for number, action in enumerate(actions):
            if number and self._chance(PAUSE_SHARE):
                yield Action("pause", value=self._between(PAUSE_US))
            yield action

    def _between(self, bounds: tuple[int, int]) -> int:
        """Log-uniform."""
        least, most = bounds
        return int(least * (most / least) ** self._rng.random())

    def _chance(self, share: float) -> bool:
        return self._rng.random() < share


def _rows_of(action: Action) -> int:
    """How many rows a step writes."""
    return len(action.rows) if action.rows else int(action.kind not in _ROWLESS)


_ROWLESS = frozenset(("savepoint", "rollback_to_savepoint", "release", "pause"))
Recipe = tuple[int, Callable[[Work], list[Action]]]
"""How often, and what."""
RECIPES: tuple[Recipe, ...] = (
    (34, Work.single),
    (10, Work.values),
    (5, Work.copy_of_one_user),
    (3, Work.copy_of_many),
    (18, Work.correction),
    (10, Work.corrections),
    (6, Work.insert_and_delete),
    (6, Work.insert_and_correct),
    (8, Work.savepoints),
)
BULKS: tuple[Recipe, ...] = (  # many rows in one statement, and short transactions between them
    (30, Work.single),
    (25, Work.values),
    (25, Work.copy_of_one_user),
    (20, Work.copy_of_many),
)
