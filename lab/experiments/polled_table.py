"""A table of a known size, rows that come between two polls, and polls by the batch job in one kept Spark session.

The job's alert store is on a second server, so that the source's PostgreSQL pays for reading alone.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Literal

import psycopg2

from lab.batch_runs import Summary, WarmSession
from lab.bench import judging, table
from lab.bench.bed import Bed, Segment
from lab.bench.committing import FIRST_USER
from lab.bench.second import Second
from lab.experiments import fine_cpu
from twinpath.errors import ServiceFault

Mode = Literal["safe", "naive-id"]
MODES: tuple[Mode, ...] = ("safe", "naive-id")
USERS = 9_000
READ = ("--read", "plain", "--rules", "spending")
"""One query, as a run that finds few rows wants it: a read in partitions opens more sessions on the source. One rule,
as one consumer has; the rows are read once for however many."""

# one row a commit, as writers do it: a reader asks for the fate of each transaction
ADD = """DO $$ BEGIN FOR step IN 1..%s LOOP
    INSERT INTO transactions (user_id, amount, card_type, merchant_id)
    VALUES (%s + floor(random() * %s)::int, round((5 + random() * 195)::numeric, 2), 'visa',
            1 + floor(random() * 500)::int);
    COMMIT;
END LOOP; END $$"""
WAL_WRITER = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'"
NO_AUTOVACUUM = "ALTER TABLE transactions SET (autovacuum_enabled = off)"


class Table:
    """`transactions` of one segment. Rows are added by one session, whose CPU can be told apart from the readers'."""

    def __init__(self, segment: Segment) -> None:
        self._segment = segment
        self._session = psycopg2.connect(segment.dsn(segment.settings.source_database))
        self._session.autocommit = True
        found = segment.rows(WAL_WRITER, database="postgres")
        self._ours = [self._session.info.backend_pid, *(pid for (pid,) in found)]
        self.rows = 0
        self._run(NO_AUTOVACUUM)  # it would fall into one poll and not into another
        self._run("SET synchronous_commit = off")

    def close(self) -> None:
        """End the session."""
        self._session.close()

    def writing(self) -> float:
        """CPU seconds of adding rows so far: this session's, and those of the process that writes its WAL."""
        return sum(fine_cpu.one(pid) for pid in self._ours)

    def empty(self) -> None:
        """No row."""
        self._run("TRUNCATE transactions")
        self.rows = 0

    def grow(self, rows: int, seed: int) -> None:
        """Up to `rows` rows (a multiple of 1,000), vacuumed."""
        if rows > self.rows:
            self.rows += table.fill(self._segment, rows - self.rows, USERS, seed)

    def add(self, rows: int) -> None:
        """That many new rows, one a commit."""
        self._run(ADD, [rows, FIRST_USER, USERS])

    @contextmanager
    def borrowed(self) -> Iterator[None]:
        """What the block adds is removed when it has ended."""
        with self._session.cursor() as cursor:
            cursor.execute("SELECT coalesce(max(id), 0) FROM transactions")
            (highest,) = cursor.fetchone() or (0,)
        yield
        self._run("DELETE FROM transactions WHERE id > %s", [highest])
        self._run("VACUUM (ANALYZE) transactions")

    def _run(self, statement: str, parameters: list[int] | None = None) -> None:
        with self._session.cursor() as cursor:
            cursor.execute(statement, parameters)


class Poller:
    """One consumer that polls: runs of the batch job, and how many rows they have read."""

    def __init__(self, session: WarmSession) -> None:
        self._session = session
        self.seconds: list[float] = []
        self.rows_read = 0

    def poll(self, mode: Mode) -> Summary:
        """One run; ServiceFault when another one was faster, which none is here."""
        summary = self._session.run(["--mode", mode, *READ])
        if not summary["merged"]:
            raise ServiceFault(f"a run of {mode} was discarded: found another one on the same store, wanted none")
        self.seconds.append(summary["seconds"]["whole"])
        self.rows_read += summary["rows_read"]
        return summary

    def start_over(self) -> None:
        """Forget what was counted."""
        self.seconds, self.rows_read = [], 0


@contextmanager
def store_apart(bed: Bed, second: Second) -> Iterator[Segment]:
    """A segment whose alert store is on the second server."""
    with bed.segment() as segment:
        yield Segment(segment.stack, second.hold(segment.settings, segment.settings.alerts_database))


def empty_store(second: Second, segment: Segment) -> None:
    """An alert store that has seen nothing, on the second server."""
    dsn = second.dsn(segment.settings.alerts_database, "twinpath_lab")
    with closing(psycopg2.connect(dsn)) as session, session, session.cursor() as cursor:
        cursor.execute(judging.EMPTIED)


def on_schedule(work: Callable[[], object], interval_s: float, times: int) -> None:
    """Do something at fixed times, `interval_s` apart; what is late begins at once."""
    began = time.monotonic()
    for number in range(1, times + 1):
        time.sleep(max(0.0, began + number * interval_s - time.monotonic()))
        work()
