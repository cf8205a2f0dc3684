"""What a gap in the log destroyed, as far as it can be known: the log up to the gap beside the snapshot after it."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from lab.slot import lsn
from twinpath.detection.model import Change, Transaction

Rows = dict[int, tuple[int, int]]
"""tx_id -> (user, a hash of the other columns that rules read); about 200 bytes a row."""


class Lost(msgspec.Struct, frozen=True):
    """What was found when a line was brought back behind a gap; keys of `twinpath resync --json`.

    Changes of which the table shows nothing any more (a row that was inserted and deleted within the gap, a value that
    was replaced twice) are in no figure. With `at_most` some of the log before the gap is gone as well, so that rows
    that were judged may be counted as never judged.
    """

    reasons: list[str]
    incarnation: int  # of the source from now on
    topic_made_anew: bool
    read_up_to: str | None  # LSN that Connect had stored
    goes_on_from: str | None  # LSN of the snapshot; None for an empty table
    rows: int  # in the table at the snapshot: all are taught, none is judged
    never_judged: int  # rows of which the log has no change
    changed: int  # rows whose values differ from those that the log ended with
    vanished: int  # rows that the log ended with and the table has no more
    standing_alerts: int  # agents' alerts on changed and vanished rows: they stand as they were raised
    at_most: bool = False


class Difference(NamedTuple):
    """Ids of rows."""

    never_judged: set[int]
    changed: set[int]
    vanished: set[int]


def rows_of_log(changes: Iterable[Change]) -> Rows:
    """The rows that a log ends with. A row that changed its user is a delete and an insert, in any order here."""
    rows: dict[tuple[int, int], int] = {}
    for one in changes:
        if one.after is None:
            rows.pop((one.user_id, one.tx_id), None)
        else:
            rows[one.user_id, one.tx_id] = _content(one.after)
    return {tx_id: (user_id, content) for (user_id, tx_id), content in rows.items()}


def rows_of_snapshot(changes: Iterable[Change]) -> tuple[Rows, int | None]:
    """The rows of the newest snapshot among these changes, and its LSN; None when there is none."""
    rows: Rows = {}
    newest: int | None = None
    for one in changes:
        if one.op != "r" or one.after is None or (newest is not None and one.position.row_lsn < newest):
            continue
        if newest is None or one.position.row_lsn > newest:
            rows, newest = {}, one.position.row_lsn
        rows[one.tx_id] = (one.user_id, _content(one.after))
    return rows, newest


def difference(before: Mapping[int, tuple[int, int]], now: Mapping[int, tuple[int, int]]) -> Difference:
    """What happened to the rows of a table in between."""
    changed = {tx_id for tx_id, content in now.items() if tx_id in before and before[tx_id] != content}
    return Difference(now.keys() - before.keys(), changed, before.keys() - now.keys())


def _content(row: Transaction) -> int:
    return hash((row.amount_cents, row.created_us, row.merchant_id))


def said(lost: Lost) -> list[str]:
    """In words, a line each."""
    most = "at most " if lost.at_most else ""
    span = f"{lost.read_up_to or 'the first change'} to {lost.goes_on_from or 'now'}"
    anew = ["the topic was damaged and was made anew: the records in it are gone"] if lost.topic_made_anew else []
    return [
        *(f"gap: {reason}" for reason in lost.reasons),
        f"changes from {span} are not in the log; it goes on as source {lost.incarnation}",
        *anew,
        f"{lost.rows} rows were read from the table and taught; {most}{lost.never_judged} of them were never judged",
        f"{most}{lost.changed} rows were changed and {lost.vanished} are gone without the log; on these "
        f"{lost.standing_alerts} alerts stand as they were raised",
        "changes of which the table shows nothing any more are in none of these figures",
    ]


def position(number: int | None) -> str | None:
    """An LSN in PostgreSQL's form."""
    return None if number is None else lsn(number)
