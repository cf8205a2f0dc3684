"""The alert store as the driver of a streaming query uses it: what is known at the start, and one transaction a batch.

A micro-batch may run again, or be cut otherwise when a checkpoint was lost. The marks in `checkpoints` never go back:
they say up to where everything was judged and stored. What only the store can tell (how a conditional alert came out)
is counted for records past the mark alone; all other counts come as absolute figures from the state.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from psycopg2.extensions import cursor as Cursor
from psycopg2.extras import Json

from spark_jobs.stream_fold import BucketFold, PlacedAlert
from spark_jobs.stream_queries import KnownQuery, Offsets, QueryPlan
from twinpath.alert_rows import PartitionKey, StampedAlert, Written
from twinpath.alert_store import AlertStore
from twinpath.checkpoint_rows import add_counters, move_offset, raise_epoch, write_all_counters
from twinpath.detection.rules import Rule
from twinpath.errors import Superseded
from twinpath.failpoints import fail_at
from twinpath.store_session import StoreSession

PATH = "spark_stream"
OF_THE_STORE = -1  # in place of a bucket: counts that do not come from the state
PAGE = 5_000  # alerts of one statement


class Batch(msgspec.Struct, frozen=True):
    """One micro-batch as it is stored: its number, where it ends in each partition, what the buckets came to."""

    number: int
    checkpoint_id: str
    ends: Offsets
    folds: Sequence[BucketFold]
    progress: Mapping[str, Any]


class StreamStore:
    """One session on the alert store for one query."""

    def __init__(self, dsn: str, topic_id: str, partitions: int, buckets: int) -> None:
        self._session = StoreSession(dsn)
        self._alerts = AlertStore(dsn, PATH)
        self._topic_id = topic_id
        self._partitions = partitions
        self._buckets = buckets
        self._epochs: dict[tuple[str, int], int] = {}

    def close(self) -> None:
        """End the session."""
        self._session.close()
        self._alerts.close()

    def known(self) -> list[KnownQuery]:
        """The queries of this topic, the newest first."""
        with self._session.transaction() as cursor:
            cursor.execute(
                "SELECT query, number, rules, location, checkpoint_id, batch_id, next_offsets FROM stream_queries "
                "WHERE path = %s AND topic_id = %s ORDER BY number DESC",
                [PATH, self._topic_id],
            )
            return [
                KnownQuery(
                    name=row[0],
                    number=row[1],
                    rules=tuple((rule, version) for rule, version in row[2]),
                    location=row[3],
                    checkpoint_id=row[4],
                    batch_id=row[5],
                    next_offsets={int(partition): offset for partition, offset in row[6].items()},
                )
                for row in cursor.fetchall()
            ]

    def marks(self, rule: Rule) -> Offsets:
        """Up to where a version of a rule judged each partition, and stored it."""
        with self._session.transaction() as cursor:
            return self._marks(cursor, rule)

    def begin(self, plan: QueryPlan, location: str) -> None:
        """Own the partitions from now on, for each rule of the query: what an older driver still writes is refused."""
        with self._session.transaction() as cursor:
            for rule in plan.rules:
                for number in range(self._partitions):
                    epoch, _ = raise_epoch(
                        cursor, PATH, self._key(rule, number), self._partitions, self._buckets, "STREAM_BUCKETS"
                    )
                    self._epochs[rule.name, number] = epoch
            cursor.execute(
                "INSERT INTO stream_queries (path, topic_id, query, number, rules, location) "
                "SELECT %s, %s, %s, coalesce(max(number), 0) + 1, %s, %s FROM stream_queries "
                "WHERE path = %s AND topic_id = %s "
                "ON CONFLICT (path, topic_id, query) DO UPDATE SET location = excluded.location",
                [
                    *(PATH, self._topic_id, plan.name),
                    Json([[rule.name, rule.version] for rule in plan.rules]),
                    *(location, PATH, self._topic_id),
                ],
            )

    def start_over(self, plan: QueryPlan) -> None:
        """The query judges from the beginning of the log again: its counts begin anew, its marks stay."""
        with self._session.transaction() as cursor:
            for rule in plan.rules:
                cursor.execute(
                    "UPDATE counters SET value = 0 WHERE path = %s AND rule = %s AND rule_version = %s "
                    "AND topic_id = %s AND partition >= 0",
                    [PATH, rule.name, rule.version, self._topic_id],
                )

    def write(self, plan: QueryPlan, batch: Batch) -> dict[str, Written]:
        """Store a micro-batch in one transaction; what was stored and refused, by rule.

        1. the versions are still the active ones; 2. marks: the epoch is compared; 3. alerts and dead letters;
        4. counters; 5. how far the query is. Safe to repeat.
        """
        written: dict[str, Written] = {}
        with self._session.transaction() as cursor:
            self._check_active(cursor, plan.rules)
            for place, rule in enumerate(plan.rules):
                marks = self._marks(cursor, rule)
                for number, end in sorted(batch.ends.items()):
                    epoch = self._epochs[rule.name, number]
                    move_offset(cursor, PATH, self._key(rule, number), epoch, max(end, marks.get(number, 0)))
                alerts = [one for fold in batch.folds for one in fold.rules[place].alerts]
                letters = [letter for fold in batch.folds for letter in fold.letters]
                again, first = _parted(alerts, marks)
                replayed, new = Written(), Written()
                for page in _pages(again):
                    self._alerts.write_in(cursor, rule, page, (), self._topic_id, replayed)
                for page in _pages(first):
                    self._alerts.write_in(cursor, rule, page, (), self._topic_id, new)
                self._alerts.write_in(cursor, rule, (), letters, self._topic_id, new)
                fail_at("during_write")
                self._count(cursor, rule, place, batch.folds, new, replayed)
                suppressed = new.suppressed + replayed.suppressed
                written[rule.name] = Written(new.stored + replayed.stored, suppressed, new.resolved)
            self._note(cursor, plan, batch)
        return written

    def _count(
        self, cursor: Cursor, rule: Rule, place: int, folds: Sequence[BucketFold], new: Written, replayed: Written
    ) -> None:
        write_all_counters(cursor, PATH, {self._key(rule, fold.bucket): fold.rules[place].counts for fold in folds})
        counted: Counter[str] = Counter(
            alerts=new.stored + replayed.stored, alerts_refused=new.suppressed + replayed.suppressed
        )
        counted["too_old"] -= new.resolved.total()  # each came to something else, or stays too old
        counted.update(new.resolved)
        changed = {name: value for name, value in counted.items() if value}
        if changed:
            add_counters(cursor, PATH, self._key(rule, OF_THE_STORE), changed)

    def _note(self, cursor: Cursor, plan: QueryPlan, batch: Batch) -> None:
        cursor.execute(
            "UPDATE stream_queries SET checkpoint_id = %s, batch_id = %s, next_offsets = %s, progress = %s, "
            "updated_at = now() WHERE path = %s AND topic_id = %s AND query = %s",
            [
                *(batch.checkpoint_id, batch.number, Json(batch.ends), Json(dict(batch.progress))),
                *(PATH, self._topic_id, plan.name),
            ],
        )

    def _check_active(self, cursor: Cursor, rules: Iterable[Rule]) -> None:
        """Superseded when another version of a rule was activated since this query began."""
        cursor.execute("SELECT rule, rule_version FROM active_rules WHERE path = %s", [PATH])
        active = dict(cursor.fetchall())
        for rule in rules:
            if active.get(rule.name) != rule.version:
                raise Superseded(
                    f"rule {rule.name}: this query folds version {rule.version}, but version {active.get(rule.name)} "
                    "is the active one now. Start it again with the settings of the others (RULE_PARAMETERS)"
                )

    def _marks(self, cursor: Cursor, rule: Rule) -> Offsets:
        cursor.execute(
            "SELECT partition, next_offset FROM checkpoints WHERE path = %s AND rule = %s AND rule_version = %s "
            "AND topic_id = %s AND next_offset IS NOT NULL",
            [PATH, rule.name, rule.version, self._topic_id],
        )
        return dict(cursor.fetchall())

    def _key(self, rule: Rule, partition: int) -> PartitionKey:
        return PartitionKey(rule.name, rule.version, self._topic_id, partition)


def _parted(alerts: Iterable[PlacedAlert], marks: Offsets) -> tuple[list[StampedAlert], list[StampedAlert]]:
    """Those of records below the marks, which were judged before, and the others."""
    again: list[StampedAlert] = []
    first: list[StampedAlert] = []
    for one in alerts:
        (again if one.offset < marks.get(one.partition, 0) else first).append(one.stamped)
    return again, first


def _pages(alerts: Sequence[StampedAlert]) -> Iterable[Sequence[StampedAlert]]:
    return (alerts[begin : begin + PAGE] for begin in range(0, len(alerts), PAGE))
