"""The order witness: the LSN of each transaction's COMMIT record, read from the write-ahead log itself.

It is independent of Debezium, and it is the order in which logical decoding hands transactions out.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import NamedTuple

import psycopg2

from lab.operations import XID_EPOCH
from twinpath.errors import ServiceFault

SLICE_BYTES = 64 * 1024 * 1024  # of WAL in one query, to bound memory
OVERLAP_BYTES = 1024 * 1024  # a record that straddles two slices ends within this


class Restart(NamedTuple):
    """A server that was lost and came back: when it answered again, and where its recovery had ended.

    What was committed before it was lost has its COMMIT record below `lsn`.
    """

    at_us: int
    lsn: int


def commit_lsns(dsn: str, start_lsn: int, end_lsn: int) -> dict[int, int]:
    """32-bit xid -> LSN of its COMMIT record, for commits in [start, end); `dsn` holds pg_walinspect."""
    found: dict[int, int] = {}
    with closing(psycopg2.connect(dsn)) as session, session.cursor() as cursor:
        for start in range(start_lsn, end_lsn, SLICE_BYTES):
            cursor.execute(
                "SELECT xid::text::bigint, (start_lsn - '0/0')::bigint FROM pg_get_wal_records_info("
                "'0/0'::pg_lsn + %s, '0/0'::pg_lsn + %s) "
                "WHERE resource_manager = 'Transaction' AND record_type LIKE 'COMMIT%%'",
                [start, min(start + SLICE_BYTES + OVERLAP_BYTES, end_lsn)],
            )
            found.update(cursor.fetchall())
    return found


def settle_unknown(dsn: str, full_xids: set[int]) -> dict[int, bool]:
    """For transactions whose COMMIT got no answer: True when they committed."""
    settled = {}
    with closing(psycopg2.connect(dsn)) as session, session.cursor() as cursor:
        for xid in sorted(full_xids):
            cursor.execute("SELECT pg_xact_status(%s::text::xid8) = 'committed'", [xid])
            (committed,) = cursor.fetchone() or (None,)
            settled[xid] = bool(committed)
    return settled


def settle_lost(
    dsn: str, begun_us: Mapping[int, int], commits: Mapping[int, int], restarts: Sequence[Restart]
) -> dict[int, bool]:
    """As `settle_unknown`, for transactions that may have been under way when the server was lost.

    `begun_us` says when each began, by full xid. The write-ahead log decides, and `pg_xact_status` must agree.
    """
    committed = committed_in_time(begun_us, commits, restarts)
    wrong = sorted(xid for xid, agrees in settle_unknown(dsn, committed).items() if not agrees)
    if wrong:
        raise ServiceFault(f"the log holds COMMIT records of {wrong}, and pg_xact_status says they did not commit")
    return {full_xid: full_xid in committed for full_xid in begun_us}


def committed_in_time(begun_us: Mapping[int, int], commits: Mapping[int, int], restarts: Sequence[Restart]) -> set[int]:
    """The transactions whose COMMIT record lies before the end of the recovery that they did not live to see.

    A record behind it belongs to another transaction: a lost server gives a number of which nothing had
    reached the disk out again, and `pg_xact_status` alone would take the one for the other.
    """
    found = set()
    for full_xid, began in begun_us.items():
        lsn = commits.get(full_xid % XID_EPOCH)
        ended = next((restart.lsn for restart in sorted(restarts) if restart.at_us > began), None)
        if lsn is not None and (ended is None or lsn < ended):
            found.add(full_xid)
    return found
