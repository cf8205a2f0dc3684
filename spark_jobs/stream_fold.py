"""Folding one bucket of users in one micro-batch, on the executors: raw records in, one line and the new state out.

Spark's shuffle keeps no order and hands a group over in several chunks: the records of the bucket are collected,
sorted by (partition, offset), and only then folded, by the decoder and the `step` of the agents.
"""

import time
from collections import Counter

import msgspec

from spark_jobs.stream_state import RuleUsers, StreamCodec
from twinpath.alert_rows import DeadLetter, Incarnation, StampedAlert, Stamps
from twinpath.detection.buckets import bucket_of
from twinpath.detection.detector import step
from twinpath.detection.envelope import EnvelopeDecoder, EnvelopeFormat, key_columns
from twinpath.detection.model import Change, Skipped
from twinpath.detection.rules import Rule
from twinpath.errors import DecodeError, ForeignCheckpoint, WrongKey

Record = tuple[int, int, bytes | None, bytes | None, int]
"""(partition, offset, key, value, append time in microseconds): columns.RECORDS without the bucket."""


class PlacedAlert(msgspec.Struct, array_like=True):
    """An alert and the record that led to it."""

    partition: int
    offset: int
    stamped: StampedAlert


class Alarm(msgspec.Struct, array_like=True):
    """What looked wrong in a bucket: how often, and the first record of it."""

    reason: str
    times: int
    partition: int
    offset: int


class RuleFold(msgspec.Struct, array_like=True):
    """What a micro-batch came to for one rule of a bucket.

    `outcomes` counts what this micro-batch did, `counts` what was done since the beginning of the log.
    """

    alerts: list[PlacedAlert]
    outcomes: dict[str, int]
    counts: dict[str, int]
    users: int


class BucketFold(msgspec.Struct, array_like=True):
    """What a micro-batch came to in one bucket; `rules` in the order of the plan."""

    bucket: int
    records: int
    newest_us: int  # append time of the newest record
    letters: list[DeadLetter]
    alarms: list[Alarm]
    rules: list[RuleFold]
    state_bytes: int


class Plan(msgspec.Struct, frozen=True):
    """What the driver hands to every executor."""

    rules: tuple[Rule, ...]
    buckets: int
    fmt: EnvelopeFormat
    topic: str
    sources: tuple[Incarnation, ...]


class BucketFolder:
    """Folds buckets by one plan; a worker process makes one and keeps it."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._codec = StreamCodec(plan.rules)
        self._decoder = EnvelopeDecoder(plan.fmt)
        self._newest = max(plan.sources, key=lambda one: one.number)

    def fold(self, bucket: int, records: list[Record], blob: bytes | None) -> tuple[BucketFold, bytes]:
        """Fold the records of a bucket, in whatever order they came; what they led to, and the new blob.

        Raises ForeignCheckpoint when the state has folded one of them before, and WrongKey for a topic that is
        keyed by another column than the rules.
        """
        records.sort()  # by partition, then offset: together they are unique
        next_offsets, opened = self._codec.open(blob)
        _advance(bucket, next_offsets, records)
        folds = [
            _RuleFolding(rule, counts, users) for rule, (counts, users) in zip(self._plan.rules, opened, strict=True)
        ]
        letters: list[DeadLetter] = []
        alarms: dict[str, Alarm] = {}
        seen: Counter[str] = Counter()
        polled_us = time.time_ns() // 1000
        self._check_key(records)
        for record in records:
            try:
                changes = self._changes(bucket, record, seen, alarms)
            except DecodeError as problem:
                _note(alarms, f"dead letter: {problem.field}", record)
                seen["dead_letters"] += 1
                letters.append(DeadLetter(record[0], record[1], str(problem), record[2], record[3]))
                continue
            for change in changes:
                for one in folds:
                    one.add(change, record, polled_us)
        for one in folds:
            one.count(seen)
        state, users = self._codec.close(next_offsets, opened)
        done = BucketFold(
            bucket,
            len(records),
            max(record[4] for record in records),
            letters,
            list(alarms.values()),
            [
                RuleFold(one.alerts, dict(one.outcomes), one.counts, known)
                for one, known in zip(folds, users, strict=True)
            ],
            len(state),
        )
        return done, state

    def _changes(self, bucket: int, record: Record, seen: Counter[str], alarms: dict[str, Alarm]) -> tuple[Change, ...]:
        """The changes of a record; none for one that is skipped."""
        partition, offset, key, value, _ = record
        decoded = self._decoder.decode(key, value, self._incarnation(partition, offset))
        if isinstance(decoded, Skipped):
            seen["skipped"] += 1
            if decoded.alarm:
                _note(alarms, f"skipped: {decoded.reason}", record)
            return ()
        for change in decoded:
            if bucket_of(change.user_id, self._plan.buckets) != bucket:
                raise WrongKey(
                    f"topic {self._plan.topic} partition {partition} offset {offset}: the record is of a user of "
                    f"bucket {bucket_of(change.user_id, self._plan.buckets)}, its key was read as one of {bucket}"
                )
        return decoded

    def _incarnation(self, partition: int, offset: int) -> int:
        """The incarnation of the source that wrote the record at this offset."""
        newest = self._newest
        if offset >= newest.first_offsets.get(partition, 0):  # looked at for every record
            return newest.number
        return max(one.number for one in self._plan.sources if one.first_offsets.get(partition, 0) <= offset)

    def _check_key(self, records: list[Record]) -> None:
        """Refuse a topic that is keyed by another column than the rules'; one key that can be read tells."""
        for record in records:
            try:
                columns = key_columns(record[2])
            except DecodeError:
                continue
            for rule in self._plan.rules:
                if rule.key_column not in columns:
                    raise WrongKey(
                        f"topic {self._plan.topic} is keyed by {sorted(columns)}, wanted {rule.key_column}: rows of "
                        "one user would lie in several buckets and alerts would be missed. Set message.key.columns="
                        f"public.transactions:{rule.key_column} in the connector, on a new topic"
                    )
            return


class _RuleFolding:
    """One rule over one bucket in one micro-batch."""

    def __init__(self, rule: Rule, counts: dict[str, int], users: RuleUsers) -> None:
        self._rule = rule
        self._users = users
        self.counts = counts
        self.alerts: list[PlacedAlert] = []
        self.outcomes: Counter[str] = Counter()

    def add(self, change: Change, record: Record, polled_us: int) -> None:
        _, outcome = step(self._rule, self._users.of(change.user_id), change)
        self.outcomes[outcome.kind] += 1
        if outcome.alert is not None:
            decided_us = time.time_ns() // 1000
            stamps = Stamps(change.committed_us, change.captured_us, record[4], polled_us, decided_us)
            self.alerts.append(PlacedAlert(record[0], record[1], StampedAlert(outcome.alert, stamps)))

    def count(self, seen: Counter[str]) -> None:
        """Add what this micro-batch did, to the counts of the bucket since the beginning of the log."""
        self.outcomes.update(seen)
        for name, value in self.outcomes.items():
            self.counts[name] = self.counts.get(name, 0) + value


def _advance(bucket: int, next_offsets: dict[int, int], records: list[Record]) -> None:
    """Note how far each partition was folded; ForeignCheckpoint when it was folded further before."""
    for partition, offset, *_ in records:
        if offset < next_offsets.get(partition, 0):
            raise ForeignCheckpoint(
                f"state of bucket {bucket} has folded partition {partition} up to offset {next_offsets[partition]}, "
                f"and is given offset {offset}: the checkpoint's state is newer than its offsets. Remove the "
                "checkpoint of this query; it then judges the log from its beginning, and stored alerts are kept"
            )
        next_offsets[partition] = offset + 1


def _note(alarms: dict[str, Alarm], reason: str, record: Record) -> None:
    known = alarms.get(reason)
    if known is None:
        alarms[reason] = Alarm(reason, 1, record[0], record[1])
    else:
        known.times += 1
