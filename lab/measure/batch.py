"""What a run found out about the batch path, mode by mode: alerts against the reference, and how late they came."""

from collections.abc import Iterable
from contextlib import closing

import psycopg2

from lab.operations import Operation

PATHS = ("spark_batch", "spark_batch_full", "spark_batch_naive_id", "spark_batch_naive_time")
LOSSLESS = ("spark_batch", "spark_batch_full")
ALERTED = (
    "SELECT DISTINCT ON (rule, tx_id) tx_id, extract(epoch FROM pg_xact_commit_timestamp(xmin))::float8 * 1000 "
    "FROM alert_log WHERE path = %s AND op = 'c' AND status = 'RAISED' ORDER BY rule, tx_id, row_lsn"
)
COMMITTED = (
    "SELECT xid, extract(epoch FROM pg_xact_commit_timestamp(xid::text::xid))::float8 * 1000 "
    "FROM unnest(%s::bigint[]) AS xid"
)


def latencies_ms(dsn: str, path: str, operations: Iterable[Operation]) -> list[float]:
    """Commit of each raised alert minus commit of the transaction that inserted its row; corrections are left out.

    The inserting transaction is the operation log's: a row that was updated since shows another one.
    """
    inserted = {one.tx_id: one.xid for one in operations if one.op == "insert" and one.outcome == "committed"}
    with closing(psycopg2.connect(dsn)) as session, session.cursor() as cursor:
        cursor.execute(ALERTED, [path])
        alerted = [(tx_id, at_ms) for tx_id, at_ms in cursor.fetchall() if tx_id in inserted]
        cursor.execute(COMMITTED, [sorted({inserted[tx_id] for tx_id, _ in alerted})])
        committed: dict[int, float | None] = dict(cursor.fetchall())
    found = []
    for tx_id, at_ms in alerted:
        began_ms = committed[inserted[tx_id]]
        if began_ms is not None and at_ms is not None:
            found.append(at_ms - began_ms)
    return found
