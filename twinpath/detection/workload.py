"""A seeded load for PostgreSQL: which transactions write which rows, when, and which rows are planted fraud.

Pure: random numbers come from the seed only, and nothing is read or written. `labelled` compresses simulated
days of card payments (see `scenarios`) into a run of minutes; `uniform` is a load and no fraud test: its
velocity alerts measure the rate. Money is integer cents, time integer microseconds.
"""

import heapq
from collections.abc import Iterator
from itertools import islice
from random import Random
from typing import Final, Literal

import msgspec

from twinpath.detection import population, scenarios
from twinpath.detection.corrections import Corrections
from twinpath.detection.population import DAY_US, FIRST_USER, Payment

PREVALENCE: Final = {"default": 0.01, "realistic": 0.0025, "rare": 0.0006}
UNIFORM_USERS, UNIFORM_ROWS_PER_COMMIT = 9_000, 1_000
ROLLBACK_SHARE, HOLD_SHARE, SAVEPOINT_SHARE, MULTI_ROW_SHARE, TIE_SHARE = 0.005, 0.002, 0.003, 0.02, 0.01  # of units
MARGIN_US, LEAST_HOLD_US = 50_000, 200_000  # the margin: from a row's scheduled COMMIT to its correction


class Row(msgspec.Struct, frozen=True, gc=False):
    """One row to insert, or its new values; `key` is the generator's number (1, 2, 3, ...), not the id."""

    key: int
    user_id: int
    amount_cents: int
    card_type: str
    merchant_id: int
    created_us: int


class Step(msgspec.Struct, frozen=True):
    """One statement: insert (1 or more `rows`, one VALUES), update (1 row, the new values), delete (`key`).

    `rollback_to_savepoint` goes back to the latest `savepoint` of the unit.
    """

    kind: Literal["insert", "update", "delete", "savepoint", "rollback_to_savepoint"]
    rows: tuple[Row, ...] = ()
    key: int | None = None


class Unit(msgspec.Struct, frozen=True):
    """One database transaction, due `at_us` after the load's start, held open `hold_us` before its end."""

    at_us: int
    steps: tuple[Step, ...]
    outcome: Literal["commit", "rollback"]
    hold_us: int = 0


class Label(msgspec.Struct, frozen=True, gc=False):
    """What a committed row really was; `episode` is 0 for everyday payments ("ordinary", "spree")."""

    key: int
    scenario: str
    episode: int
    fraud: bool


LabelledUnit = tuple[Unit, tuple[Label, ...]]


class Workload(msgspec.Struct, frozen=True):
    """A load of `rate` inserted rows/s for `duration_s` seconds; ValueError if it cannot be generated.

    `start_us` is the simulated time of the first row; `users` None means 9,000 (uniform), or up to 2,000 so
    that a user has about 15 rows in a short run; `max_hold_s` None means 60 s or a sixth of the run; at most
    `max_held` transactions are held open at one time, so that a small connection pool is enough.
    """

    profile: Literal["labelled", "uniform"]
    seed: int
    rate: int
    duration_s: float
    start_us: int = 1_767_571_200_000_000  # 2026-01-05T00:00:00Z, a Monday
    users: int | None = None
    merchants: int = 500
    prevalence: Literal["default", "realistic", "rare"] = "default"
    corrections: bool = True
    commit_stress: bool = True
    max_hold_s: float | None = None
    max_held: int = 8

    def __post_init__(self) -> None:
        for name, least in {"rate": 1, "duration_s": 1, "merchants": 50, "user_count": 1}.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name}: found {getattr(self, name)}, wanted {least} or more")

    @property
    def total_rows(self) -> int:
        """Rows offered, those of rolled-back units and savepoints included."""
        return round(self.rate * self.duration_s)

    @property
    def user_count(self) -> int:
        """Users numbered from 1000 on."""
        usual = UNIFORM_USERS if self.profile == "uniform" else min(2000, max(50, self.total_rows // 15))
        return usual if self.users is None else self.users


def compression(w: Workload) -> float:
    """Simulated seconds per wall second (a mean: nights pass faster than noons); state it in reports."""
    if w.profile == "uniform":
        return 1.0
    return w.rate * DAY_US / 1_000_000 / (scenarios.PAYMENTS_PER_USER_DAY * w.user_count)


def units(w: Workload) -> Iterator[Unit]:
    """The transactions of `w` by ascending `at_us`; equal workloads give equal units."""
    return (unit for unit, _ in labelled_units(w))


def labels(w: Workload) -> Iterator[Label]:
    """One label per committed row of `w` by ascending key; none for `uniform`."""
    return (label for _, some in labelled_units(w) for label in some)


def labelled_units(w: Workload) -> Iterator[LabelledUnit]:
    """Units with the labels of the rows they commit: both outputs from one pass."""
    return _uniform(w) if w.profile == "uniform" else _Writer(w).write()


def _uniform(w: Workload) -> Iterator[LabelledUnit]:
    rng = Random(f"{w.seed}/uniform")
    for first in range(0, w.total_rows, UNIFORM_ROWS_PER_COMMIT):
        at = first * 1_000_000 // w.rate
        rows = tuple(
            Row(key, FIRST_USER + rng.randrange(w.user_count), rng.randint(500, 500_000),
                rng.choice(population.CARD_TYPES), rng.randint(1, w.merchants), w.start_us + at)
            for key in range(first + 1, min(first + UNIFORM_ROWS_PER_COMMIT, w.total_rows) + 1)
        )  # fmt: skip
        yield Unit(at, (Step("insert", rows),), "commit"), ()


class _Writer:
    """Packs the payments of `labelled` into transactions, with corrections and commit stress."""

    def __init__(self, w: Workload) -> None:
        self.w = w
        self.rng = Random(f"{w.seed}/writes")
        self.end_us = int(w.duration_s * 1_000_000)
        hold_s = min(60.0, w.duration_s / 6) if w.max_hold_s is None else w.max_hold_s
        self.hold_limit_us = int(hold_s * 1_000_000)
        self.corrections = Corrections(w.seed, self.rng, w.user_count, w.total_rows, w.duration_s)
        self.keys, self.last_created_us = 0, w.start_us
        self.due: list[tuple[int, int, bool, Step]] = []  # corrections to come: (at_us, key, quick, statement)
        self.held: list[int] = []  # when the transactions that are held open will end
        sure = population.sure_rows(w.total_rows)
        # The sure alerts rest on what their users paid before: no mistyped amount until they are out.
        self.mistype_after = max(sure) + 50 if sure else 0

    def write(self) -> Iterator[LabelledUnit]:
        """Units by ascending `at_us`, each with its labels; corrections come between the inserts."""
        w = self.w
        people = population.Population(w.seed, w.user_count, w.merchants)
        stream = scenarios.Stream(people, w.seed, w.total_rows, PREVALENCE[w.prevalence])
        payments = stream.payments(w.start_us)
        while (left := w.total_rows - self.keys) > 0:
            at = self.keys * 1_000_000 // w.rate
            yield from self._corrections_until(at)
            count, savepoint = self._shape(left)
            yield self._unit(at, list(islice(payments, count)), savepoint)
        yield from self._corrections_until(self.end_us)

    def _shape(self, left: int) -> tuple[int, bool]:
        """How many rows the next unit has, and whether it rolls some back to a savepoint."""
        fate = self.rng.random() if self.w.commit_stress else 1.0
        if fate < SAVEPOINT_SHARE and left >= 3:
            return min(left, self.rng.randint(3, 8)), True
        if fate < SAVEPOINT_SHARE + MULTI_ROW_SHARE:
            return min(left, int(2 * 25.5 ** self.rng.random())), False  # 2-50, log-uniform
        return 1, False

    def _end(self, at: int, at_once: bool = False) -> tuple[Literal["commit", "rollback"], int]:
        """Outcome and hold time of a unit that starts at `at`: one with sure rows or a quick change commits at once."""
        if at_once or not self.w.commit_stress:
            return "commit", 0
        while self.held and self.held[0] <= at:
            heapq.heappop(self.held)
        hold, most = 0, min(self.hold_limit_us, self.end_us - at)
        if self.rng.random() < HOLD_SHARE and most > LEAST_HOLD_US and len(self.held) < self.w.max_held:
            hold = int(LEAST_HOLD_US * (most / LEAST_HOLD_US) ** self.rng.random())
            heapq.heappush(self.held, at + hold)
        return ("rollback" if self.rng.random() < ROLLBACK_SHARE else "commit"), hold

    def _unit(self, at: int, payments: list[Payment], savepoint: bool) -> LabelledUnit:
        sure = any(payment.sure for payment in payments)
        outcome, hold = self._end(at, sure)
        undone = range(0)
        if savepoint and not sure:
            first = self.rng.randint(1, len(payments) - 2)
            undone = range(first, self.rng.randint(first, len(payments) - 2) + 1)
        rows, some = [], []
        for i, payment in enumerate(self._tied(payments)):
            stays = outcome == "commit" and i not in undone
            rows.append(self._row(payment, at, at + hold + MARGIN_US if stays else None))
            if stays:
                some.append(Label(self.keys, payment.scenario, payment.episode, payment.fraud))
        self.last_created_us = rows[-1].created_us
        return Unit(at, _inserts(tuple(rows), undone), outcome, hold), tuple(some)

    def _tied(self, payments: list[Payment]) -> list[Payment]:
        """Honest payments with one `created_us`: half of the large units, and some repeat the last unit's."""
        several = len(payments) > 1
        tie = self.w.commit_stress and self.rng.random() < (0.5 if several else TIE_SHARE)
        if not tie or any(payment.fraud for payment in payments):
            return payments
        created = payments[0].created_us if several else self.last_created_us
        return [msgspec.structs.replace(payment, created_us=created) for payment in payments]

    def _row(self, payment: Payment, at: int, ready: int | None) -> Row:
        """The next row; a correction may be scheduled from `ready` on (None: the row will not stay)."""
        self.keys += 1
        stays = ready if self.w.corrections else None
        written, changes = self.corrections.plan(payment, at, stays, self.keys > self.mistype_after)
        for when, right, quick in changes:
            step = Step("update", (_row_of(self.keys, right),)) if right else Step("delete", key=self.keys)
            heapq.heappush(self.due, (when, self.keys, quick, step))
        return _row_of(self.keys, written)

    def _corrections_until(self, at: int) -> Iterator[LabelledUnit]:
        while self.due and self.due[0][0] <= at:
            when, _, quick, step = heapq.heappop(self.due)
            yield Unit(when, (step,), *self._end(when, quick)), ()


def _row_of(key: int, p: Payment) -> Row:
    return Row(key, p.user_id, p.amount_cents, p.card_type, p.merchant_id, p.created_us)


def _inserts(rows: tuple[Row, ...], undone: range) -> tuple[Step, ...]:
    """One insert, or three of which the second, the `undone` rows, is rolled back to a savepoint."""
    if not undone:
        return (Step("insert", rows),)
    first, stop = undone.start, undone.stop
    back = (Step("savepoint"), Step("insert", rows[first:stop]), Step("rollback_to_savepoint"))
    return (Step("insert", rows[:first]), *back, Step("insert", rows[stop:]))
