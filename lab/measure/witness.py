"""The order witness: the LSN of each transaction's COMMIT record, read from the write-ahead log itself.

It is independent of Debezium, and it is the order in which logical decoding hands transactions out.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import NamedTuple

import psycopg2

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

    `begun_us` says when each began, by full xid. A lost server gives a number of which nothing had reached
    the disk out again, so that `pg_xact_status` may speak of another transaction: a COMMIT record counts
    only when it lies before the end of the recovery that the transaction did not live to see.
    """
    candidates = set()
    for full_xid, began in begun_us.items():
        lsn = commits.get(full_xid % 2**32)
        ended = next((restart.lsn for restart in sorted(restarts) if restart.at_us > began), None)
        if lsn is not None and (ended is None or lsn < ended):
            candidates.add(full_xid)
    settled = settle_unknown(dsn, candidates)
    if not all(settled.values()):
        wrong = sorted(xid for xid, committed in settled.items() if not committed)
        raise ServiceFault(f"the log holds COMMIT records of {wrong}, and pg_xact_status says they did not commit")
    return {full_xid: full_xid in candidates for full_xid in begun_us}
