"""PostgreSQL's bill: what its own counters and the CPU time of its processes say of a span of time.

Statements, rows and blocks are of one database, WAL and CPU of the whole server: keep the alert store on another
server where the source alone is asked for. Sessions of the lab itself, which asks, are left out: statements by role,
the other counters by asking from the database `postgres`, CPU by the ids of the processes that serve these sessions.
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
DATABASE = "SELECT tup_returned + tup_fetched, blks_read, blks_hit, sessions FROM pg_stat_database WHERE datname = %s"
SERVER = """
SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint, (SELECT dealloc FROM pg_stat_statements_info)"""
PRESENT = """
SELECT count(*) FILTER (WHERE backend_type = 'client backend'), count(*) FILTER (WHERE backend_type = 'walsender'),
       (SELECT count(*) FROM pg_replication_slots WHERE database = %(database)s)
FROM pg_stat_activity WHERE datname = %(database)s AND usename <> current_user"""
EVERY_S = 0.1


class Counters(msgspec.Struct):
    """Counts since the server's statistics began, or their growth in a span.

    `sessions` were opened; `forgotten` is how often pg_stat_statements dropped statements for want of room: those that
    stood in `statements` and `rows_returned` are then too few. The last three are the most at a time, of a span only.
    """

    statements: int = 0
    rows_returned: int = 0
    rows_scanned: int = 0
    blocks_read: int = 0
    blocks_hit: int = 0
    sessions: int = 0
    wal_bytes: int = 0
    forgotten: int = 0
    connections: int = 0
    walsenders: int = 0
    slots: int = 0

    def since(self, before: "Counters") -> "Counters":
        """The growth from `before` until this; what is the most at a time is this one's."""
        grown = {
            name: getattr(self, name) - getattr(before, name) for name in self.__struct_fields__ if name not in MOST
        }
        return msgspec.structs.replace(self, **grown)


MOST = ("connections", "walsenders", "slots")


class Bill(msgspec.Struct):
    """What a span of time cost: seconds on the clock, and the growth of the counters; filled when it has ended.

    `asking` are the processes of the server that serve the lab meanwhile.
    """

    asking: list[int] = msgspec.field(default_factory=list)
    seconds: float = 0.0
    counters: Counters = msgspec.field(default_factory=Counters)


@contextmanager
def billed(dsn: str, database: str) -> Iterator[Bill]:
    """Measure the block; `dsn` leads to the database `postgres` of the server, `database` is what is asked about.

    A session that goes on after the block may owe its last second: PostgreSQL counts when a transaction ends, and at
    most once a second.
    """
    with closing(psycopg2.connect(dsn)) as session, closing(psycopg2.connect(dsn)) as other:
        session.autocommit = other.autocommit = True
        bill, over, most = Bill([one.info.backend_pid for one in (session, other)]), threading.Event(), Counters()
        sampler = threading.Thread(target=_sample, args=[other, database, over, most], name="sessions")
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
            for name in MOST:
                setattr(bill.counters, name, getattr(most, name))


def read(session: Connection, database: str) -> Counters:
    """The counters now."""
    with session.cursor() as cursor:
        cursor.execute(STATEMENTS, [database])
        statements, returned = cursor.fetchone() or (0, 0)
        cursor.execute(DATABASE, [database])
        scanned, blocks_read, blocks_hit, sessions = cursor.fetchone() or (0, 0, 0, 0)
        cursor.execute(SERVER)
        wal_bytes, forgotten = cursor.fetchone() or (0, 0)
    return Counters(statements, returned, scanned, blocks_read, blocks_hit, sessions, wal_bytes, forgotten)


def _sample(session: Connection, database: str, over: threading.Event, most: Counters) -> None:
    """The most at a time, into `most`."""
    with session.cursor() as cursor:
        while True:
            cursor.execute(PRESENT, {"database": database})
            for name, found in zip(MOST, cursor.fetchone() or (0, 0, 0), strict=True):
                setattr(most, name, max(getattr(most, name), found))
            if over.wait(EVERY_S):
                return
