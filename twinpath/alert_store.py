"""The alert store: alerts, dead letters and checkpoints in PostgreSQL, each write safe to repeat.

Every path writes alerts through `write`: one small transaction, `ON CONFLICT DO NOTHING`. A key that is
there already with the same digest is a suppressed duplicate; with another digest it is an AlertConflict.
A conditional alert is resolved here against the last alert of that row before its position.
Checkpoints are fenced: `take` raises the epoch of a partition, and `save` of an older epoch is refused.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec
from psycopg2.extensions import cursor as Cursor
from psycopg2.extras import execute_values

from twinpath.alert_rows import (
    ALERT_COLUMNS,
    Checkpoint,
    DeadLetter,
    Incarnation,
    PartitionKey,
    StampedAlert,
    StatePart,
    Written,
    digest,
    row_of,
)
from twinpath.checkpoint_rows import move_offset, raise_epoch, read_state, write_counters, write_parts
from twinpath.detection.detector import resolve
from twinpath.detection.model import Alert
from twinpath.detection.rules import Rule
from twinpath.errors import RESYNC, AlertConflict, ForeignCheckpoint
from twinpath.store_session import StoreSession

Batch = tuple[Sequence[StampedAlert], Sequence[DeadLetter]]
"""What the records of one partition led to."""
KEPT_BYTES = 65_536  # of a dead letter's value; the topic keeps the whole record


class AlertStore:
    """One session on the alert store, for one path; opened when first used and after each failure."""

    def __init__(self, dsn: str, path: str) -> None:
        self._session = StoreSession(dsn)
        self._path = path

    def close(self) -> None:
        """End the session."""
        self._session.close()

    def write(
        self, rule: Rule, alerts: Sequence[StampedAlert], letters: Sequence[DeadLetter], topic_id: str
    ) -> Written:
        """Store alerts (in the order of their positions) and dead letters in one transaction."""
        (written,) = self.write_all(rule, [(alerts, letters)], topic_id)
        return written

    def write_all(self, rule: Rule, batches: Sequence[Batch], topic_id: str) -> list[Written]:
        """As `write`, for several partitions in one transaction; says of each what was done."""
        done = [Written() for _ in batches]
        with self._session.transaction() as cursor:
            for (alerts, letters), written in zip(batches, done, strict=True):
                self.write_in(cursor, rule, alerts, letters, topic_id, written)
        return done

    def write_in(
        self,
        cursor: Cursor,
        rule: Rule,
        alerts: Sequence[StampedAlert],
        letters: Sequence[DeadLetter],
        topic_id: str,
        written: Written,
    ) -> None:
        """Store them as part of a transaction of the caller's, who is told by `written` what was done."""
        plain: list[StampedAlert] = []
        for stamped in alerts:
            if not stamped.alert.status.endswith("_IF_STANDING"):
                plain.append(stamped)
                continue
            self._insert(cursor, plain, written)
            plain.clear()
            resolved = self._resolve(cursor, rule, stamped.alert, written)
            if resolved is not None:
                plain.append(StampedAlert(resolved, stamped.stamps))
        self._insert(cursor, plain, written)
        self._bury(cursor, rule, letters, topic_id)

    def incarnations(self, topic: str, topic_id: str) -> list[Incarnation]:
        """The sources behind a topic, first one first; an unknown topic is noted as incarnation 1.

        Raises ForeignCheckpoint when the topic was deleted and created anew since.
        """
        with self._session.transaction() as cursor:
            cursor.execute(
                "INSERT INTO sources (topic, topic_id, incarnation) SELECT %s, %s, 1 "
                "WHERE NOT EXISTS (SELECT FROM sources WHERE topic = %s) ON CONFLICT DO NOTHING",
                [topic, topic_id, topic],
            )
            cursor.execute(
                "SELECT incarnation, topic_id, first_offsets FROM sources WHERE topic = %s ORDER BY incarnation",
                [topic],
            )
            found = [
                Incarnation(number, known_id, {int(key): value for key, value in first.items()})
                for number, known_id, first in cursor.fetchall()
            ]
        if found[-1].topic_id != topic_id:
            raise ForeignCheckpoint(
                f"topic {topic} has id {topic_id}, but the alert store knows it as {found[-1].topic_id}: it was "
                f"deleted and created anew, so positions and offsets do not compare. {RESYNC}"
            )
        return [one for one in found if one.topic_id == topic_id]

    def take(self, key: PartitionKey, partitions: int, buckets: int) -> Checkpoint:
        """Become the owner of a partition: the epoch is raised and committed *before* state is read."""
        with self._session.transaction() as cursor:
            epoch, next_offset = raise_epoch(cursor, self._path, key, partitions, buckets)
        with self._session.transaction() as cursor:
            return Checkpoint(epoch, next_offset, *read_state(cursor, self._path, key))

    def save(
        self, key: PartitionKey, epoch: int, next_offset: int, parts: Iterable[StatePart], counters: Mapping[str, int]
    ) -> None:
        """State (one part of a bucket), offset and counters in one transaction; OwnershipLost when the epoch moved on.

        Safe to repeat when it is not known whether the transaction was committed.
        """
        with self._session.transaction() as cursor:
            move_offset(cursor, self._path, key, epoch, next_offset)
            write_parts(cursor, self._path, key, parts)
            write_counters(cursor, self._path, key, counters)

    def _insert(self, cursor: Cursor, alerts: Sequence[StampedAlert], written: Written) -> None:
        if not alerts:
            return
        rows = [row_of(self._path, stamped) for stamped in alerts]
        returned = execute_values(
            cursor,
            f"INSERT INTO alert_log ({ALERT_COLUMNS}) VALUES %s ON CONFLICT DO NOTHING "  # noqa: S608  constant
            "RETURNING user_id, tx_id, incarnation, previous_commit_lsn, row_lsn",
            rows,
            page_size=len(rows),
            fetch=True,
        )
        stored = set(returned)
        written.stored += len(stored)
        for stamped in alerts:
            alert = stamped.alert
            if (alert.user_id, alert.tx_id, *alert.position) not in stored:
                self._compare(cursor, alert)
                written.suppressed += 1

    def _compare(self, cursor: Cursor, alert: Alert) -> None:
        """The alert is there already: its content must be the same."""
        cursor.execute(
            "SELECT digest, status, score, reason FROM alert_log WHERE path = %s AND rule = %s AND rule_version = %s "
            "AND user_id = %s AND tx_id = %s AND incarnation = %s AND previous_commit_lsn = %s AND row_lsn = %s",
            [self._path, alert.rule, alert.rule_version, alert.user_id, alert.tx_id, *alert.position],
        )
        found = cursor.fetchone() or ("nothing",)
        if found[0] != digest(alert):
            raise AlertConflict(
                f"alert {alert.rule} {alert.rule_version} of transaction {alert.tx_id} at {tuple(alert.position)}: "
                f"stored as {found[1:]}, decided now as {(alert.status, alert.score, alert.reason)}. The same log "
                "must give the same alerts. If the rule's code was changed, raise its code version; else judge the "
                f"whole log anew, beside what is stored: twinpath rebuild {alert.rule}"
            )

    def _resolve(self, cursor: Cursor, rule: Rule, conditional: Alert, written: Written) -> Alert | None:
        cursor.execute(
            "SELECT status, score, reason, features FROM alert_log WHERE path = %s AND rule = %s "
            "AND rule_version = %s AND user_id = %s AND tx_id = %s "
            "AND (incarnation, previous_commit_lsn, row_lsn) < (%s, %s, %s) "
            "ORDER BY incarnation DESC, previous_commit_lsn DESC, row_lsn DESC LIMIT 1",
            [
                self._path,
                conditional.rule,
                conditional.rule_version,
                conditional.user_id,
                conditional.tx_id,
                *conditional.position,
            ],
        )
        row = cursor.fetchone()
        standing = None
        if row is not None:
            status, score, reason, features = row
            standing = msgspec.structs.replace(
                conditional, status=status, score=score, reason=reason, features=features
            )
        if standing is not None and standing.status != "RETRACTED":
            kind = "corrected" if conditional.status == "REVISE_IF_STANDING" else "forgotten"
            written.resolved[kind] += 1
        return resolve(rule, conditional, standing)

    def _bury(self, cursor: Cursor, rule: Rule, letters: Sequence[DeadLetter], topic_id: str) -> None:
        if letters:
            execute_values(
                cursor,
                "INSERT INTO dead_letters (path, rule, rule_version, topic_id, partition, kafka_offset, reason, "
                "record_key, record_value, value_bytes) VALUES %s ON CONFLICT DO NOTHING",
                [
                    (
                        *(self._path, rule.name, rule.version, topic_id, letter.partition, letter.offset),
                        letter.reason.replace("\x00", "\\x00"),
                        None if letter.key is None else letter.key[:KEPT_BYTES],
                        None if letter.value is None else letter.value[:KEPT_BYTES],
                        None if letter.value is None else len(letter.value),
                    )
                    for letter in letters
                ],
            )
