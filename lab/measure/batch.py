"""What a run found out about the batch path, mode by mode: alerts against the reference, each difference with its
cause, what was judged, and how late the alerts came."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from datetime import timedelta

import msgspec
import psycopg2
from psycopg2.extensions import cursor as Cursor

from lab.measure.agreement import Difference, compare
from lab.measure.batch_evidence import PATHS, Kept, Written, explained, read_kept
from lab.measure.batch_input import BatchInput, BatchRun, Mode
from lab.measure.causes import Explained
from lab.measure.latency import HOPS, Sample
from twinpath.alert_rows import EPOCH_START
from twinpath.detection.replay import Replay
from twinpath.detection.rules import Rule

LOSSLESS: tuple[Mode, ...] = ("safe", "full")
ALERTED = (
    "SELECT DISTINCT ON (rule, tx_id) rule, tx_id, "
    "(extract(epoch FROM pg_xact_commit_timestamp(xmin)) * 1000000)::bigint "
    "FROM alert_log WHERE path = %s AND op = 'c' AND status = 'RAISED' ORDER BY rule, tx_id, row_lsn"
)


class BatchRule(msgspec.Struct):
    """One rule on one batch path. `judged` are the ids that it judged or was taught; `missed` those of rows that a
    run could see and none read; `read` are the values that its `runs` read of rows that it keeps: (tx_id, LSN of the
    COMMIT record, place in the transaction)."""

    rule: str
    version: str
    alerts: int
    counters: dict[str, int]
    dead_letters: int
    difference: Difference
    explained: list[Explained]
    judged: set[int]
    missed: list[int]
    runs: list[BatchRun] = []
    read: set[tuple[int, int, int]] = set()

    @property
    def unexplained(self) -> list[Explained]:
        """The differences without an allowed cause."""
        return [one for one in self.explained if one.cause is None]


class BatchPath(msgspec.Struct):
    """One mode; samples are of alerts raised at an insert, from the commit of that insert, the oldest first."""

    mode: Mode
    path: str
    rules: list[BatchRule]
    samples: list[Sample]


def gather_batch(
    dsn: str, modes: Collection[str], rules: Sequence[Rule], by_log: Mapping[str, Replay], written: Written
) -> list[BatchPath]:
    """The alerts of these modes in the alert store at `dsn`, held against the replay of the operation log."""
    with closing(psycopg2.connect(dsn)) as session, session.cursor() as cursor:
        return [
            BatchPath(
                mode,
                path,
                [_rule(cursor, path, mode, rule, by_log[rule.name], written) for rule in rules],
                read_batch_samples(cursor, path, written),
            )
            for path, mode in PATHS.items()
            if mode in modes
        ]


def _rule(cursor: Cursor, path: str, mode: Mode, rule: Rule, by_log: Replay, written: Written) -> BatchRule:
    return held(rule, mode, read_kept(cursor, path, rule), by_log, written)


def held(rule: Rule, mode: Mode, kept: Kept, by_log: Replay, written: Written) -> BatchRule:
    """What one rule of a batch path keeps, against the replay of the operation log."""
    given = BatchInput(written.operations, written.commits, written.settled, kept.runs, mode)
    return BatchRule(
        rule=rule.name,
        version=rule.version,
        alerts=len(kept.alerts),
        counters=kept.counters,
        dead_letters=kept.dead_letters,
        difference=compare(kept.alerts, by_log.alerts),
        explained=explained(rule, mode, kept, by_log.alerts, written),
        judged=kept.judged,
        missed=given.unread(kept.judged),
        runs=kept.runs,
        read=given.values_read(kept.judged),
    )


def read_batch_samples(cursor: Cursor, path: str, written: Written) -> list[Sample]:
    """Commit of each raised alert minus commit of the transaction that inserted its row, by one server's clock.

    The inserting transaction is the operation log's: a row that was updated since shows another one. A batch job
    stamps no hops.
    """
    inserted = {one.tx_id: one.xid for one in written.operations if one.op == "insert" and written.happened(one)}
    cursor.execute(ALERTED, [path])
    committed = [
        (rule, tx_id, at_us, written.stamps.get(inserted.get(tx_id, 0))) for rule, tx_id, at_us in cursor.fetchall()
    ]
    no_hops = (None,) * len(HOPS)
    samples = [
        Sample(rule, EPOCH_START + timedelta(microseconds=since_us), (at_us - since_us) / 1000, no_hops, tx_id)
        for rule, tx_id, at_us, since_us in committed
        if at_us is not None and since_us is not None
    ]
    return sorted(samples, key=lambda one: one.changed_at)
