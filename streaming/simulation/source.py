"""A PostgreSQL table and the connector behind it: what a seed makes them write, and what is true of it.

Several transactions are open at a time, so that row LSNs run backwards between commits; some roll back.
Rows arrive one by one, by COPY (several rows at one position) and by changed user or id; a connector is
made anew on a kept topic (its first transaction carries null as first number); snapshots teach, also
twice. Between them lie records that are no change, and records that nobody can read.

The truth of each record is built beside its bytes and never read back from them.
"""

import random
from typing import NamedTuple

from streaming.simulation.clock import START_US
from streaming.simulation.records import NOISE, POISON, key_of, value_of
from twinpath.detection.model import Change, Op, Position, Transaction

AMOUNTS = (-20_000, 0, 10_000, 16_670, 33_333, 50_000, 50_001, 60_000, 400_000, 400_001, 700_000, 9_000_000)
SECONDS = (-61, -3, 0, 0, 0, 1, 20, 30, 60, 61)
STEPS = ("write",) * 10 + ("copy", "commit", "commit", "commit", "commit", "roll back", "noise", "poison", "recreate")
WRITES = ("c",) * 5 + ("u",) * 4 + ("d", "move", "renumber")


class Sent(NamedTuple):
    """One record as the connector writes it, and what it means; `number` counts from 0.

    `settled` marks a record behind which a connector that starts again does not go back: rows of a
    snapshot (an interrupted one is read anew instead) and the last one of a former connector.
    """

    number: int
    user_id: int
    key: bytes | None
    value: bytes | None
    kind: str  # change, skipped or unreadable
    changes: tuple[Change, ...] = ()
    settled: bool = False


class Written(NamedTuple):
    """A row written by a transaction that is still open."""

    row_lsn: int
    before: Transaction | None
    after: Transaction | None


class Source:
    """The table, its log and the connector; `sent` is all that the connector has to say, in order."""

    def __init__(self, chance: random.Random, steps: int) -> None:
        self.sent: list[Sent] = []
        self._chance = chance
        self._users = [chance.randint(1, 400) for _ in range(chance.randint(2, 6))]
        self._rows: dict[int, Transaction] = {}
        self._open: dict[int, list[Written]] = {}
        self._lsn = 1_000
        self._last_commit: int | None = None
        self._xid = 700
        self._ids = 0
        self._us = START_US
        if chance.random() < 0.5:
            self._fill()
            self._snapshot(interrupted=chance.random() < 0.5)
        for _ in range(steps):
            self._step(chance.choice(STEPS))
        for xid in list(self._open):
            self._commit(xid)

    # what the writers do

    def _step(self, step: str) -> None:
        if step in ("write", "copy"):
            xid = self._transaction()
            if step == "copy":
                self._copy(xid)
            else:
                self._write(xid, self._chance.choice(WRITES))
        elif step == "noise":
            self._say("skipped", *self._chance.choice(NOISE))
        elif step == "poison":
            self._say("unreadable", *self._chance.choice(POISON))
        elif step == "recreate":
            if self._chance.random() < 0.3:
                self._recreate()
        elif self._open:
            xid = self._chance.choice(list(self._open))
            if step == "commit":
                self._commit(xid)
            else:
                del self._open[xid]

    def _transaction(self) -> int:
        """An open transaction: one that is there, or a new one."""
        if self._open and (len(self._open) > 2 or self._chance.random() < 0.6):
            return self._chance.choice(list(self._open))
        self._xid += 1
        self._open[self._xid] = []
        return self._xid

    def _write(self, xid: int, kind: str) -> None:
        visible = self._visible(xid)
        self._advance()
        if kind == "c" or not visible:
            self._open[xid].append(Written(self._lsn, None, self._new_row(self._chance.choice(self._users))))
            return
        before = self._chance.choice(list(visible.values()))
        tx_id, user, cents, us = before.tx_id, before.user_id, self._cents(), before.created_us
        if kind == "d":
            self._open[xid].append(Written(self._lsn, before, None))
            return
        if kind == "move":
            user = self._chance.choice(self._users)
        elif kind == "renumber":
            self._ids += 1
            tx_id = self._ids
        elif self._chance.random() < 0.5:
            us = self._us
        self._open[xid].append(Written(self._lsn, before, Transaction(tx_id, user, cents, us, 1)))

    def _copy(self, xid: int) -> None:
        """Several rows, mostly of one user, in one record of the write-ahead log: all at one position."""
        self._advance()
        user = self._chance.choice(self._users)
        for _ in range(self._chance.randint(2, 4)):
            self._open[xid].append(Written(self._lsn, None, self._new_row(user)))

    def _visible(self, xid: int) -> dict[int, Transaction]:
        """The rows that a transaction may change: committed ones that nobody holds, and its own."""
        held = {row.before.tx_id for other, rows in self._open.items() if other != xid for row in rows if row.before}
        visible = {tx_id: row for tx_id, row in self._rows.items() if tx_id not in held}
        for row in self._open[xid]:
            _apply(visible, row)
        return visible

    def _new_row(self, user: int) -> Transaction:
        self._ids += 1
        self._us += self._chance.choice(SECONDS) * 1_000_000
        return Transaction(self._ids, user, self._cents(), self._us, 1)

    def _cents(self) -> int:
        return self._chance.choice(AMOUNTS) if self._chance.random() < 0.5 else self._chance.randint(1, 80_000)

    def _advance(self) -> None:
        self._lsn += self._chance.choice((0, 8, 56))  # 0: a row right behind a commit bears its LSN
        if any(row.row_lsn == self._lsn for rows in self._open.values() for row in rows):
            self._lsn += 8

    def _fill(self) -> None:
        for _ in range(self._chance.randint(1, 9)):
            row = self._new_row(self._chance.choice(self._users))
            self._rows[row.tx_id] = row

    # what the connector says

    def _commit(self, xid: int) -> None:
        first, self._lsn = self._last_commit, self._lsn + 8
        for row in self._open.pop(xid):
            previous = row.row_lsn - 1 if first is None else first
            number = "null" if first is None else f'"{first}"'
            self._deliver(row, Position(1, previous, row.row_lsn), f'[{number},"{row.row_lsn}"]', xid)
            _apply(self._rows, row)
        self._last_commit = self._lsn

    def _deliver(self, row: Written, where: Position, sequence: str, xid: int) -> None:
        before, after = row.before, row.after
        if before is not None and after is not None and before.user_id != after.user_id:
            self._change("d", before, None, where, sequence, xid)
            self._change("c", None, after, where, sequence, xid)
        else:
            op: Op = "c" if before is None else "d" if after is None else "u"
            self._change(op, before, after, where, sequence, xid)

    def _change(
        self, op: Op, before: Transaction | None, after: Transaction | None, where: Position, sequence: str, xid: int
    ) -> None:
        row = after or before
        assert row is not None
        stamps = (xid, where.row_lsn + START_US, where.row_lsn + START_US + 1000)
        value = value_of(op, before, after, sequence, *stamps)
        if before is not None and after is not None and before.tx_id != after.tx_id:
            changes: tuple[Change, ...] = (
                Change("d", before.user_id, before.tx_id, where, before, None, *stamps),
                Change("c", after.user_id, after.tx_id, where, None, after, *stamps),
            )
        else:
            changes = (Change(op, row.user_id, row.tx_id, where, before, after, *stamps),)
        self.sent.append(Sent(len(self.sent), row.user_id, key_of(row.user_id), value, "change", changes, op == "r"))

    def _snapshot(self, *, interrupted: bool) -> None:
        """Rows as the connector reads them at its start; an interrupted snapshot is read again, whole."""
        for whole in (False, True) if interrupted else (True,):
            self._lsn += 100
            where = Position(1, self._lsn - 1, self._lsn)
            rows = sorted(self._rows.values(), key=lambda row: (row.created_us, row.tx_id))
            for row in rows if whole else rows[: self._chance.randint(0, len(rows))]:
                self._change("r", None, row, where, f'[null,"{self._lsn}"]', self._xid)
        self._last_commit, self._lsn = None, self._lsn + 100

    def _recreate(self) -> None:
        """A new slot and connector on the kept topic, when nothing is open; with a snapshot or without."""
        for xid in list(self._open):
            self._commit(xid)
        self._last_commit, self._lsn = None, self._lsn + 100
        if self.sent:
            self.sent[-1] = self.sent[-1]._replace(settled=True)
        if self._chance.random() < 0.3:
            self._snapshot(interrupted=self._chance.random() < 0.5)

    def _say(self, kind: str, key: str | None, value: str | None) -> None:
        """A record that is no change; `USER` and `OTHER` stand for a user and for another one."""
        user = self._chance.choice(self._users)
        key, value = (
            None if part is None else part.replace("USER", str(user)).replace("OTHER", str(user + 1))
            for part in (key, value)
        )
        encoded = None if key is None else key.encode()
        self.sent.append(Sent(len(self.sent), user, encoded, None if value is None else value.encode(), kind))


def _apply(rows: dict[int, Transaction], written: Written) -> None:
    if written.before is not None:
        rows.pop(written.before.tx_id, None)
    if written.after is not None:
        rows[written.after.tx_id] = written.after
