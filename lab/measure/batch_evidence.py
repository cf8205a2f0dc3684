"""What a batch path has kept in the alert store, and the commit stamps of its source: what causes are verified from."""

from collections.abc import Iterable
from contextlib import closing

import msgspec
import psycopg2
from psycopg2.extensions import cursor as Cursor

from lab.measure.batch_input import BatchRun, Mode
from lab.measure.causes import Explained, explain
from lab.operations import Operation
from twinpath.alert_rows import read_alerts
from twinpath.detection.model import Alert
from twinpath.detection.rules import Rule

PATHS: dict[str, Mode] = {
    "spark_batch": "safe",
    "spark_batch_full": "full",
    "spark_batch_naive_id": "naive-id",
    "spark_batch_naive_time": "naive-time",
}
"""The word in the alert log for each mode of the job."""


class Written(msgspec.Struct, frozen=True):
    """What the writers did, and in which order PostgreSQL has it: COMMIT records and commit stamps by 32-bit xid."""

    operations: list[Operation]
    commits: dict[int, int]
    stamps: dict[int, int]
    settled: dict[int, bool]

    def happened(self, one: Operation) -> bool:
        """Whether an operation was committed."""
        return one.outcome == "committed" or self.settled.get(one.full_xid, False)


class Kept(msgspec.Struct, frozen=True):
    """One rule on one batch path: its alerts, the ids it judged or was taught, its merged runs, what it counted."""

    alerts: list[Alert]
    judged: set[int]
    runs: list[BatchRun]
    dead_letters: int
    counters: dict[str, int]


def read_kept(cursor: Cursor, path: str, rule: Rule) -> Kept:
    """All that the alert store (one source in it) has of this version of a rule."""
    names = [path, rule.name, rule.version]
    where = "WHERE path = %s AND rule = %s AND rule_version = %s"
    alerts = read_alerts(cursor, path, rule.name, rule.version)
    ranges = judged_ranges(cursor, path, rule.name, rule.version)
    cursor.execute(f"SELECT run, snapshot, begin_us, end_us FROM batch_runs {where} ORDER BY run", names)  # noqa: S608
    runs = [BatchRun.of(*row) for row in cursor.fetchall()]
    cursor.execute(f"SELECT count(*) FROM dead_letters {where}", names)  # noqa: S608
    (dead_letters,) = cursor.fetchone() or (0,)
    judged = {tx_id for first, last in ranges for tx_id in range(first, last + 1)}
    cursor.execute(f"SELECT name, sum(value)::bigint FROM counters {where} GROUP BY name", names)  # noqa: S608
    return Kept(alerts, judged, runs, int(dead_letters), dict(cursor.fetchall()))


def judged_ranges(cursor: Cursor, path: str, rule: str, version: str) -> list[tuple[int, int]]:
    """Ids that a version of a rule judged or was taught on a batch path, as ranges: first and last."""
    cursor.execute(
        "SELECT judged FROM batch_progress WHERE path = %s AND rule = %s AND rule_version = %s", [path, rule, version]
    )
    found = [msgspec.msgpack.decode(bytes(data), type=list[tuple[int, int]]) for (data,) in cursor.fetchall()]
    return [one for ranges in found for one in ranges]


def explained(rule: Rule, mode: Mode, kept: Kept, reference: Iterable[Alert], written: Written) -> list[Explained]:
    """Every final standing that differs from the reference, with its cause."""
    return explain(
        rule,
        kept.alerts,
        reference,
        written.operations,
        written.commits,
        written.stamps,
        kept.judged,
        runs=kept.runs,
        mode=mode,
        settled=written.settled,
    )


def commit_stamps(dsn: str, xids: Iterable[int]) -> dict[int, int]:
    """32-bit transaction id -> commit time in microseconds since 1970; without those that PostgreSQL has forgotten."""
    with closing(psycopg2.connect(dsn)) as session, session.cursor() as cursor:
        cursor.execute(
            "SELECT xid, (extract(epoch FROM pg_xact_commit_timestamp(xid::text::xid)) * 1000000)::bigint "
            "FROM unnest(%s::bigint[]) AS xid",
            [sorted(set(xids))],
        )
        return {xid: us for xid, us in cursor.fetchall() if us is not None}
