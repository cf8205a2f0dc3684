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

import msgspec
import psycopg2
from psycopg2.extensions import connection as Connection

from lab.console import Progress
from lab.operations import Operation, OperationLog, Outcome
from lab.runs import new_run
from lab.stack.stack import Stack
from lab.writing import Ids, Transaction
from twinpath.detection.workload import Unit, Workload, compression, labelled_units
from twinpath.errors import ConfigurationError, ServiceFault, first_line
from twinpath.settings import Settings

WRITERS = 4  # connections beside those that held transactions occupy
REPORT_EVERY_S = 10.0


@dataclass
class LoadResult:
    """What was offered and what was done; rates in inserted rows per second."""

    offered_rate: float = 0.0
    achieved_rate: float = 0.0
    seconds: float = 0.0
    rows: Counter[str] = field(default_factory=Counter)
    late_ms_max: float = 0.0
    failures: list[str] = field(default_factory=list)


class Load:
    """Runs one workload against one database."""

    def __init__(self, workload: Workload, dsn: str, folder: Path, progress: Progress) -> None:
        self._workload = workload
        self._dsn = dsn
        self._progress = progress
        self._log = OperationLog(folder / "operations.jsonl")
        self._labels = (folder / "labels.jsonl").open("wb")
        self._units: queue.Queue[Unit | None] = queue.Queue()
        self._ids = Ids()
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
                    self._result.failures.append(first_line(error))
        if session is not None:
            session.close()

    def _run_unit(self, session: Connection, unit: Unit) -> None:
        """One transaction: its steps, the time it is held, its end, and its lines in the log."""
        intended_us = self._started_us + unit.at_us
        late_ms = (time.time_ns() // 1000 - intended_us) / 1000
        transaction = Transaction()
        with session.cursor() as cursor:
            for step in unit.steps:
                transaction.run(cursor, step, self._ids.wait)
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

    def _record(self, transaction: Transaction, outcome: Outcome, intended_us: int, xid: int, late_ms: float) -> None:
        done_us = time.time_ns() // 1000
        operations = []
        counts: Counter[str] = Counter()
        for sequence, (op, tx_id, before, after, key, kept) in enumerate(transaction.writes):
            result: Outcome = outcome if kept else "rolled_back"
            operations.append(Operation(intended_us, done_us, xid, sequence, op, result, tx_id, before, after, key))
            counts[_COUNTED[op] if result == "committed" else result] += 1
        self._log.write(operations)
        if outcome == "committed":
            self._ids.add(transaction.ids())
        with self._lock:
            self._result.rows.update(counts)
            self._result.late_ms_max = max(self._result.late_ms_max, late_ms)


_COUNTED = {"insert": "inserted", "update": "updated", "delete": "deleted"}


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


def announced(settings: Settings) -> str:
    """One line about what a load will do; times are simulated, `compression` seconds of them each second."""
    faster = compression(workload_of(settings))
    return (
        f"load: {settings.profile}, {settings.rate} rows/s for {settings.duration:.0f} s, seed {settings.seed}, "
        f"created_at runs {faster:,.0f} times as fast as the clock"
    )


def said(result: LoadResult) -> str:
    """One line about what a load did."""
    rows = ", ".join(f"{count} {name}" for name, count in sorted(result.rows.items()))
    return (
        f"load: {rows} in {result.seconds:.1f} s; offered {result.offered_rate:.0f} rows/s, "
        f"achieved {result.achieved_rate:.0f} rows/s, latest start {result.late_ms_max:.0f} ms late"
    )
