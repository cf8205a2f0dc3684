"""The writers of a drill: they survive a lost server, and can be fenced while others go on.

Every row-level write goes to the operation log. A transaction whose COMMIT got no answer is noted as
unknown; `lab.measure.witness` settles it when the drill is over.
"""

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg2
from psycopg2.extensions import connection as Connection

from lab.drills.statements import ScriptedTransaction
from lab.drills.work import LOUD_CENTS, RECIPES, Recipe, Script, Target, Work
from lab.operations import LoggedRow, Operation, OperationLog, Outcome
from twinpath.errors import ServiceFault, first_line

WRITERS = 8
RECONNECT_S = 0.1
BACKLOG_S = 1.0  # a writer that was held up makes up for so much, and forgets the rest
RECENT_ROWS = 300
OLD_SHARE = 0.6
FENCE_TIMEOUT_S = 60.0


class Rows:
    """Ids of committed rows, for those who look for one to correct; may be shared by threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: list[int] = []
        self._loud: list[int] = []

    def add(self, rows: list[LoggedRow]) -> None:
        """Rows that were committed."""
        with self._lock:
            self._all.extend(row.tx_id for row in rows)
            self._loud.extend(row.tx_id for row in rows if row.amount_cents > LOUD_CENTS)

    def find(self, target: Target) -> int | None:
        """The row that a target means now; it may have been deleted since."""
        with self._lock:
            if target.among == "loud":
                among = self._loud
            elif target.among == "recent":
                among = self._all[-RECENT_ROWS:]
            else:
                among = self._all[: int(len(self._all) * OLD_SHARE)]
            return among[int(target.nth * len(among))] if among else None


class Gate:
    """Writers pass it before each transaction; closed, it waits until nobody is inside."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self.is_open = True

    @contextmanager
    def inside(self) -> Iterator[None]:
        """One transaction; waits while the gate is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self.is_open)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    def close(self) -> None:
        """Let nobody in any more, and wait until everybody is out."""
        with self._changed:
            self.is_open = False
            if not self._changed.wait_for(lambda: self._inside == 0, FENCE_TIMEOUT_S):
                raise ServiceFault(f"{self._inside} transactions are still open after {FENCE_TIMEOUT_S:.0f} s")

    def open(self) -> None:
        """Let them in again; idempotent."""
        with self._changed:
            self.is_open = True
            self._changed.notify_all()


class Writers:
    """Eight connections that write until they are stopped, and one for each work of `more`."""

    def __init__(
        self,
        dsn: str,
        folder: Path,
        seed: int,
        rate: int,
        more: Sequence[Work] = (),
        recipes: Sequence[Recipe] = RECIPES,
    ) -> None:
        self._dsn = dsn
        self._log = OperationLog(folder / "operations.jsonl")
        self._rows = Rows()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self._failures: list[str] = []
        self.gate = Gate()
        self.counts: Counter[str] = Counter()
        self.commits: list[tuple[float, float]] = []  # when each COMMIT was answered, and how long that took, seconds
        share, writers = rate / WRITERS, WRITERS + len(more)
        work = [Work(seed, number, share, writers, recipes) for number in range(WRITERS)] + [*more]
        self._threads = [
            threading.Thread(target=self._write, args=[one], name=f"writer-{number}") for number, one in enumerate(work)
        ]

    def start(self) -> None:
        """Begin to write."""
        self._started = time.monotonic()
        for one in self._threads:
            one.start()

    def stop(self) -> None:
        """End after the transactions that are under way; ServiceFault for an error that is no lost server."""
        self._stop.set()
        self.gate.open()
        for one in self._threads:
            if one.ident is not None:
                one.join()
        self._log.close()
        if self._failures:
            raise ServiceFault(f"{len(self._failures)} transactions failed: {self._failures[0]}")

    @contextmanager
    def fenced(self) -> Iterator[None]:
        """Nobody is inside of a transaction, and the log holds all that they wrote; afterwards they go on."""
        self.gate.close()
        try:
            self._log.flush()
            yield
        finally:
            self.gate.open()

    @property
    def committed(self) -> int:
        """Row-level writes that were committed so far."""
        with self._lock:
            return sum(self.counts[op] for op in ("insert", "update", "delete"))

    def seconds(self) -> float:
        """Since they began."""
        return time.monotonic() - self._started

    def wait_until(self, at_s: float) -> None:
        """Wait until so many seconds after the start; ServiceFault as soon as a transaction failed."""
        while (left_s := at_s - self.seconds()) > 0 and not self._failures:
            time.sleep(min(left_s, 0.1))
        if self._failures:
            raise ServiceFault(f"a transaction failed: {self._failures[0]}")

    def _write(self, work: Work) -> None:
        """One connection's work; a lost connection is opened again."""
        session: Connection | None = None
        behind_s = 0.0
        for script in work.scripts():
            late_s = self.seconds() - behind_s - script.at_us / 1_000_000
            behind_s += max(0.0, late_s - BACKLOG_S)
            if self._stop.wait(max(0.0, -late_s)):
                break
            session = self._connected(session)
            if session is None:
                break
            with self.gate.inside():
                try:
                    self._run(session, script)
                except psycopg2.Error as error:
                    self._note(session, error)
        if session is not None:
            session.close()

    def _connected(self, session: Connection | None) -> Connection | None:
        """An open session, however long it takes; None when asked to stop meanwhile."""
        while session is None or session.closed:
            if self._stop.is_set():
                return None
            try:
                session = psycopg2.connect(self._dsn, connect_timeout=5)
            except psycopg2.OperationalError:
                self._stop.wait(RECONNECT_S)
        return session

    def _note(self, session: Connection, error: psycopg2.Error) -> None:
        with self._lock:
            if session.closed or isinstance(error, psycopg2.InterfaceError):
                self.counts["lost_sessions"] += 1
            elif isinstance(error, psycopg2.errors.DeadlockDetected):
                self.counts["deadlocks"] += 1
            elif isinstance(error, psycopg2.errors.DiskFull):
                self.counts["refused_for_a_full_disk"] += 1
            else:
                self._failures.append(first_line(error))
        if not session.closed:
            session.rollback()

    def _run(self, session: Connection, script: Script) -> None:
        """One transaction: its steps, the time it is held, its end, and its lines in the log."""
        began_us = time.time_ns() // 1000
        transaction = ScriptedTransaction()
        outcome: Outcome = "rolled_back"
        xid = 0
        try:
            with session.cursor() as cursor:
                cursor.execute("SELECT pg_current_xact_id()::text")
                (text,) = cursor.fetchone() or ("0",)
                xid = int(text)
                for action in script.actions:
                    if action.kind == "pause":
                        self._stop.wait(action.value / 1_000_000)
                    transaction.act(cursor, action, self._rows.find)
            if script.hold_us:
                self._stop.wait(script.hold_us / 1_000_000)
            if script.outcome == "commit":
                outcome = "unknown"
                asked_s = self.seconds()
                session.commit()
                outcome = "committed"
                self.commits.append((self.seconds(), self.seconds() - asked_s))
            else:
                session.rollback()
        finally:
            if outcome == "unknown" and not session.closed:
                outcome = "rolled_back"  # the server refused, and says so
            self._record(transaction, outcome, began_us, xid)

    def _record(self, transaction: ScriptedTransaction, outcome: Outcome, began_us: int, xid: int) -> None:
        done_us = time.time_ns() // 1000
        operations = []
        counts: Counter[str] = Counter({f"transactions_{outcome}": 1})
        for sequence, (op, tx_id, before, after, key, kept) in enumerate(transaction.writes):
            result: Outcome = outcome if kept else "rolled_back"
            operations.append(Operation(began_us, done_us, xid, sequence, op, result, tx_id, before, after, key))
            counts[op if result == "committed" else result] += 1
        self._log.write(operations)
        if outcome == "committed":
            self._rows.add(transaction.inserted())
        with self._lock:
            self.counts.update(counts)
