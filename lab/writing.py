"""The statements of one transaction of a load, and what it wrote, for the operation log."""

import threading
from collections.abc import Callable
from typing import Any

from psycopg2.extensions import cursor as Cursor
from psycopg2.extras import execute_values

from lab.operations import LoggedRow
from twinpath.detection.workload import Row, Step

KEY_TIMEOUT_S = 60.0
COLUMNS = "user_id, amount, card_type, merchant_id, created_at"
MICROSECONDS = "timestamptz 'epoch' + %s * interval '1 microsecond'"
VALUES = f"(%s, %s / 100.0, %s, %s, {MICROSECONDS})"
READ = (
    "SELECT id, user_id, (amount * 100)::bigint, "
    "(extract(epoch FROM created_at) * 1000000)::bigint, merchant_id FROM transactions WHERE id = %s FOR UPDATE"
)
INSERT = f"INSERT INTO transactions ({COLUMNS}) VALUES %s RETURNING id"  # noqa: S608  constants only
UPDATE = (
    "UPDATE transactions SET user_id = %s, amount = %s / 100.0, card_type = %s, merchant_id = %s, "  # noqa: S608
    f"created_at = {MICROSECONDS} WHERE id = %s"
)


class Ids:
    """Database ids of committed rows, by the generator's key; writers may wait for one."""

    def __init__(self) -> None:
        self._ids: dict[int, int] = {}
        self._changed = threading.Condition()

    def add(self, ids: dict[int, int]) -> None:
        with self._changed:
            self._ids.update(ids)
            self._changed.notify_all()

    def wait(self, key: int) -> int | None:
        with self._changed:
            self._changed.wait_for(lambda: key in self._ids, KEY_TIMEOUT_S)
            return self._ids.get(key)


class Transaction:
    """The writes of one transaction; what a savepoint undid is kept, marked as undone."""

    def __init__(self) -> None:
        self.writes: list[list[Any]] = []
        self._keys: dict[int, tuple[int, int]] = {}
        self._point = 0

    def run(self, cursor: Cursor, step: Step, id_of: Callable[[int], int | None]) -> None:
        """Execute one step; `id_of` gives the database id of a committed row by its key."""
        if step.kind == "insert":
            rows = [_values(row) for row in step.rows]
            ids = execute_values(cursor, INSERT, rows, VALUES, page_size=len(rows), fetch=True)
            for row, (tx_id,) in zip(step.rows, ids, strict=True):
                self.add("insert", tx_id, None, _logged(tx_id, row), row.key)
        elif step.kind == "savepoint":
            cursor.execute("SAVEPOINT point")
            self.savepoint()
        elif step.kind == "rollback_to_savepoint":
            cursor.execute("ROLLBACK TO SAVEPOINT point")
            self.rollback_to_savepoint()
        else:
            self._correct(cursor, step, id_of)

    def _correct(self, cursor: Cursor, step: Step, id_of: Callable[[int], int | None]) -> None:
        key = step.rows[0].key if step.rows else step.key
        tx_id = id_of(key if key is not None else 0)
        cursor.execute(READ, [tx_id])
        found = cursor.fetchone()
        if found is None:
            return  # its insert failed: there is nothing to correct
        before = LoggedRow(*found)
        if step.kind == "delete":
            cursor.execute("DELETE FROM transactions WHERE id = %s", [tx_id])
            self.add("delete", before.tx_id, before, None)
        else:
            (row,) = step.rows
            cursor.execute(UPDATE, [*_values(row), tx_id])
            self.add("update", before.tx_id, before, _logged(before.tx_id, row))

    def add(
        self, op: str, tx_id: int, before: LoggedRow | None, after: LoggedRow | None, key: int | None = None
    ) -> None:
        if key is not None:
            self._keys[key] = (tx_id, len(self.writes))
        self.writes.append([op, tx_id, before, after, key, True])

    def savepoint(self) -> None:
        self._point = len(self.writes)

    def rollback_to_savepoint(self) -> None:
        for write in self.writes[self._point :]:
            write[-1] = False

    def ids(self) -> dict[int, int]:
        """Database ids by key, of the rows that were kept."""
        return {key: tx_id for key, (tx_id, place) in self._keys.items() if self.writes[place][-1]}


def _values(row: Row) -> tuple[int, int, str, int, int]:
    return (row.user_id, row.amount_cents, row.card_type, row.merchant_id, row.created_us)


def _logged(tx_id: int, row: Row) -> LoggedRow:
    return LoggedRow(tx_id, row.user_id, row.amount_cents, row.created_us, row.merchant_id)
