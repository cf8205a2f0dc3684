"""What a run found out about the batch path, mode by mode: alerts against the reference, each difference with its
cause, what was judged, and how late the alerts came."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from typing import NamedTuple

import msgspec
import psycopg2
from psycopg2.extensions import connection as Connection

from lab.measure.agreement import Difference, compare
from lab.measure.batch_input import BatchRun, Mode
from lab.measure.causes import Explained, explain, unread
from lab.measure.verdict import read_stored
from lab.operations import Operation
from twinpath.detection.replay import Replay
from twinpath.detection.rules import Rule
from twinpath.errors import ServiceFault

PATHS: dict[Mode, str] = {
    "safe": "spark_batch",
    "full": "spark_batch_full",
    "naive-id": "spark_batch_naive_id",
    "naive-time": "spark_batch_naive_time",
}
LOSSLESS: tuple[Mode, ...] = ("safe", "full")
ALERTED = (
    "SELECT DISTINCT ON (rule, tx_id) tx_id, (extract(epoch FROM pg_xact_commit_timestamp(xmin)) * 1000000)::bigint "
    "FROM alert_log WHERE path = %s AND op = 'c' AND status = 'RAISED' ORDER BY rule, tx_id, row_lsn"
)
PROGRESS = "FROM {} WHERE path = %s AND rule = %s AND rule_version = %s"


class Written(NamedTuple):
    """What was written while the paths were at work: operations, and by 32-bit transaction id the LSN of the COMMIT
    record and the commit time in microseconds; `settled` says what became of transactions of unknown end."""

    operations: Sequence[Operation]
    commits: Mapping[int, int]
    stamps: Mapping[int, int]
    settled: Mapping[int, bool]

    def happened(self, one: Operation) -> bool:
        """Whether an operation was committed."""
        return self.settled[one.full_xid] if one.outcome == "unknown" else one.outcome == "committed"


class BatchRule(msgspec.Struct):
    """One rule on one batch path. `judged` are the ids that it judged or was taught; `missed` those of rows that a
    run could see and none read."""

    rule: str
    version: str
    alerts: int
    counters: dict[str, int]
    dead_letters: int
    difference: Difference
    explained: list[Explained]
    judged: frozenset[int]
    missed: list[int]

    @property
    def unexplained(self) -> list[Explained]:
        """The differences without an allowed cause."""
        return [one for one in self.explained if one.cause is None]


class BatchPath(msgspec.Struct):
    """One mode; latencies are of alerts raised at an insert, from the commit of that insert."""

    mode: Mode
    path: str
    rules: list[BatchRule]
    latency_ms: list[float]


def gather_batch(
    dsn: str, modes: Iterable[Mode], rules: Sequence[Rule], by_log: Mapping[str, Replay], written: Written
) -> list[BatchPath]:
    """Every mode's alerts in the alert store at `dsn`, held against the replay of the operation log."""
    found = []
    with closing(psycopg2.connect(dsn)) as session:
        for mode in modes:
            ours = [_rule(session, mode, rule, by_log[rule.name], written) for rule in rules]
            found.append(BatchPath(mode, PATHS[mode], ours, latencies_ms(session, PATHS[mode], written)))
    return found


def _rule(session: Connection, mode: Mode, rule: Rule, by_log: Replay, written: Written) -> BatchRule:
    path = PATHS[mode]
    stored = read_stored(session, path, rule)
    judged, runs = _progress(session, path, rule)
    return BatchRule(
        rule=rule.name,
        version=rule.version,
        alerts=len(stored.alerts),
        counters=stored.counters,
        dead_letters=stored.dead_letters,
        difference=compare(stored.alerts, by_log.alerts),
        explained=explain(
            rule,
            stored.alerts,
            by_log.alerts,
            written.operations,
            written.commits,
            written.stamps,
            judged,
            runs=runs,
            mode=mode,
            settled=written.settled,
        ),
        judged=judged,
        missed=unread(written.operations, written.commits, judged, runs, written.settled),
    )


def _progress(session: Connection, path: str, rule: Rule) -> tuple[frozenset[int], list[BatchRun]]:
    """The ids that a rule has judged on a batch path, and its merged runs."""
    names = [path, rule.name, rule.version]
    with session.cursor() as cursor:
        cursor.execute(f"SELECT judged {PROGRESS.format('batch_progress')}", names)
        row = cursor.fetchone()
        if row is None:
            raise ServiceFault(f"{path}: rule {rule.name} {rule.version} has merged no run")
        ranges = msgspec.msgpack.decode(bytes(row[0]), type=list[tuple[int, int]])
        cursor.execute(f"SELECT run, snapshot, begin_us, end_us {PROGRESS.format('batch_runs')} ORDER BY run", names)
        runs = [BatchRun.of(*run) for run in cursor.fetchall()]
    return frozenset(one for first, last in ranges for one in range(first, last + 1)), runs


def latencies_ms(session: Connection, path: str, written: Written) -> list[float]:
    """Commit of each raised alert minus commit of the transaction that inserted its row, by one server's clock.

    The inserting transaction is the operation log's: a row that was updated since shows another one.
    """
    inserted = {one.tx_id: one.xid for one in written.operations if one.op == "insert" and written.happened(one)}
    with session.cursor() as cursor:
        cursor.execute(ALERTED, [path])
        alerted = cursor.fetchall()
    committed = ((at_us, written.stamps.get(inserted.get(tx_id, 0))) for tx_id, at_us in alerted)
    return [(at_us - since_us) / 1000 for at_us, since_us in committed if at_us is not None and since_us is not None]
