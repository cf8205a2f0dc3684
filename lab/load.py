"""Write a workload into PostgreSQL by open loop: a stall of the writer does not hide itself.

Each unit of the workload is one database transaction with an intended time. A few connections share
the units; held transactions occupy theirs. Every row-level write goes to the operation log.
"""

import queue
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import psycopg2
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor
from psycopg2.extras import execute_values

from lab.console import Progress
from lab.operations import LoggedRow, Operation, OperationLog, Outcome
from lab.runs import new_run
from lab.stack.stack import Stack
from twinpath.detection.workload import Row, Step, Unit, Workload, labelled_units
from twinpath.errors import ConfigurationError, ServiceFault
from twinpath.settings import Settings

WRITERS = 4  # connections beside those that held transactions occupy
KEY_TIMEOUT_S = 60.0
REPORT_EVERY_S = 10.0
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


@dataclass
class LoadResult:
    """What was offered and what was done; rates in inserted rows per second."""

    offered_rate: float = 0.0
    achieved_rate: float = 0.0
    seconds: float = 0.0
    rows: Counter[str] = field(default_factory=Counter)
    late_ms_max: float = 0.0
    failures: list[str] = field(default_factory=list)


class _Ids:
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


class Load:
    """Runs one workload against one database."""

    def __init__(self, workload: Workload, dsn: str, folder: Path, progress: Progress) -> None:
        self._workload = workload
        self._dsn = dsn
        self._progress = progress
        self._log = OperationLog(folder / "operations.jsonl")
        self._labels = (folder / "labels.jsonl").open("wb")
        self._units: queue.Queue[Unit | None] = queue.Queue()
        self._ids = _Ids()
        self._result = LoadResult(offered_rate=float(workload.rate))
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._started = 0.0
        self._started_us = 0

    def run(self) -> LoadResult:
        """Write everything; Ctrl-C ends it after the transactions that are under way."""
        writers = [
            threading.Thread(target=self._write, name=f"writer-{number}")
            for number in range(WRITERS + self._workload.max_held)
        ]
        self._started = time.monotonic()
        self._started_us = time.time_ns() // 1000
        for writer in writers:
            writer.start()
        try:
            self._dispatch()
        except KeyboardInterrupt:
            self._stop.set()
            raise
        finally:
            for _ in writers:
                self._units.put(None)
            for writer in writers:
                writer.join()
            self._result.seconds = time.monotonic() - self._started
            self._log.close()
            self._labels.close()
        self._result.achieved_rate = self._result.rows["inserted"] / max(self._result.seconds, 1e-9)
        if self._result.failures:
            raise ServiceFault(f"{len(self._result.failures)} transactions failed: {self._result.failures[0]}")
        return self._result

    def stop(self) -> None:
        """End early, from another thread."""
        self._stop.set()

    def _dispatch(self) -> None:
        """Hand each unit over at its intended time."""
        encoder = msgspec.json.Encoder()
        report = REPORT_EVERY_S
        for unit, labels in labelled_units(self._workload):
            wait_s = unit.at_us / 1_000_000 - (time.monotonic() - self._started)
            if wait_s > 0:
                if self._stop.wait(wait_s):
                    return
            elif self._stop.is_set():
                return
            self._units.put(unit)
            self._labels.write(encoder.encode_lines(labels))
            elapsed = time.monotonic() - self._started
            if elapsed >= report:
                rows = self._result.rows["inserted"]
                self._progress.say(
                    f"load: {elapsed:.0f} of {self._workload.duration_s:.0f} s, {rows} rows, "
                    f"offered {self._workload.rate}/s, achieved {rows / elapsed:.0f}/s"
                )
                report += REPORT_EVERY_S

    def _write(self) -> None:
        """One connection's work, until there is no more."""
        session: Connection | None = None
        while (unit := self._units.get()) is not None:
            if self._stop.is_set():
                continue
            try:
                session = session if session is not None and not session.closed else psycopg2.connect(self._dsn)
                self._run_unit(session, unit)
            except psycopg2.Error as error:
                with self._lock:
                    self._result.failures.append(str(error).strip().partition("\n")[0])
        if session is not None:
            session.close()

    def _run_unit(self, session: Connection, unit: Unit) -> None:
        """One transaction: its steps, the time it is held, its end, and its lines in the log."""
        intended_us = self._started_us + unit.at_us
        late_ms = (time.time_ns() // 1000 - intended_us) / 1000
        transaction = _Transaction()
        with session.cursor() as cursor:
            for step in unit.steps:
                self._run_step(cursor, step, transaction)
            cursor.execute("SELECT pg_current_xact_id()::text")
            (xid,) = cursor.fetchone() or ("0",)
        if unit.hold_us:
            self._stop.wait(unit.hold_us / 1_000_000)
        outcome: Outcome = "rolled_back"
        try:
            if unit.outcome == "commit":
                outcome = "unknown"
                session.commit()
                outcome = "committed"
            else:
                session.rollback()
        finally:
            self._record(transaction, outcome, intended_us, int(xid), late_ms)

    def _run_step(self, cursor: Cursor, step: Step, transaction: "_Transaction") -> None:
        if step.kind == "insert":
            rows = [_values(row) for row in step.rows]
            ids = execute_values(cursor, INSERT, rows, VALUES, page_size=len(rows), fetch=True)
            for row, (tx_id,) in zip(step.rows, ids, strict=True):
                transaction.add("insert", tx_id, None, _logged(tx_id, row), row.key)
        elif step.kind == "savepoint":
            cursor.execute("SAVEPOINT point")
            transaction.savepoint()
        elif step.kind == "rollback_to_savepoint":
            cursor.execute("ROLLBACK TO SAVEPOINT point")
            transaction.rollback_to_savepoint()
        else:
            key = step.rows[0].key if step.rows else step.key
            tx_id = self._ids.wait(key if key is not None else 0)
            cursor.execute(READ, [tx_id])
            found = cursor.fetchone()
            if found is None:
                return  # its insert failed: there is nothing to correct
            before = LoggedRow(*found)
            if step.kind == "delete":
                cursor.execute("DELETE FROM transactions WHERE id = %s", [tx_id])
                transaction.add("delete", before.tx_id, before, None)
            else:
                (row,) = step.rows
                cursor.execute(UPDATE, [*_values(row), tx_id])
                transaction.add("update", before.tx_id, before, _logged(before.tx_id, row))

    def _record(
        self, transaction: "_Transaction", outcome: Outcome, intended_us: int, xid: int, late_ms: float
    ) -> None:
        done_us = time.time_ns() // 1000
        operations = []
        counts: Counter[str] = Counter()
        for sequence, (op, tx_id, before, after, kept) in enumerate(transaction.writes):
            result: Outcome = outcome if kept else "rolled_back"
            operations.append(Operation(intended_us, done_us, xid, sequence, op, result, tx_id, before, after))
            counts[_COUNTED[op] if result == "committed" else result] += 1
        self._log.write(operations)
        if outcome == "committed":
            self._ids.add(transaction.ids())
        with self._lock:
            self._result.rows.update(counts)
            self._result.late_ms_max = max(self._result.late_ms_max, late_ms)


_COUNTED = {"insert": "inserted", "update": "updated", "delete": "deleted"}


class _Transaction:
    """The writes of one transaction; what a savepoint undid is kept, marked as undone."""

    def __init__(self) -> None:
        self.writes: list[list[Any]] = []
        self._keys: dict[int, tuple[int, int]] = {}
        self._point = 0

    def add(
        self, op: str, tx_id: int, before: LoggedRow | None, after: LoggedRow | None, key: int | None = None
    ) -> None:
        if key is not None:
            self._keys[key] = (tx_id, len(self.writes))
        self.writes.append([op, tx_id, before, after, True])

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


def load_into(stack: Stack, progress: Progress) -> Path:
    """Write a workload into the standard table of a running stack; returns the run's folder."""
    if not stack.is_up():
        raise ServiceFault("the stack is not running. Run: twinpath up")
    settings = stack.settings
    _, folder = new_run()
    workload = workload_of(settings)
    dsn = stack.credentials.dsn("twinpath_writer", settings.source_database)
    result = Load(workload, dsn, folder, progress).run()
    progress.say(said(result))
    return folder


def workload_of(settings: Settings) -> Workload:
    """The workload that the settings ask for."""
    try:
        return Workload(settings.profile, settings.seed, settings.rate, settings.duration)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


def said(result: LoadResult) -> str:
    """One line about what a load did."""
    rows = ", ".join(f"{count} {name}" for name, count in sorted(result.rows.items()))
    return (
        f"load: {rows} in {result.seconds:.1f} s; offered {result.offered_rate:.0f} rows/s, "
        f"achieved {result.achieved_rate:.0f} rows/s, latest start {result.late_ms_max:.0f} ms late"
    )
