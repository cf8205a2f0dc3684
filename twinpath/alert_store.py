"""The alert store: alerts, dead letters and checkpoints in PostgreSQL, each write safe to repeat.

Every path writes alerts through `write`: one small transaction, `ON CONFLICT DO NOTHING`. A key that is
there already with the same digest is a suppressed duplicate; with another digest it is an AlertConflict.
A conditional alert is resolved here against the last alert of that row before its position.
Checkpoints are fenced: `take` raises the epoch of a partition, and `save` of an older epoch is refused.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any

import msgspec
import psycopg2
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor
from psycopg2.extras import Json, execute_values

from twinpath.detection.detector import resolve
from twinpath.detection.model import Alert, Position
from twinpath.detection.rules import Rule
from twinpath.errors import (
    START_AFRESH,
    AlertConflict,
    AlertStoreUnavailable,
    ConfigurationError,
    ForeignCheckpoint,
    OwnershipLost,
    ServiceFault,
)

STATEMENT_TIMEOUT_MS = 10_000
CONNECT_TIMEOUT_S = 5
KEPT_BYTES = 65_536  # of a dead letter's value; the topic keeps the whole record
EPOCH_START = datetime(1970, 1, 1, tzinfo=UTC)

ALERT_COLUMNS = (
    "path, rule, rule_version, user_id, tx_id, incarnation, previous_commit_lsn, row_lsn, op, status, score, "
    "reason, features, digest, source_xid, committed_at, captured_at, appended_at, polled_at, decided_at"
)


class Stamps(msgspec.Struct, frozen=True):
    """When a change passed each hop, microseconds since 1970 UTC; None where a hop gave no stamp."""

    committed_us: int | None = None
    captured_us: int | None = None
    appended_us: int | None = None
    polled_us: int | None = None
    decided_us: int | None = None


class StampedAlert(msgspec.Struct, frozen=True):
    """An alert with the hop stamps that explain its latency."""

    alert: Alert
    stamps: Stamps = Stamps()


class DeadLetter(msgspec.Struct, frozen=True):
    """A record that could not be read, with the reason."""

    partition: int
    offset: int
    reason: str
    key: bytes | None
    value: bytes | None


class Written(msgspec.Struct):
    """What one `write` did: alerts stored, inserts refused as duplicates, and the
    kinds of conditionals that found a standing alert (the others stay too old)."""

    stored: int = 0
    suppressed: int = 0
    resolved: Counter[str] = msgspec.field(default_factory=Counter)


class PartitionKey(msgspec.Struct, frozen=True):
    """What a checkpoint belongs to."""

    rule: str
    rule_version: str
    topic_id: str
    partition: int


class Checkpoint(msgspec.Struct):
    """What `take` found: the new epoch, where to go on, state by bucket, counters."""

    epoch: int
    next_offset: int | None
    states: dict[int, bytes]
    counters: Counter[str]


class Incarnation(msgspec.Struct, frozen=True):
    """One source behind a topic; `first_offsets` says where its records begin in each partition."""

    number: int
    topic_id: str
    first_offsets: dict[int, int]


class AlertStore:
    """One session on the alert store, for one path; opened when first used and after each failure."""

    def __init__(self, dsn: str, path: str) -> None:
        self._dsn = dsn
        self._path = path
        self._connection: Connection | None = None

    def close(self) -> None:
        """End the session."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def write(
        self, rule: Rule, alerts: Sequence[StampedAlert], letters: Sequence[DeadLetter], topic_id: str
    ) -> Written:
        """Store alerts (in the order of their positions) and dead letters in one transaction."""
        written = Written()
        with self._transaction() as cursor:
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
        return written

    def incarnations(self, topic: str, topic_id: str) -> list[Incarnation]:
        """The sources behind a topic, first one first; an unknown topic is noted as incarnation 1.

        Raises ForeignCheckpoint when the topic was deleted and created anew since.
        """
        with self._transaction() as cursor:
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
                f"deleted and created anew, so positions and offsets do not compare. {START_AFRESH}"
            )
        return [one for one in found if one.topic_id == topic_id]

    def take(self, key: PartitionKey, partitions: int, buckets: int) -> Checkpoint:
        """Become the owner of a partition: the epoch is raised and committed *before* state is read."""
        names = [self._path, key.rule, key.rule_version, key.topic_id, key.partition]
        with self._transaction() as cursor:
            cursor.execute(
                "INSERT INTO checkpoints (path, rule, rule_version, topic_id, partition, epoch, partitions, buckets) "
                "VALUES (%s, %s, %s, %s, %s, 1, %s, %s) "
                "ON CONFLICT (path, rule, rule_version, topic_id, partition) "
                "DO UPDATE SET epoch = checkpoints.epoch + 1 RETURNING epoch, next_offset, partitions, buckets",
                [*names, partitions, buckets],
            )
            epoch, next_offset, known_partitions, known_buckets = cursor.fetchone() or (0, None, 0, 0)
        if (known_partitions, known_buckets) != (partitions, buckets):
            raise ForeignCheckpoint(
                f"the checkpoint of {key.rule} was made with {known_partitions} partitions and {known_buckets} "
                f"buckets, found {partitions} and {buckets} (STATE_BUCKETS): users would be looked up in the wrong "
                "place. Put the former numbers back, or start a new rule version"
            )
        where = "path = %s AND rule = %s AND rule_version = %s AND topic_id = %s AND partition = %s"
        with self._transaction() as cursor:
            cursor.execute(f"SELECT bucket, state FROM state_buckets WHERE {where}", names)  # noqa: S608  constant
            states = {bucket: bytes(state) for bucket, state in cursor.fetchall()}
            cursor.execute(f"SELECT name, value FROM counters WHERE {where}", names)  # noqa: S608  constant
            counters = Counter(dict(cursor.fetchall()))
        return Checkpoint(epoch, next_offset, states, counters)

    def save(
        self,
        key: PartitionKey,
        epoch: int,
        next_offset: int,
        states: Mapping[int, bytes],
        counters: Mapping[str, int],
    ) -> None:
        """Changed buckets, offset and counters in one transaction; OwnershipLost when the epoch moved on."""
        names = (self._path, key.rule, key.rule_version, key.topic_id, key.partition)
        with self._transaction() as cursor:
            cursor.execute(
                "UPDATE checkpoints SET next_offset = %s, updated_at = now() WHERE path = %s AND rule = %s "
                "AND rule_version = %s AND topic_id = %s AND partition = %s AND epoch = %s",
                [next_offset, *names, epoch],
            )
            if cursor.rowcount != 1:
                raise OwnershipLost(
                    f"partition {key.partition} of rule {key.rule}: epoch {epoch} is no longer the newest, another "
                    "process owns it; this checkpoint was refused"
                )
            execute_values(
                cursor,
                "INSERT INTO state_buckets (path, rule, rule_version, topic_id, partition, bucket, state) VALUES %s "
                "ON CONFLICT (path, rule, rule_version, topic_id, partition, bucket) "
                "DO UPDATE SET state = excluded.state",
                [(*names, bucket, state) for bucket, state in states.items()],
            )
            execute_values(
                cursor,
                "INSERT INTO counters (path, rule, rule_version, topic_id, partition, name, value) VALUES %s "
                "ON CONFLICT (path, rule, rule_version, topic_id, partition, name) "
                "DO UPDATE SET value = excluded.value",
                [(*names, name, value) for name, value in counters.items()],
            )

    def _insert(self, cursor: Cursor, alerts: Sequence[StampedAlert], written: Written) -> None:
        if not alerts:
            return
        rows = [_row(self._path, stamped) for stamped in alerts]
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
                "must give the same alerts: raise the rule's code version if its code was changed"
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
                "INSERT INTO dead_letters (path, rule, topic_id, partition, kafka_offset, reason, record_key, "
                "record_value, value_bytes) VALUES %s ON CONFLICT DO NOTHING",
                [
                    (
                        *(self._path, rule.name, topic_id, letter.partition, letter.offset),
                        letter.reason.replace("\x00", "\\x00"),
                        None if letter.key is None else letter.key[:KEPT_BYTES],
                        None if letter.value is None else letter.value[:KEPT_BYTES],
                        None if letter.value is None else len(letter.value),
                    )
                    for letter in letters
                ],
            )

    @contextmanager
    def _transaction(self) -> Iterator[Cursor]:
        """One transaction; a session that failed is dropped, so that the next call opens a new one."""
        try:
            if self._connection is None:
                self._connection = connect(self._dsn)
            with self._connection, self._connection.cursor() as cursor:
                yield cursor
        except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
            self._drop()
            raise AlertStoreUnavailable(f"alert store: {_first_line(error)}") from None
        except psycopg2.errors.UndefinedTable as error:
            raise ServiceFault(f"alert store: {_first_line(error)}. Run: twinpath up") from None
        except psycopg2.Error as error:
            self._drop()
            raise ServiceFault(f"alert store: {_first_line(error)} ({error.pgcode})") from None

    def _drop(self) -> None:
        if self._connection is not None:
            try:
                self._connection.close()
            finally:
                self._connection = None


def connect(dsn: str) -> Connection:
    """Open a session; ConfigurationError for what trying again cannot mend."""
    if not dsn.strip():
        raise ConfigurationError(
            "ALERTS_DSN is empty, wanted the DSN of the alert store. `twinpath env --export` prints one"
        )
    try:
        return psycopg2.connect(
            dsn,
            connect_timeout=CONNECT_TIMEOUT_S,
            keepalives_idle=5,
            keepalives_interval=2,
            keepalives_count=3,
            application_name="twinpath",
            options=f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c timezone=UTC",
        )
    except psycopg2.ProgrammingError as error:
        raise ConfigurationError(f"ALERTS_DSN is no DSN: {_first_line(error)}") from None
    except psycopg2.OperationalError as error:
        final = ("password authentication failed", "does not exist", "no password supplied")
        if any(words in str(error) for words in final):
            raise ConfigurationError(f"ALERTS_DSN: {_first_line(error)}") from None
        raise


def digest(alert: Alert) -> str:
    """A hash of what an alert says: status, score, reason and features."""
    content = (alert.status, alert.score, alert.reason, alert.features)
    return blake2b(msgspec.json.encode(content, order="deterministic"), digest_size=16).hexdigest()


def read_alerts(cursor: Cursor, path: str, rule: str, rule_version: str) -> list[Alert]:
    """The alert log of one rule on one path, in order of position."""
    cursor.execute(
        "SELECT user_id, tx_id, incarnation, previous_commit_lsn, row_lsn, op, status, score, reason, features, "
        "source_xid FROM alert_log WHERE path = %s AND rule = %s AND rule_version = %s "
        "ORDER BY incarnation, previous_commit_lsn, row_lsn",
        [path, rule, rule_version],
    )
    return [
        Alert(
            rule=rule,
            rule_version=rule_version,
            user_id=row[0],
            tx_id=row[1],
            position=Position(*row[2:5]),
            op=row[5],
            status=row[6],
            score=row[7],
            reason=row[8],
            features=row[9],
            source_xid=row[10],
        )
        for row in cursor.fetchall()
    ]


def _row(path: str, stamped: StampedAlert) -> tuple[Any, ...]:
    alert, stamps = stamped.alert, stamped.stamps
    return (
        *(path, alert.rule, alert.rule_version, alert.user_id, alert.tx_id, *alert.position),
        *(alert.op, alert.status, alert.score, alert.reason),
        Json(alert.features, dumps=lambda value: json.dumps(value, sort_keys=True)),
        *(digest(alert), alert.source_xid),
        *(_time(stamp) for stamp in (stamps.committed_us, stamps.captured_us, stamps.appended_us)),
        *(_time(stamp) for stamp in (stamps.polled_us, stamps.decided_us)),
    )


def _time(stamp_us: int | None) -> datetime | None:
    return None if stamp_us is None else EPOCH_START + timedelta(microseconds=stamp_us)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
