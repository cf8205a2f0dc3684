"""Odd rows through the real connector (cases 83 to 100 of the catalogue of bad inputs), all in one log.

Every agent must judge what can be judged exactly as both oracles do, keep the rest as dead letters, and go on.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO

import pytest
from psycopg2.extensions import connection as Connection

from lab.measure import reference
from lab.measure.verdict import gather
from lab.operations import LoggedRow, Operation
from lab.stack import connect
from tests.conftest import Line, wait_for
from twinpath.detection.envelope import Decoded, EnvelopeDecoder
from twinpath.detection.model import Skipped
from twinpath.detection.rules import RULES
from twinpath.errors import DecodeError

pytestmark = pytest.mark.integration
BOTH = tuple(RULES.values())
COLUMNS = "id, user_id, (amount * 100)::bigint, (extract(epoch FROM created_at) * 1000000)::bigint, merchant_id"
NOBODY = 66  # a user all of whose rows are rolled back
MOVED = 1  # the row with another user_id: a delete and an insert in the log
AT = "2026-11-23T06:00:00Z"


class Book:
    """One session's writes, and in `log`, shared by all, what was committed, in the order of the commits."""

    def __init__(self, session: Connection, log: list[Operation]) -> None:
        self.session = session
        self.log = log
        self._pending: list[tuple[LoggedRow | None, LoggedRow | None]] = []

    def run(self, statement: str, values: object = None) -> list[LoggedRow]:
        with self.session.cursor() as cursor:
            cursor.execute(statement, values)
            return [LoggedRow(*row) for row in cursor.fetchall()] if cursor.description else []

    def insert(self, user_id: int, amount: str, created_at: str = AT, card_type: str | None = None) -> int:
        (row,) = self.run(
            f"INSERT INTO transactions (user_id, amount, card_type, created_at) VALUES (%s, %s, %s, %s) "
            f"RETURNING {COLUMNS}",
            [user_id, amount, card_type, created_at],
        )
        self._pending.append((None, row))
        return row.tx_id

    def update(self, what: str, where: str) -> int:
        before = {row.tx_id: row for row in self.run(f"SELECT {COLUMNS} FROM transactions WHERE {where}")}
        after = self.run(f"UPDATE transactions SET {what} WHERE {where} RETURNING {COLUMNS}")
        only = next(iter(before.values())) if len(before) == 1 else None
        for row in after:
            old = only or before[row.tx_id]
            moved = old.tx_id != row.tx_id
            self._pending += [(old, None), (None, row)] if moved else [(old, row)]
        return len(after)

    def delete(self, where: str) -> None:
        self._pending += [
            (row, None) for row in self.run(f"DELETE FROM transactions WHERE {where} RETURNING {COLUMNS}")
        ]

    def copy(self, lines: list[tuple[int, str]]) -> None:
        with self.session.cursor() as cursor:
            text = "".join(f"{user}\t{amount}\t{AT}\n" for user, amount in lines)
            cursor.copy_expert("COPY transactions (user_id, amount, created_at) FROM STDIN", StringIO(text))
        users = sorted({user for user, _ in lines})  # no others' rows are looked at: NaN is no bigint
        rows = self.run(f"SELECT {COLUMNS} FROM transactions WHERE user_id = ANY(%s) ORDER BY id", [users])
        self._pending += [(None, row) for row in rows]

    @contextmanager
    def undone(self) -> Iterator[None]:
        """A savepoint that is rolled back to."""
        self.run("SAVEPOINT s")
        kept = len(self._pending)
        yield
        self.run("ROLLBACK TO SAVEPOINT s")
        del self._pending[kept:]

    def commit(self) -> None:
        self.session.commit()
        self.note()

    def note(self) -> None:
        """What was pending is committed now."""
        xid = len(self.log) + 1
        for sequence, (before, after) in enumerate(self._pending):
            op = "insert" if before is None else "delete" if after is None else "update"
            tx_id = (before or after).tx_id
            self.log.append(Operation(0, 0, xid, sequence, op, "committed", tx_id, before, after))
        self._pending = []

    def roll_back(self) -> None:
        self.session.rollback()
        self._pending = []

    def unreadable(self, statement: str, values: object = None) -> None:
        """A committed row that nobody can judge."""
        self.run(statement, values)
        self.session.commit()


class Lenient(EnvelopeDecoder):
    """Passes over what cannot be read, and notes the field at fault."""

    fields: list[str]

    def decode(self, key: bytes | None, value: bytes | None, incarnation: int = 1) -> Decoded:
        try:
            return super().decode(key, value, incarnation)
        except DecodeError as refusal:
            self.fields.append(refusal.field)
            return Skipped("refused")


def unreadable_rows(book: Book) -> list[str]:
    """Cases 83, 84, 86, 87: committed rows that no rule can judge; the field that a dead letter is to name."""
    row = "INSERT INTO transactions (user_id, amount, created_at) VALUES (%s, %s, %s)"
    book.unreadable(row, [7, "NaN", AT])
    book.unreadable(row, [7, None, AT])
    book.unreadable(row, [None, "10.00", AT])
    book.unreadable(row, [7, "10.00", None])
    book.unreadable(row, [7, "10.00", "infinity"])
    book.unreadable(row, [7, "10.00", "-infinity"])
    book.unreadable(row, [7, "10.00", "4713-01-01 BC"])
    book.unreadable("INSERT INTO transactions (id, created_at) VALUES (DEFAULT, NULL)")
    time = "after.created_at"
    return ["after.amount", "after.amount", "key.user_id", time, time, time, time, "key.user_id"]


def readable_rows(book: Book) -> None:
    """Cases 84, 85, 87 to 97."""
    for amount in ("10.00", "10.00", "10.00", "-5000.00", "640.00", "0.00", "99999999.99"):
        book.insert(7, amount)
        book.commit()
    book.insert(8, "10.00", "0001-01-01T00:00:00Z")
    book.insert(8, "10.00", "9999-12-31T23:59:59.999999Z")
    for card in (
        "'; DROP TABLE x;--",
        "%s %(a)s {} {0}",
        "a\\b\\u0000 \\",
        '"',
        "\u202eאבג\U0001f40c" + "é" * 15,
        "漢" * 20,
    ):
        book.insert(8, "20.00", card_type=card)
    book.commit()
    first = book.insert(9, "10.00")
    book.insert(9, "10.00")
    book.insert(9, "10.00")
    large = book.insert(9, "900.00")
    book.commit()
    book.update("amount = amount", f"id = {first}")  # changes nothing
    book.commit()
    short = book.insert(9, "5000.00")
    book.delete(f"id = {short}")  # inserted and deleted in one transaction
    book.commit()
    book.insert(NOBODY, "9000.00")
    book.roll_back()
    with book.undone():
        book.insert(NOBODY, "9000.00")
        book.update("amount = 1", f"id = {large}")
    with book.undone():
        book.delete(f"id = {first}")
    book.insert(9, "11.00")
    book.commit()
    book.update("id = -1", f"id = {large}")  # a new primary key
    book.commit()
    book.update("user_id = 10", f"id = {first}")  # a new record key
    book.commit()
    book.session.tpc_begin(book.session.xid(1, "twinpath", "test"))
    book.insert(9, "12.00")
    book.session.tpc_prepare()
    book.session.tpc_commit()
    book.note()


def reused_ids(book: Book, line: Line) -> None:
    """Case 96: a sequence that begins again where a row was deleted."""
    owner = line.session("twinpath_lab")
    owner.autocommit = True
    lowest = next(one.tx_id for one in book.log if one.after is not None and one.after.user_id == 7)
    book.delete(f"id = {lowest}")
    book.commit()
    with owner.cursor() as cursor:
        cursor.execute("SELECT last_value FROM transactions_id_seq")
        (last,) = cursor.fetchone()
        cursor.execute("SELECT setval('transactions_id_seq', %s, false)", [lowest])
        assert book.insert(7, "700.00") == lowest
        book.commit()
        cursor.execute("SELECT setval('transactions_id_seq', %s)", [last])


@pytest.mark.parametrize(
    ("copied", "held_s"),
    [(10_000, 0.0), pytest.param(100_000, 1_800.0, marks=[pytest.mark.long, pytest.mark.timeout(2_700)])],
)
def test_odd_rows_are_judged_as_the_oracles_do_or_kept_as_dead_letters(line: Line, copied: int, held_s: float) -> None:
    for rule in RULES:
        line.agents.start(rule)
    for rule in RULES:
        line.agents.wait(rule)
    log: list[Operation] = []
    book, held = Book(line.session(), log), Book(line.session(), log)
    held.insert(11, "10.00")  # case 100: open until the end
    fields = unreadable_rows(book)
    readable_rows(book)
    reused_ids(book, line)
    book.copy([(5_000 + number % 50, f"{5 + number % 7}.00") for number in range(copied)])  # case 99
    book.commit()
    assert book.update("amount = amount + 1", "user_id BETWEEN 5000 AND 5049") == copied  # case 91
    book.commit()
    line.wait_until_in_kafka()
    holding = wait_for_age(held.session, held_s)
    for amount in ("10.00", "10.00", "990.00"):
        held.insert(11, amount)
    held.commit()
    owner = line.session("twinpath_lab")
    with owner, owner.cursor() as cursor:
        cursor.execute("TRUNCATE transactions")  # case 98: not published
    book.insert(7, "650.00")
    book.commit()

    ends = line.wait_until_in_kafka()
    line.wait_until_judged(*BOTH)
    assert holding >= held_s
    assert connect.connector_state(line.settings) == ("RUNNING", [("RUNNING", "")])
    decoder = Lenient(line.settings.envelope())
    decoder.fields = []
    by_topic = reference.fold(BOTH, reference.topic_changes(line.settings, ends, decoder))
    by_log = reference.fold(BOTH, reference.ordered(log, {one.xid: one.xid for one in log}, {}))
    assert sorted(decoder.fields) == sorted(fields), odd_times(line, ends)
    letters = line.rows("SELECT rule, split_part(reason, ': ', 1) FROM dead_letters")
    assert sorted(letters) == sorted((rule.name, field) for rule in BOTH for field in fields)
    session = line.session("twinpath_lab", line.settings.alerts_database)
    for rule in BOTH:
        found = gather(session, rule, by_topic[rule.name], by_log[rule.name])
        assert found.against_topic.equal, found.against_topic
        assert found.against_log.equal, found.against_log
        assert (found.differing_users, found.differing_histories) == ([], [])
        assert NOBODY not in by_topic[rule.name].states
        judged = sum(one.op == "insert" for one in log) + MOVED
        assert (found.counters["judged"], by_topic[rule.name].counts["judged"]) == (judged, judged)
    assert len(by_log["spending"].alerts) >= 5


def odd_times(line: Line, ends: dict[int, int]) -> list[bytes]:
    """Records of user 7 whose time is not the usual one, as the connector wrote them."""
    records = (one for partition, end in ends.items() for one in reference._records(line.settings, partition, end))
    return [one.value for one in records if b'"user_id":7' in (one.value or b"") and AT[:10].encode() not in one.value]


def wait_for_age(session: Connection, age_s: float) -> float:
    """Wait until a session's open transaction is this old; returns its age in seconds."""

    def age() -> float:
        with session.cursor() as cursor:
            cursor.execute("SELECT extract(epoch FROM clock_timestamp() - now())::float")
            return cursor.fetchone()[0]

    wait_for(lambda: age() >= age_s, f"{age_s} s of an open transaction", age_s + 60)
    return age()
