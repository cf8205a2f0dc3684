"""The order witness: the LSN of each transaction's COMMIT record, read from the write-ahead log itself.

It is independent of Debezium, and it is the order in which logical decoding hands transactions out.
"""

from contextlib import closing

import psycopg2

SLICE_BYTES = 64 * 1024 * 1024  # of WAL in one query, to bound memory
OVERLAP_BYTES = 1024 * 1024  # a record that straddles two slices ends within this


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
