"""Spending anomaly: a payment far above what this user usually pays.

Alert when at least `minimum_payments` are known, the amount is above `minimum_cents`, and the amount
is more than `ratio` times the mean of the last `history` payments. Compared by multiplication, in
integer cents, so that no rounding enters.
"""

from typing import ClassVar

import msgspec

from twinpath.detection.history import AMOUNT, Entry, History, Judged, width
from twinpath.detection.model import USUAL, Transaction, Verdict
from twinpath.detection.money import money

FEATURES = ("payments", "total_cents")


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What can be tuned; amounts in cents."""

    history: int = 50
    minimum_payments: int = 3
    minimum_cents: int = 500_00
    ratio: int = 3

    def __post_init__(self) -> None:
        if self.history < 1 or self.minimum_payments < 1 or self.ratio < 1:
            raise ValueError("history, minimum_payments and ratio must be 1 or more")


class State(History):
    """The last payments, and the sum of their amounts in cents."""

    WIDTH: ClassVar[int] = width(FEATURES)

    total_cents: int = 0


def judge(_parameters: Parameters, state: State, _transaction: Transaction) -> Judged:
    """What was known before this payment: how many payments, and their sum in cents."""
    return (state.count, state.total_cents)


def verdict(parameters: Parameters, judged_on: Judged, transaction: Transaction) -> Verdict:
    """Judge one payment; the score is its ratio to the usual amount in tenths."""
    payments, total = judged_on
    amount = transaction.amount_cents
    if (
        amount <= parameters.minimum_cents
        or payments < parameters.minimum_payments
        or amount * payments <= parameters.ratio * total
    ):
        return USUAL
    score = amount * payments * 10 // total if total > 0 else 0
    usual = money((2 * total + payments) // (2 * payments))
    times = f"{score // 10}.{score % 10} times" if total > 0 else "far above"
    reason = f"{money(amount)} is {times} this user's usual {usual} ({payments} payments)"
    return Verdict(True, score, reason)


def learn(parameters: Parameters, state: State, entry: Entry) -> None:
    """Append a judged payment; the oldest falls out past `history`."""
    state.append(entry)
    state.total_cents += entry.transaction.amount_cents
    _bound(parameters, state)


def teach(parameters: Parameters, state: State, entry: Entry) -> None:
    """Remember a snapshot row before the judged payments."""
    state.teach(entry)
    state.total_cents += entry.transaction.amount_cents
    _bound(parameters, state)


def correct(_parameters: Parameters, state: State, place: int, transaction: Transaction) -> Judged | None:
    """New values at the same place; returns what the row is judged on: the prior it had."""
    former = state.entry(place)
    state.replace(place, Entry(transaction, former.judged_on))
    state.total_cents += transaction.amount_cents - former.transaction.amount_cents
    return former.judged_on


def forget(_parameters: Parameters, state: State, place: int) -> None:
    """Take one payment out of the history."""
    state.total_cents -= state.cells[place * state.WIDTH + AMOUNT]
    state.remove(place)


def _bound(parameters: Parameters, state: State) -> None:
    if len(state.cells) > parameters.history * state.WIDTH:
        forget(parameters, state, 0)
