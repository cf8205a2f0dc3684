"""Card testing: small payments at several merchants show that a stolen card works, then comes a large one.

Alert when the amount is above `large_cents` and, within the window before it, the user's last `history` payments hold
amounts above zero and at most `small_cents` at `merchants` or more different merchants. Whole cents and microseconds;
both ends of the window count; payments without a merchant do not.
"""

from typing import ClassVar

import msgspec

from twinpath.detection.history import AMOUNT, CREATED, MERCHANT, NO_MERCHANT, Entry, History, Judged, width
from twinpath.detection.model import USUAL, Transaction, Verdict
from twinpath.detection.money import money

FEATURES = ("merchants",)


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What can be tuned; the window in microseconds, amounts in cents."""

    history: int = 32
    window_us: int = 3_600_000_000
    small_cents: int = 5_00
    merchants: int = 3
    large_cents: int = 500_00

    def __post_init__(self) -> None:
        if self.history < 1 or self.window_us < 0 or self.merchants < 1:
            raise ValueError("history and merchants must be 1 or more and window_us not negative")


class State(History):
    """The last payments."""

    WIDTH: ClassVar[int] = width(FEATURES)


def judge(parameters: Parameters, state: State, transaction: Transaction) -> Judged:
    """At how many merchants there were small payments within the window before this one."""
    return (_merchants(parameters, state, state.count, transaction.created_us),)


def verdict(parameters: Parameters, judged_on: Judged, transaction: Transaction) -> Verdict:
    """Judge one payment; the score is the number of merchants in tens."""
    (merchants,) = judged_on
    if transaction.amount_cents <= parameters.large_cents or merchants < parameters.merchants:
        return USUAL
    small, minutes = money(parameters.small_cents), f"{parameters.window_us / 60_000_000:g}"
    reason = (
        f"{money(transaction.amount_cents)} after payments up to {small} at {merchants} merchants within {minutes} min"
    )
    return Verdict(True, 10 * merchants, reason)


def learn(parameters: Parameters, state: State, entry: Entry) -> None:
    """Append a judged payment; the oldest falls out past `history`."""
    state.append(entry)
    _bound(parameters, state)


def teach(parameters: Parameters, state: State, entry: Entry) -> None:
    """Remember a snapshot row before the judged payments."""
    state.teach(entry)
    _bound(parameters, state)


def correct(parameters: Parameters, state: State, place: int, transaction: Transaction) -> Judged | None:
    """New values at the same place; a changed time counts anew over the payments kept before it."""
    former = state.entry(place)
    judged_on = former.judged_on
    if judged_on is not None and transaction.created_us != former.transaction.created_us:
        judged_on = (_merchants(parameters, state, place, transaction.created_us),)
    state.replace(place, Entry(transaction, judged_on))
    return judged_on


def forget(_parameters: Parameters, state: State, place: int) -> None:
    """Take one payment out of the history."""
    state.remove(place)


def _merchants(parameters: Parameters, state: State, end: int, time_us: int) -> int:
    """Different merchants of small payments in [time - window, time] among the entries before `end`."""
    cells, found = state.cells, set()
    for begin in range(0, end * state.WIDTH, state.WIDTH):
        small = 0 < cells[begin + AMOUNT] <= parameters.small_cents
        if small and time_us - parameters.window_us <= cells[begin + CREATED] <= time_us:
            found.add(cells[begin + MERCHANT])
    return len(found - {NO_MERCHANT})


def _bound(parameters: Parameters, state: State) -> None:
    if state.count > parameters.history:
        state.remove(0)
