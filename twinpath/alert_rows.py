"""What is kept in the alert store, and how an alert becomes a row and back."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec
from psycopg2.extensions import cursor as Cursor
from psycopg2.extras import Json

from twinpath.detection.model import Alert, Position

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


class StatePart(NamedTuple):
    """State of one bucket of users: `part` 0 is the whole bucket and replaces all that was kept of it; part n
    holds the users that changed since part n - 1."""

    bucket: int
    part: int
    data: bytes


class Checkpoint(msgspec.Struct):
    """What `take` found: the new epoch, where to go on, the parts of each bucket in their order, counters."""

    epoch: int
    next_offset: int | None
    states: dict[int, list[bytes]]
    counters: Counter[str]


class Incarnation(msgspec.Struct, frozen=True):
    """One source behind a topic; `first_offsets` says where its records begin in each partition."""

    number: int
    topic_id: str
    first_offsets: dict[int, int]


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


def row_of(path: str, stamped: StampedAlert) -> tuple[Any, ...]:
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
    """A stamp only explains: one beyond the calendar is left out, it stops nobody."""
    try:
        return None if stamp_us is None else EPOCH_START + timedelta(microseconds=stamp_us)
    except OverflowError:
        return None
