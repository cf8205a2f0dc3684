"""PostgreSQL's bill: what its own counters and the CPU time of its processes say of a span of time.

Statements, rows and blocks are of one database, WAL and CPU of the whole server: keep the alert store on another
server where the source alone is asked for. Sessions of the lab itself, which asks, are left out where the server
tells them apart: statements by role, the other counters by asking from the database `postgres`.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import msgspec
import psycopg2
from psycopg2.extensions import connection as Connection

STATEMENTS = """
SELECT coalesce(sum(calls), 0)::bigint, coalesce(sum(rows), 0)::bigint
FROM pg_stat_statements AS one JOIN pg_roles AS role ON role.oid = one.userid
WHERE one.dbid = (SELECT oid FROM pg_database WHERE datname = %s) AND rolname <> current_user"""
BLOCKS = "SELECT tup_returned + tup_fetched, blks_read, blks_hit FROM pg_stat_database WHERE datname = %s"
WAL = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint"
SESSIONS = """
SELECT count(*) FILTER (WHERE backend_type = 'client backend'), count(*) FILTER (WHERE backend_type = 'walsender')
FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid() AND usename <> current_user"""
EVERY_S = 0.1


class Counters(msgspec.Struct):
    """Counts since the server's statistics began, or their growth in a span; connections are the most at a time."""

    statements: int = 0
    rows_returned: int = 0
    rows_scanned: int = 0
    blocks_read: int = 0
    blocks_hit: int = 0
    wal_bytes: int = 0
    connections: int = 0
    walsenders: int = 0

    def since(self, before: "Counters") -> "Counters":
        """The growth from `before` until this; connections are this one's."""
        most = ("connections", "walsenders")
        grown = {
            name: getattr(self, name) - getattr(before, name) for name in self.__struct_fields__ if name not in most
        }
        return Counters(**grown, connections=self.connections, walsenders=self.walsenders)


class Bill(msgspec.Struct):
    """What a span of time cost: seconds on the clock, and the growth of the counters; filled when it has ended."""

    seconds: float = 0.0
    counters: Counters = msgspec.field(default_factory=Counters)


@contextmanager
def billed(dsn: str, database: str) -> Iterator[Bill]:
    """Measure the block; `dsn` leads to the database `postgres` of the server, `database` is what is asked about.

    A session that goes on after the block may owe its last second: PostgreSQL counts when a transaction ends, and at
    most once a second.
    """
    with closing(psycopg2.connect(dsn)) as session:
        session.autocommit = True
        bill, over, most = Bill(), threading.Event(), Counters()
        sampler = threading.Thread(target=_sample, args=[dsn, database, over, most], name="sessions")
        before = read(session, database)
        began = time.monotonic()
        sampler.start()
        try:
            yield bill
        finally:
            over.set()
            sampler.join()
            bill.seconds = time.monotonic() - began
            bill.counters = read(session, database).since(before)
            bill.counters.connections, bill.counters.walsenders = most.connections, most.walsenders


def read(session: Connection, database: str) -> Counters:
    """The counters now."""
    with session.cursor() as cursor:
        cursor.execute(STATEMENTS, [database])
        statements, returned = cursor.fetchone() or (0, 0)
        cursor.execute(BLOCKS, [database])
        scanned, blocks_read, blocks_hit = cursor.fetchone() or (0, 0, 0)
        cursor.execute(WAL)
        (wal_bytes,) = cursor.fetchone() or (0,)
    return Counters(statements, returned, scanned, blocks_read, blocks_hit, wal_bytes)


def _sample(dsn: str, database: str, over: threading.Event, most: Counters) -> None:
    """The most sessions at a time, into `most`."""
    with closing(psycopg2.connect(dsn)) as session, session.cursor() as cursor:
        session.autocommit = True
        while True:
            cursor.execute(SESSIONS, [database])
            clients, senders = cursor.fetchone() or (0, 0)
            most.connections, most.walsenders = max(most.connections, clients), max(most.walsenders, senders)
            if over.wait(EVERY_S):
                return
