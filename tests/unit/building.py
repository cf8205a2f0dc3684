"""Small builders for changes and alerts, shared by the unit tests of detection.

Amounts are written as people write them ("1,000.00"), times are microseconds, and a plain `lsn` stands
for the position (1, lsn, lsn).
"""

from collections.abc import Iterable
from decimal import Decimal

from twinpath.detection.model import Alert, Change, Op, Position, Transaction

SECOND_US = 1_000_000
HOUR_US = 3_600 * SECOND_US
NOON_US = 1_750_000_000 * SECOND_US
USER = 7


def cents(amount: str) -> int:
    """`"1,000.01"` -> `100001`."""
    return int(Decimal(amount.replace(",", "")) * 100)


def at(lsn: int, row: int | None = None, incarnation: int = 1) -> Position:
    """The position (incarnation, lsn, row), with row = lsn unless given."""
    return Position(incarnation, lsn, lsn if row is None else row)


def paid(tx_id: int, amount: str, *, user: int = USER, us: int = NOON_US) -> Transaction:
    return Transaction(tx_id, user, cents(amount), us)


def change(op: Op, where: int | Position, row: Transaction) -> Change:
    """One change of the given row; a delete carries it as its before-image."""
    before, after = (row, None) if op == "d" else (None, row)
    return Change(op, row.user_id, row.tx_id, where if isinstance(where, Position) else at(where), before, after)


def insert(where: int | Position, tx_id: int, amount: str, *, user: int = USER, us: int = NOON_US) -> Change:
    return change("c", where, paid(tx_id, amount, user=user, us=us))


def update(where: int | Position, tx_id: int, amount: str, *, user: int = USER, us: int = NOON_US) -> Change:
    return change("u", where, paid(tx_id, amount, user=user, us=us))


def delete(where: int | Position, tx_id: int, *, user: int = USER) -> Change:
    return change("d", where, paid(tx_id, "0.00", user=user))


def snapshot_row(where: int | Position, tx_id: int, amount: str, *, user: int = USER, us: int = NOON_US) -> Change:
    return change("r", where, paid(tx_id, amount, user=user, us=us))


def inserts(amounts: Iterable[str], *, first: int = 1, us: int = NOON_US, apart_us: int = HOUR_US) -> list[Change]:
    """Payments of one user with rising ids; the position of each is its id, `apart_us` lie between them."""
    return [insert(tx_id, tx_id, amount, us=us + tx_id * apart_us) for tx_id, amount in enumerate(amounts, first)]


def facts(alerts: Iterable[Alert]) -> list[tuple[str, int, int, str]]:
    """(status, tx_id, score, reason) of each alert."""
    return [(alert.status, alert.tx_id, alert.score, alert.reason) for alert in alerts]


def raised(tx_id: int, score: int, reason: str) -> tuple[str, int, int, str]:
    return ("RAISED", tx_id, score, reason)


def revised(tx_id: int, score: int, reason: str) -> tuple[str, int, int, str]:
    return ("REVISED", tx_id, score, reason)


def retracted(tx_id: int, reason: str) -> tuple[str, int, int, str]:
    return ("RETRACTED", tx_id, 0, reason)


CORRECTED = "corrected: no longer unusual"
DELETED = "deleted"
