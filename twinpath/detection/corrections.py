"""Which payments are corrected or withdrawn after their commit, and when: a seeded plan.

Most changes come minutes later (scaled in short runs). A few honest payments are corrected twice, or are withdrawn,
within seconds: a batch path that looks once a minute is not likely to see what was there in between.
"""

from collections.abc import Sequence
from random import Random
from typing import Final, NamedTuple

import msgspec

from twinpath.detection.population import MOST_CENTS, Payment, clip_cents, misentered

UPDATE_SHARE, DELETE_SHARE = 0.005, 0.003  # of rows
QUICK_SHARE, QUICK_LEAST, QUICK_MOST = 0.001, 8, 0.05  # of rows; 8 rows at least, which are at most 5 %
QUICK_US: Final = (200_000, 1_500_000)  # from one quick change to the next


class Change(NamedTuple):
    """What becomes of a payment at a time of the load: new values, or None when it is deleted; a quick change is
    neither held open nor rolled back."""

    at_us: int
    payment: Payment | None
    quick: bool


class Corrections:
    """Draws for each payment how it is written and what becomes of it."""

    def __init__(self, seed: int, rng: Random, users: int, total_rows: int, duration_s: float) -> None:
        self._rng, self._quick_rng, self._users = rng, Random(f"{seed}/quick"), users
        self._end_us = int(duration_s * 1_000_000)
        self._median_delay_us = min(300.0, duration_s * 0.1) * 1_000_000
        self._quick_share = min(QUICK_MOST, max(QUICK_SHARE, QUICK_LEAST / total_rows))

    def plan(self, payment: Payment, at: int, ready: int | None, may_mistype: bool) -> tuple[Payment, Sequence[Change]]:
        """The payment as it is written at `at`, and its changes from `ready` on (None: the row will not stay)."""
        fate = self._rng.random()
        if ready is None or payment.sure:
            return payment, ()
        if fate >= UPDATE_SHARE + DELETE_SHARE:
            return self._soon(payment, ready, may_mistype)
        when = max(ready, at + int(self._median_delay_us * self._rng.lognormvariate(0, 1)))
        if when >= self._end_us:
            return payment, ()
        if fate < DELETE_SHARE:
            return payment, [Change(when, None, False)]
        written, right = misentered(payment, self._rng, self._users, may_mistype and not payment.fraud)
        return written, [Change(when, right, False)]

    def _soon(self, payment: Payment, ready: int, may_mistype: bool) -> tuple[Payment, Sequence[Change]]:
        """A few honest payments, half of them corrected twice, half withdrawn."""
        rng = self._quick_rng
        if rng.random() >= self._quick_share or payment.fraud:
            return payment, ()
        first = ready + rng.randint(*QUICK_US)
        second = first + rng.randint(*QUICK_US)
        if second >= self._end_us:
            return payment, ()
        if rng.random() < 0.5:
            return payment, [Change(first, None, True)]
        written, between = corrected_twice(payment, rng, may_mistype)
        return written, [Change(first, between, True), Change(second, payment, True)]


def corrected_twice(payment: Payment, rng: Random, may_mistype: bool) -> tuple[Payment, Payment]:
    """A payment as it is written, some cents off, and as it is first corrected to: another wrong amount."""
    change, cents = msgspec.structs.replace, payment.amount_cents
    between = 10 * cents if may_mistype else cents + rng.randint(50, 99)
    if between > MOST_CENTS:
        between = cents - rng.randint(50, 99)
    written = clip_cents(cents + rng.choice((-1, 1)) * rng.randint(1, 49))
    return change(payment, amount_cents=written), change(payment, amount_cents=between)
