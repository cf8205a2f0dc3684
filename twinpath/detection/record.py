"""The parts of a record, and the changes they make: its declared format, its key, its row images, its stamps."""

from typing import Final, NamedTuple, cast

import msgspec

from twinpath.detection.fields import (
    Object,
    TimeUnit,
    cents,
    integer,
    microseconds,
    optional_integer,
    parse_json,
    refused,
    take,
)
from twinpath.detection.model import Change, Op, Position, Transaction

MAX_VALUE_BYTES: Final = 4 * 1024 * 1024
_USED_COLUMNS = ("id", "user_id", "amount", "created_at")  # merchant_id is optional


class EnvelopeFormat(msgspec.Struct, frozen=True):
    """What the reader declares about the topic; `database` None accepts any.

    `event_time_unit` is that of an integer created_at. `amount_scale` declares that amounts are base64
    (decimal.handling.mode=precise); a schema inside the message knows better. `flattened` declares
    ExtractNewRecordState with add.fields=op,source.sequence.
    """

    database: str | None = None
    schema: str = "public"
    table: str = "transactions"
    event_time_unit: TimeUnit = "us"
    amount_scale: int | None = None
    flattened: bool = False


class Labels(NamedTuple):
    """What the parts of a message are called in errors: `source.sequence` or `__source_sequence`."""

    event: str = ""
    source: str = "source."
    before: str = "before."
    after: str = "after."


class Event(NamedTuple):
    """A message whose parts are found but not yet read."""

    op: object
    before: object
    after: object
    source: Object
    captured: Object
    labels: Labels


def unwrapped(tree: object, label: str = "") -> tuple[object, object]:
    """(message, its schema) of a record with or without {"schema", "payload"} around it."""
    if not isinstance(tree, dict) or not tree or not tree.keys() <= {"schema", "payload"}:
        return tree, None
    if "payload" not in tree:
        raise refused(label + "payload", None, "the message that belongs to the schema")
    return take(tree, "payload", label), take(tree, "schema", label)


class _Key(NamedTuple):
    user_id: int
    tx_id: int | None


def key_object(key: bytes | None) -> Object:
    wanted = "a JSON object with user_id (message.key.columns)"
    if key is None:
        raise refused("key", None, wanted)
    columns, _ = unwrapped(parse_json(key, "key"), "key.")
    if not isinstance(columns, dict):
        raise refused("key", columns, wanted)
    return columns


def record_key(key: bytes | None) -> _Key:
    columns = key_object(key)
    user_id = integer(take(columns, "user_id", "key."), "key.user_id")
    return _Key(user_id, optional_integer(take(columns, "id", "key."), "key.id"))


def _agree(key: _Key, user_id: int | None, tx_id: int) -> None:
    if user_id is not None and user_id != key.user_id:
        raise refused("key.user_id", key.user_id, f"the row's user_id, {user_id}")
    if key.tx_id is not None and key.tx_id != tx_id:
        raise refused("key.id", key.tx_id, f"the row's id, {tx_id}")


class _Image(NamedTuple):
    """What a before-image tells: all of the row, its identity only, or nothing."""

    tx_id: int | None = None
    user_id: int | None = None
    row: Transaction | None = None


class RowReader(NamedTuple):
    unit: TimeUnit
    scale: int | None

    def whole(self, row: object, label: str) -> Transaction:
        """A row of which every used column is there."""
        if not isinstance(row, dict):
            raise refused(label.rstrip("."), row, "a row")
        return Transaction(
            integer(take(row, "id", label), label + "id"),
            integer(take(row, "user_id", label), label + "user_id"),
            cents(take(row, "amount", label), label + "amount", self.scale),
            microseconds(take(row, "created_at", label), label + "created_at", self.unit),
            optional_integer(take(row, "merchant_id", label), label + "merchant_id"),
        )

    def image(self, row: object, label: str) -> _Image:
        """Without REPLICA IDENTITY FULL the before-image is null, or null but for the primary key."""
        if row is None:
            return _Image()
        if isinstance(row, dict) and any(row.get(name) is None for name in _USED_COLUMNS):
            tx_id = optional_integer(take(row, "id", label), label + "id")
            return _Image(tx_id, optional_integer(take(row, "user_id", label), label + "user_id"))
        whole = self.whole(row, label)
        return _Image(whole.tx_id, whole.user_id, whole)


def changes(event: Event, key: _Key, where: Position, rows: RowReader) -> tuple[Change, ...]:
    before_label, after_label = event.labels.before, event.labels.after
    stamps = _stamps(event)
    if event.op == "d":
        gone = rows.image(event.before, before_label)
        tx_id = key.tx_id if gone.tx_id is None else gone.tx_id
        if tx_id is None:
            raise refused(before_label + "id", None, "it (REPLICA IDENTITY FULL), or id and user_id in the key")
        _agree(key, gone.user_id, tx_id)
        return (Change("d", key.user_id, tx_id, where, gone.row, None, *stamps),)
    row = rows.whole(event.after, after_label)
    _agree(key, row.user_id, row.tx_id)
    if event.op != "u":
        return (Change(cast(Op, event.op), row.user_id, row.tx_id, where, None, row, *stamps),)
    old = rows.image(event.before, before_label)
    if old.user_id is not None and old.user_id != row.user_id:
        # With user_id in the key Debezium writes a delete under the old and an insert under the new key.
        wanted = f"{row.user_id} as in after; the topic is not keyed by user_id (message.key.columns)"
        raise refused(before_label + "user_id", old.user_id, wanted)
    if old.tx_id is None or old.tx_id == row.tx_id:
        return (Change("u", row.user_id, row.tx_id, where, old.row, row, *stamps),)
    return (  # a new primary key: what Debezium does itself when the topic is keyed by it
        Change("d", row.user_id, old.tx_id, where, old.row, None, *stamps),
        Change("c", row.user_id, row.tx_id, where, None, row, *stamps),
    )


def _stamps(event: Event) -> tuple[int | None, int | None, int | None]:
    """(source_xid, committed_us, captured_us)"""
    labels = event.labels
    xid = optional_integer(take(event.source, "txId", labels.source), labels.source + "txId")
    return xid, _clock_us(event.source, labels.source), _clock_us(event.captured, labels.event)


def _clock_us(found: Object, label: str) -> int | None:
    us = optional_integer(take(found, "ts_us", label), label + "ts_us")
    if us is not None:
        return us
    ms = optional_integer(take(found, "ts_ms", label), label + "ts_ms")
    return None if ms is None else integer(ms * 1000, label + "ts_ms")
