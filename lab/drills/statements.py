"""A script's steps as statements, and what they wrote, in the order of the log."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from decimal import Decimal
from io import StringIO

import msgspec
from psycopg2.extensions import cursor as Cursor

from lab.drills.work import Action, Target
from lab.operations import LoggedRow
from lab.writing import MICROSECONDS, READ, Transaction
from twinpath.alert_rows import EPOCH_START
from twinpath.detection.workload import Row, Step

NEW_IDS = "SELECT nextval(pg_get_serial_sequence('public.transactions', 'id')) FROM generate_series(1, %s)"
COPY = "COPY transactions (id, user_id, amount, card_type, merchant_id, created_at) FROM STDIN"
CHANGE = f"UPDATE transactions SET user_id = %s, amount = %s / 100.0, created_at = {MICROSECONDS} WHERE id = %s"  # noqa: S608
DELETE = "DELETE FROM transactions WHERE id = %s"
Find = Callable[[Target], int | None]
"""The id of the row that a target means now; None when there is none yet."""


class ScriptedTransaction(Transaction):
    """The writes of one scripted transaction; each line of the log has one entry, in its order."""

    def act(self, cursor: Cursor, action: Action, find: Find) -> None:
        """Execute one step; a correction whose row is gone or held by others does nothing."""
        kind = action.kind
        if kind == "insert":
            self.run(cursor, Step("insert", action.rows), lambda _: None)
        elif kind == "copy":
            self._copy(cursor, action.rows)
        elif kind in ("savepoint", "rollback_to_savepoint"):
            self.run(cursor, Step(kind), lambda _: None)
        elif kind == "release":
            cursor.execute("RELEASE SAVEPOINT point")
        elif kind != "pause":
            self._correct_row(cursor, action, find)

    def inserted(self) -> list[LoggedRow]:
        """The rows that were inserted and kept, as they were inserted."""
        return [after for op, _, _, after, _, kept in self.writes if kept and op == "insert"]

    def _copy(self, cursor: Cursor, rows: Sequence[Row]) -> None:
        cursor.execute(NEW_IDS, [len(rows)])
        ids = [tx_id for (tx_id,) in cursor.fetchall()]
        lines = StringIO()
        for tx_id, row in zip(ids, rows, strict=True):
            amount = Decimal(row.amount_cents).scaleb(-2)
            created = EPOCH_START + timedelta(microseconds=row.created_us)
            lines.write(f"{tx_id}\t{row.user_id}\t{amount}\t{row.card_type}\t{row.merchant_id}\t{created}\n")
        lines.seek(0)
        cursor.copy_expert(COPY, lines)
        for tx_id, row in zip(ids, rows, strict=True):
            logged = LoggedRow(tx_id, row.user_id, row.amount_cents, row.created_us, row.merchant_id)
            self.add("insert", tx_id, None, logged, row.key)

    def _correct_row(self, cursor: Cursor, action: Action, find: Find) -> None:
        tx_id = self._own() if action.target is None else find(action.target)
        if tx_id is None:
            return
        waits = action.target is None or action.target.waits
        cursor.execute(READ if waits else f"{READ} SKIP LOCKED", [tx_id])
        found = cursor.fetchone()
        if found is None:
            return
        before = LoggedRow(*found)
        if action.kind in ("delete", "delete_own"):
            cursor.execute(DELETE, [tx_id])
            self.add("delete", tx_id, before, None)
            return
        after = _changed(before, action)
        cursor.execute(CHANGE, [after.user_id, after.amount_cents, after.created_us, tx_id])
        self.add("update", tx_id, before, after)

    def _own(self) -> int | None:
        """The row that this transaction inserted last and still has."""
        own: dict[int, bool] = {}
        for op, tx_id, _, _, _, kept in self.writes:
            if kept and op == "insert":
                own[tx_id] = True
            elif kept and op == "delete":
                own.pop(tx_id, None)
        return next(reversed(own), None)


def _changed(row: LoggedRow, action: Action) -> LoggedRow:
    if action.kind in ("amount", "amount_own"):
        return msgspec.structs.replace(row, amount_cents=action.value)
    if action.kind == "time":
        return msgspec.structs.replace(row, created_us=row.created_us + action.value)
    return msgspec.structs.replace(row, user_id=action.value)
