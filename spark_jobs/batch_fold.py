"""Folding buckets of users on the executors: rows in the order of their commits, through the same `step` as an agent.

Runs as `mapInArrow` over partitions that hold whole buckets, sorted by bucket and user, taught rows first, then by
commit and id. Alerts, letters and state of a bucket are staged in the alert store under the id of the attempt; a task
that runs twice stages the same again.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import msgspec
import pyarrow as pa

from spark_jobs.columns import ROWS
from spark_jobs.judged import Ids
from twinpath.detection.buckets import BucketCodec, bucket_of
from twinpath.detection.detector import UserState, empty, step
from twinpath.detection.fields import database_us, decimal_cents, integer
from twinpath.detection.history import History
from twinpath.detection.model import Alert, Change, Op, Position, Transaction
from twinpath.detection.rules import Rule
from twinpath.errors import DecodeError
from twinpath.store_session import StoreSession

INCARNATION = 1
XIDS = 2**32


Row = tuple[int, int, str, int, int | None, int, int | None]
"""The columns of columns.ROWS; what is declared here without None may still be null in a row that cannot be judged."""


class StagedAlert(msgspec.Struct, array_like=True):
    """An alert before it has its number among the alerts of its row; when its row was committed, and it decided."""

    alert: Alert
    committed_us: int | None
    decided_us: int | None = None


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


class _Intake:
    """Which rows of a bucket are new to rules that stand at the same point, and what changes they are."""

    def __init__(self, plan: Plan, of_rules: RulePlan) -> None:
        self._run = of_rules.run + 1
        self._horizon = of_rules.horizon
        self._folded_before = of_rules.folded
        self._judged_before = of_rules.judged
        self._next_horizon = plan.next_horizon
        self._teach_before_us = plan.teach_before_us
        self._by_id = plan.watermark == "id"
        self.rows = 0
        self.highest = -(2**63)
        self.judged: list[int] = []
        self.folded: list[tuple[int, int]] = []
        self.letters: list[StagedLetter] = []

    def change(self, row: Row) -> Change | None:
        """The row version as a change; None when an earlier run folded it, or when it cannot be read.

        Its position is its place in this run, which never decreases for a user.
        """
        tx_id, user_id, _, created_us, _, xid, commit_us = row
        if xid < self._horizon or (self._folded_before and (tx_id, xid) in self._folded_before):
            return None
        self.rows += 1
        if self._by_id:
            self.highest = max(self.highest, tx_id)
        if xid >= self._next_horizon:
            self.folded.append((tx_id, xid))
        try:
            transaction = _transaction(row)
        except DecodeError as problem:
            self.letters.append(StagedLetter(tx_id, str(problem)))
            return None
        if not self._by_id:
            self.highest = max(self.highest, created_us)
        op: Op = "c"
        place = Position(INCARNATION, self._run, self.rows)
        if tx_id in self._judged_before:
            op = "u"
        elif (commit_us or 0) < self._teach_before_us:
            op, place = "r", Position(INCARNATION, 0, 0)
        self.judged.append(tx_id)
        return Change(op, user_id, tx_id, place, None, transaction, xid % XIDS, commit_us)


class _Fold:
    """One bucket, one rule."""

    def __init__(self, of_rule: RulePlan, intake: _Intake, states: dict[int, bytes], codec: BucketCodec) -> None:
        self.of_rule = of_rule
        self.intake = intake
        self._kept = states
        self._codec = codec
        self._live: dict[int, UserState[History]] = {}
        self.alerts: list[StagedAlert] = []
        self.counts: Counter[str] = Counter()

    def add(self, change: Change) -> None:
        """Fold one change."""
        user_id = change.user_id
        state = self._live.get(user_id)
        if state is None:
            data = self._kept.get(user_id)
            state = empty(self.of_rule.rule) if data is None else self._codec.decode_user(data)
            self._live[user_id] = state
        _, outcome = step(self.of_rule.rule, state, change)
        self.counts[outcome.kind] += 1
        if outcome.alert is not None:
            self.alerts.append(StagedAlert(outcome.alert, change.committed_us, _now_us()))

    def state(self) -> bytes:
        """The whole bucket."""
        live = {user: self._codec.encode_user(state) for user, state in self._live.items()}
        return self._codec.join(self._kept | live)


def folding(plan: Plan) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The function for mapInArrow: rows of whole buckets in, one line for each bucket and rule out."""

    def fold(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        codecs = {one.rule.name: BucketCodec(one.rule) for one in plan.rules}
        began_us = 0
        with closing(StoreSession(plan.alerts_dsn)) as session:
            for bucket, rows in groupby(_rows(batches), key=lambda row: bucket_of(row[1] or 0, plan.buckets)):
                began_us = began_us or _now_us()
                by_intake = _folds(plan, bucket, session, codecs)
                for row in rows:
                    for intake, folds in by_intake:
                        change = intake.change(row)
                        if change is not None:
                            for one in folds:
                                one.add(change)
                for _, folds in by_intake:
                    for one in folds:
                        staging_us = _now_us()
                        _stage(session, plan, bucket, one)
                        yield _line(bucket, one, began_us, _now_us() - staging_us)

    return fold


def _folds(
    plan: Plan, bucket: int, session: StoreSession, codecs: dict[str, BucketCodec]
) -> list[tuple[_Intake, list[_Fold]]]:
    """The folds of a bucket; rules that stand at the same point share what is taken in."""
    points: dict[tuple[object, ...], tuple[_Intake, list[_Fold]]] = {}
    for one in plan.rules:
        point = (one.run, one.horizon, one.folded, one.judged)
        intake, folds = points.setdefault(point, (_Intake(plan, one), []))
        codec = codecs[one.rule.name]
        folds.append(_Fold(one, intake, _stored(session, plan, one, bucket, codec), codec))
    return list(points.values())


def _rows(batches: Iterable[pa.RecordBatch]) -> Iterator[Row]:
    """Rows of columns.ROWS, whatever else the batches hold."""
    for batch in batches:
        yield from zip(*(batch.column(field.name).to_pylist() for field in ROWS.fields), strict=True)


def _transaction(row: Row) -> Transaction:
    """The row as the rules read it; DecodeError of the agents' own decoder, field by field."""
    tx_id, user_id, amount, created_us, merchant_id, _, _ = row
    return Transaction(
        tx_id,
        integer(user_id, "user_id"),
        decimal_cents("null" if amount is None else amount, "amount"),
        database_us(created_us, "created_at"),
        merchant_id,
    )


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
            [plan.attempt, of_rule.rule.name, bucket, state, encode(fold.alerts), encode(fold.intake.letters)],
        )


def _counted(fold: _Fold) -> dict[str, int]:
    letters = len(fold.intake.letters)
    return dict(fold.counts) | ({"dead_letters": letters} if letters else {})


def _now_us() -> int:
    return time.time_ns() // 1000


def _line(bucket: int, fold: _Fold, began_us: int, staged_us: int) -> pa.RecordBatch:
    """One row of columns.FOLDED."""
    encode = msgspec.msgpack.encode
    values: dict[str, Any] = {
        "bucket": pa.array([bucket], pa.int32()),
        "rule": pa.array([fold.of_rule.rule.name], pa.string()),
        "rows": pa.array([fold.intake.rows], pa.int64()),
        "alerts": pa.array([len(fold.alerts)], pa.int64()),
        "judged": pa.array([Ids.of(fold.intake.judged).encode()], pa.binary()),
        "folded": pa.array([encode(fold.intake.folded)], pa.binary()),
        "highest": pa.array([fold.intake.highest], pa.int64()),
        "counts": pa.array([encode(_counted(fold))], pa.binary()),
        "began_us": pa.array([began_us], pa.int64()),
        "staged_us": pa.array([staged_us], pa.int64()),
    }
    return pa.RecordBatch.from_arrays(list(values.values()), names=list(values))
