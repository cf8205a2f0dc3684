"""Folding buckets of users on the executors: rows in the order of their commits, through the same `step` as an agent.

Runs as `mapInArrow` over partitions that hold whole buckets, sorted by bucket and user, taught rows first, then by
commit and id. Alerts, letters and state of a bucket are staged in the alert store under the id of the attempt; a task
that runs twice stages the same again.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa

from spark_jobs.judged import Ids
from twinpath.detection.buckets import BucketCodec, bucket_of
from twinpath.detection.detector import UserState, empty, step
from twinpath.detection.fields import database_us, decimal_cents, integer, optional_integer
from twinpath.detection.history import History
from twinpath.detection.model import Alert, Change, Op, Position, Transaction
from twinpath.detection.rules import Rule
from twinpath.errors import DecodeError
from twinpath.store_session import StoreSession

INCARNATION = 1
XIDS = 2**32


class Row(NamedTuple):
    """One row of columns.ROWS."""

    id: int
    user_id: int
    amount: str
    created_us: int
    merchant_id: int | None
    xid: int
    commit_us: int | None


class StagedAlert(msgspec.Struct, array_like=True):
    """An alert before it has its number among the alerts of its row, and the commit that led to it."""

    alert: Alert
    committed_us: int | None


class StagedLetter(msgspec.Struct, array_like=True):
    """A row that cannot be judged."""

    tx_id: int
    reason: str


@dataclass(frozen=True)
class RulePlan:
    """How one rule goes on: after `run` merged runs; rows below `horizon` or in `folded` were folded before.

    `judged` holds the ids that were judged or taught: such a row is a correction, never an insert.
    """

    rule: Rule
    run: int
    horizon: int
    folded: frozenset[tuple[int, int]]
    judged: Ids
    keep_state: bool


@dataclass(frozen=True)
class Plan:
    """What the driver hands to every executor."""

    attempt: str
    path: str
    source: str
    alerts_dsn: str
    buckets: int
    next_horizon: int
    teach_before_us: int
    watermark: str  # the column whose highest value is asked for: id or created_us
    rules: tuple[RulePlan, ...]


class _Fold:
    """One bucket, one rule."""

    def __init__(self, plan: Plan, of_rule: RulePlan, states: dict[int, bytes], codec: BucketCodec) -> None:
        self._plan = plan
        self.of_rule = of_rule
        self._kept = states
        self._codec = codec
        self._live: dict[int, UserState[History]] = {}
        self._place = 0
        self.rows = 0
        self.highest = -(2**63)
        self.alerts: list[StagedAlert] = []
        self.letters: list[StagedLetter] = []
        self.counts: Counter[str] = Counter()
        self.judged: list[int] = []
        self.folded: list[tuple[int, int]] = []

    def add(self, row: Row, transaction: Transaction | str) -> None:
        """Fold one row version, unless an earlier run did; a text is the reason why it cannot be read."""
        of_rule = self.of_rule
        if row.xid < of_rule.horizon or (row.id, row.xid) in of_rule.folded:
            return
        self.rows += 1
        if row.xid >= self._plan.next_horizon:
            self.folded.append((row.id, row.xid))
        if isinstance(transaction, str):
            self.counts["dead_letters"] += 1
            self.letters.append(StagedLetter(row.id, transaction))
            return
        self.highest = max(self.highest, row.id if self._plan.watermark == "id" else row.created_us)
        state = self._live.get(row.user_id)
        if state is None:
            data = self._kept.get(row.user_id)
            state = empty(of_rule.rule) if data is None else self._codec.decode_user(data)
            self._live[row.user_id] = state
        _, outcome = step(of_rule.rule, state, self._change(row, transaction))
        self.counts[outcome.kind] += 1
        if outcome.alert is not None:
            self.alerts.append(StagedAlert(outcome.alert, row.commit_us))

    def state(self) -> bytes:
        """The whole bucket."""
        live = {user: self._codec.encode_user(state) for user, state in self._live.items()}
        return self._codec.join(self._kept | live)

    def _change(self, row: Row, transaction: Transaction) -> Change:
        """A row as a change; its position is its place in this run, which never decreases for a user."""
        op: Op = "c"
        place = Position(INCARNATION, self.of_rule.run + 1, self._place)
        self._place += 1
        if row.id in self.of_rule.judged:
            op = "u"
        elif (row.commit_us or 0) < self._plan.teach_before_us:
            op, place = "r", Position(INCARNATION, 0, 0)
        self.judged.append(row.id)
        return Change(op, row.user_id, row.id, place, None, transaction, row.xid % XIDS, row.commit_us)


def folding(plan: Plan) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The function for mapInArrow: rows of whole buckets in, one line for each bucket and rule out."""

    def fold(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        codecs = {one.rule.name: BucketCodec(one.rule) for one in plan.rules}
        with closing(StoreSession(plan.alerts_dsn)) as session:
            for bucket, rows in groupby(_rows(batches, plan.buckets), key=itemgetter(0)):
                folds = []
                for one in plan.rules:
                    codec = codecs[one.rule.name]
                    folds.append(_Fold(plan, one, _stored(session, plan, one, bucket, codec), codec))
                for _, row in rows:
                    transaction = _transaction(row)
                    for one_fold in folds:
                        one_fold.add(row, transaction)
                for one_fold in folds:
                    _stage(session, plan, bucket, one_fold)
                    yield _line(bucket, one_fold)

    return fold


def _rows(batches: Iterable[pa.RecordBatch], buckets: int) -> Iterator[tuple[int, Row]]:
    for batch in batches:
        for row in map(Row._make, zip(*(batch.column(name).to_pylist() for name in Row._fields), strict=True)):
            yield bucket_of(row.user_id or 0, buckets), row


def _transaction(row: Row) -> Transaction | str:
    """The row as the rules read it, or why it cannot be read: the decoder of the agents, field by field."""
    try:
        return Transaction(
            integer(row.id, "id"),
            integer(row.user_id, "user_id"),
            decimal_cents(row.amount or "null", "amount"),
            database_us(row.created_us, "created_at"),
            optional_integer(row.merchant_id, "merchant_id"),
        )
    except DecodeError as problem:
        return str(problem)


def _stored(session: StoreSession, plan: Plan, of_rule: RulePlan, bucket: int, codec: BucketCodec) -> dict[int, bytes]:
    """Users of a bucket as the last merged run left them."""
    if not of_rule.keep_state or of_rule.run == 0:
        return {}
    with session.transaction() as cursor:
        cursor.execute(
            "SELECT state FROM state_buckets WHERE path = %s AND rule = %s AND rule_version = %s AND topic_id = %s "
            "AND partition = 0 AND bucket = %s ORDER BY part",
            [plan.path, of_rule.rule.name, of_rule.rule.version, plan.source, bucket],
        )
        return codec.merge(bytes(state) for (state,) in cursor.fetchall())


def _stage(session: StoreSession, plan: Plan, bucket: int, fold: _Fold) -> None:
    of_rule = fold.of_rule
    state = fold.state() if of_rule.keep_state else b""
    encode = msgspec.msgpack.encode
    with session.transaction() as cursor:
        cursor.execute(
            "INSERT INTO batch_staged (attempt, rule, bucket, state, alerts, letters) VALUES (%s, %s, %s, %s, %s, %s) "
            "ON CONFLICT (attempt, rule, bucket) DO UPDATE SET state = excluded.state, alerts = excluded.alerts, "
            "letters = excluded.letters",
            [plan.attempt, of_rule.rule.name, bucket, state, encode(fold.alerts), encode(fold.letters)],
        )


def _line(bucket: int, fold: _Fold) -> pa.RecordBatch:
    """One row of columns.FOLDED."""
    encode = msgspec.msgpack.encode
    values: dict[str, Any] = {
        "bucket": pa.array([bucket], pa.int32()),
        "rule": pa.array([fold.of_rule.rule.name], pa.string()),
        "rows": pa.array([fold.rows], pa.int64()),
        "alerts": pa.array([len(fold.alerts)], pa.int64()),
        "judged": pa.array([Ids.of(fold.judged).encode()], pa.binary()),
        "folded": pa.array([encode(fold.folded)], pa.binary()),
        "highest": pa.array([fold.highest], pa.int64()),
        "counts": pa.array([encode(dict(fold.counts))], pa.binary()),
    }
    return pa.RecordBatch.from_arrays(list(values.values()), names=list(values))
