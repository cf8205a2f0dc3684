"""Velocity and amount: many payments within a minute, the last one a high one.

Over the last `history` payments of the user by position, the current one included, those with
created_at in [t - window, t] are counted. The score is `payments_weight` when they are more than
`payments`, plus `amount_weight` when the amount is above `amount_cents`; alert above `threshold`.
With the default weights (40 and 50, threshold 70) both parts are needed.
"""

from typing import ClassVar

import msgspec

from twinpath.detection.history import CREATED, Entry, History, Judged, width
from twinpath.detection.model import USUAL, Transaction, Verdict
from twinpath.detection.money import money

FEATURES = ("payments_in_window",)


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What can be tuned; the window in microseconds, amounts in cents, weights in points."""

    history: int = 64
    window_us: int = 60_000_000
    payments: int = 5
    payments_weight: int = 40
    amount_cents: int = 4_000_00
    amount_weight: int = 50
    threshold: int = 70

    def __post_init__(self) -> None:
        if self.history < 1 or self.window_us < 0:
            raise ValueError("history must be 1 or more and window_us not negative")


class State(History):
    """The last payments; `in_time_order` is True while their times never decreased."""

    WIDTH: ClassVar[int] = width(FEATURES)

    in_time_order: bool = True


def judge(parameters: Parameters, state: State, transaction: Transaction) -> Judged:
    """How many of the last payments, this one included, lie in its window."""
    return (_count(parameters, state, state.count, transaction.created_us),)


def verdict(parameters: Parameters, judged_on: Judged, transaction: Transaction) -> Verdict:
    """Judge one payment by the number of payments in its window and by its amount."""
    (payments,) = judged_on
    many = payments > parameters.payments
    high = transaction.amount_cents > parameters.amount_cents
    score = (parameters.payments_weight if many else 0) + (parameters.amount_weight if high else 0)
    if score <= parameters.threshold:
        return USUAL
    parts = []
    if many:
        seconds = f"{parameters.window_us / 1_000_000:g}"
        parts.append(f"{payments} payments within {seconds} s")
    if high:
        parts.append(f"{money(transaction.amount_cents)} is above {money(parameters.amount_cents)}")
    return Verdict(True, score, " and ".join(parts))


def learn(parameters: Parameters, state: State, entry: Entry) -> None:
    """Append a judged payment; the oldest falls out past `history`."""
    cells = state.cells
    if cells and entry.transaction.created_us < cells[CREATED - state.WIDTH]:
        state.in_time_order = False
    state.append(entry)
    if state.count > parameters.history:
        state.remove(0)


def teach(parameters: Parameters, state: State, entry: Entry) -> None:
    """Remember a snapshot row before the judged payments."""
    state.teach(entry)
    if state.count > parameters.history:
        state.remove(0)
    _notice_order(state)


def correct(parameters: Parameters, state: State, place: int, transaction: Transaction) -> Judged | None:
    """New values at the same place; a changed time re-counts over the payments kept before it."""
    former = state.entry(place)
    judged_on = former.judged_on
    if judged_on is not None and transaction.created_us != former.transaction.created_us:
        judged_on = (_count(parameters, state, place, transaction.created_us),)
    state.replace(place, Entry(transaction, judged_on))
    if transaction.created_us != former.transaction.created_us:
        _notice_order(state)
    return judged_on


def forget(_parameters: Parameters, state: State, place: int) -> None:
    """Take one payment out of the history."""
    state.remove(place)


def _count(parameters: Parameters, state: State, end: int, time_us: int) -> int:
    """Payments in [time - window, time] among the `history - 1` entries before `end`, plus one."""
    oldest_us = time_us - parameters.window_us
    count = 1
    cells, row = state.cells, state.WIDTH
    newest = (end - 1) * row + CREATED
    for index in range(newest, max(newest - (parameters.history - 1) * row, -1), -row):
        created_us = cells[index]
        if created_us < oldest_us:
            if state.in_time_order:
                break
        elif created_us <= time_us:
            count += 1
    return count


def _notice_order(state: State) -> None:
    times = state.cells[CREATED :: state.WIDTH]
    state.in_time_order = all(a <= b for a, b in zip(times, times[1:], strict=False))
