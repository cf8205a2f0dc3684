"""Debezium's records -> changes of our table: the one decoder of every path that reads the log.

The *definition* reads any supported shape with the standard library. The *usual* route reads what our
own connector writes, several times faster, and steps aside unless it is certain to give the same.
"""

from typing import Final, NamedTuple, TypeAlias, cast

import msgspec

from twinpath.detection.fields import (
    LARGEST,
    Object,
    TimeUnit,
    cents,
    decimal_cents,
    integer,
    iso_us,
    microseconds,
    optional_integer,
    parse_json,
    position,
    refused,
    take,
)
from twinpath.detection.model import Change, Op, Position, Skipped, Transaction
from twinpath.errors import DecodeError

_SPACE, _TAB, _NEWLINE, _RETURN = b" \t\n\r"
MAX_VALUE_BYTES: Final = 4 * 1024 * 1024
_ROW_OPS = frozenset(("c", "u", "d", "r"))
_USED_COLUMNS = ("id", "user_id", "amount", "created_at")  # merchant_id is optional
_SCALE_DIGITS = 5  # NUMERIC reaches 16383
_KAFKA_DECIMAL = "org.apache.kafka.connect.data.Decimal"


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


Decoded: TypeAlias = tuple[Change, ...] | Skipped
_OUR_CONNECTOR = EnvelopeFormat()


class _Labels(NamedTuple):
    """What the parts of a message are called in errors: `source.sequence` or `__source_sequence`."""

    event: str = ""
    source: str = "source."
    before: str = "before."
    after: str = "after."


_ENVELOPE = _Labels()
_FLATTENED = _Labels("__", "__source_", "", "")


class _Event(NamedTuple):
    """A message whose parts are found but not yet read."""

    op: object
    before: object
    after: object
    source: Object
    captured: Object
    labels: _Labels


_FlatObject = dict[str, str | int | float | bool | None]


class _UsualSource(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """Exactly the fields that Debezium 3.7 writes: their number is part of `_each_key_once`."""

    version: str
    connector: str
    name: str
    ts_ms: int
    snapshot: str
    db: str
    sequence: str
    ts_us: int
    ts_ns: int
    schema: str
    table: str
    txId: int
    lsn: int
    xmin: int | None


class _UsualEnvelope(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """Exactly the fields that Debezium 3.7 writes, as in `_UsualSource`."""

    before: _FlatObject | None
    after: _FlatObject | None
    source: _UsualSource
    transaction: _FlatObject | None
    op: Op
    ts_ms: int
    ts_us: int
    ts_ns: int


_usual_envelope = msgspec.json.Decoder(_UsualEnvelope).decode
_two_numbers = msgspec.json.Decoder(tuple[int, int], strict=False).decode  # '["1","2"]'
_new_tuple = tuple.__new__
_USUAL_LSN = 2**59  # below the 18 digits of the definition
_OWN_KEYS = len(_UsualEnvelope.__struct_fields__) + len(_UsualSource.__struct_fields__)


class _UnusualRecord(Exception):
    """The usual route is not certain of this record; no error, the definition decides."""


def _usual_change(key: bytes, value: bytes, incarnation: int, fmt: EnvelopeFormat) -> Change:
    """The change that the definition gives, or any error: then the definition has to look."""
    event = _usual_envelope(value)
    source, op, captured_us = event.source, event.op, event.ts_us
    xid, committed_us = source.txId, source.ts_us
    if (
        not _each_key_once(value, event)
        or source.table != fmt.table
        or source.schema != fmt.schema
        or (fmt.database is not None and source.db != fmt.database)
        or not 0 <= xid | committed_us | captured_us <= LARGEST  # one comparison for the three
    ):
        raise _UnusualRecord
    unit = fmt.event_time_unit
    before = after = None
    if op != "d":
        row = after = _usual_row(event.after, unit)
        if op == "u" and event.before is not None:
            before = _usual_row(event.before, unit)
            if before.tx_id != row.tx_id or before.user_id != row.user_id:
                raise _UnusualRecord
    else:
        row = before = _usual_row(event.before, unit)
    if key != b'{"user_id":%d}' % row.user_id:
        raise _UnusualRecord
    where = _usual_position(source.sequence, incarnation)
    return Change(op, row.user_id, row.tx_id, where, before, after, xid, committed_us, captured_us)


def _each_key_once(value: bytes, event: _UsualEnvelope) -> bool:
    """Whether the bytes are of a permitted size and provably write no key twice.

    Every key is followed by a colon. With no white space before any colon, `":` occurs at least once for
    each key that is written; so if it occurs exactly as often as there are keys left after parsing, none
    was written twice. msgspec has checked everything else, UTF-8 too, as it skipped nothing.
    """
    keys = _OWN_KEYS
    for part in (event.after, event.before, event.transaction):
        if part is not None:
            keys += len(part)
    return (
        value.count(b'":') == keys
        and (_SPACE not in value or b" :" not in value)
        and _NEWLINE not in value
        and _RETURN not in value
        and _TAB not in value
        and len(value) <= MAX_VALUE_BYTES
    )


def _usual_position(sequence: str, incarnation: int) -> Position:
    previous, row = _two_numbers(sequence)
    if sequence != f'["{previous}","{row}"]' or not 0 <= previous | row <= _USUAL_LSN:
        raise _UnusualRecord
    # tuple.__new__ is what Position(...) does, at half the price
    return _new_tuple(Position, (incarnation, previous, row))


def _usual_row(row: _FlatObject | None, unit: TimeUnit) -> Transaction:
    if row is None:
        raise _UnusualRecord
    tx_id, user_id, amount, created, merchant_id = (
        row["id"], row["user_id"], row["amount"], row["created_at"], row.get("merchant_id")
    )  # fmt: skip
    if type(tx_id) is int and type(user_id) is int and type(amount) is str:
        created_us = iso_us(created, "") if type(created) is str else microseconds(created, "", unit)
        if merchant_id is None:
            numbers = tx_id | user_id
        elif type(merchant_id) is int:
            numbers = tx_id | user_id | merchant_id
        else:
            raise _UnusualRecord
        if 0 <= numbers <= LARGEST:
            return Transaction(tx_id, user_id, decimal_cents(amount, ""), created_us, merchant_id)
    raise _UnusualRecord


def key_columns(key: bytes | None) -> frozenset[str]:
    """Names of the columns in a record key; DecodeError if the key is no JSON object."""
    return frozenset(_key_object(key))


class EnvelopeDecoder:
    """Decodes the records of one topic; nothing is kept from one record to the next."""

    def __init__(self, fmt: EnvelopeFormat = _OUR_CONNECTOR) -> None:
        self._format = fmt
        self._declares_base64 = fmt.amount_scale is not None

    def decode(self, key: bytes | None, value: bytes | None, incarnation: int = 1) -> Decoded:
        """One change, or two (delete, insert) when an update moved the primary key, or why it is none.

        `incarnation` is the first number of the positions. Raises DecodeError.
        """
        if key is None or value is None or self._declares_base64:
            return self.define(key, value, incarnation)
        try:
            return (_usual_change(key, value, incarnation, self._format),)
        except (_UnusualRecord, DecodeError, msgspec.MsgspecError, LookupError, ValueError, RecursionError):
            return self.define(key, value, incarnation)

    def define(self, key: bytes | None, value: bytes | None, incarnation: int = 1) -> Decoded:
        """The definition: what `decode` must give for every value, however it finds it."""
        if value is None:
            return Skipped("tombstone")
        if len(value) > MAX_VALUE_BYTES:
            raise refused("value", f"{len(value)} bytes", f"at most {MAX_VALUE_BYTES} bytes")
        message, schema = _unwrapped(parse_json(value, "value"))
        if message is None:
            return Skipped("null value")
        if not isinstance(message, dict):
            raise refused("value", message, "a JSON object")
        skipped = _housekeeping(message)
        if skipped is None:
            event = self._event(message)
            skipped = self._no_row(event)
        if skipped is not None:
            return skipped
        label = event.labels.source
        where = position(take(event.source, "sequence", label), incarnation, label + "sequence")
        rows = _RowReader(self._format.event_time_unit, _amount_scale(schema, self._format.amount_scale))
        return _changes(event, _key(key), where, rows)

    def _event(self, message: Object) -> _Event:
        if "op" not in message and not message.keys() & {"source", "before", "after"}:
            if self._format.flattened:
                return _flattened(message)
            wanted = "a Debezium envelope, or flattened records (ExtractNewRecordState) declared"
            raise refused("op", f"an object of {sorted(message)}", wanted)
        op, before, after, source = (take(message, name, "") for name in ("op", "before", "after", "source"))
        if not isinstance(source, dict):
            raise refused("source", source, "an object")
        return _Event(op, before, after, source, message, _ENVELOPE)

    def _no_row(self, event: _Event) -> Skipped | None:
        if event.op == "m":
            return Skipped("message")  # pg_logical_emit_message belongs to no table
        if type(event.op) is not str or (event.op not in _ROW_OPS and event.op != "t"):
            raise refused(event.labels.event + "op", event.op, "one of c, u, d, r, t, m")
        fmt = self._format
        for name, wanted in (("db", fmt.database), ("schema", fmt.schema), ("table", fmt.table)):
            if wanted is None or (event.labels is _FLATTENED and name not in event.source):
                continue  # a flattened record tells its origin only on request
            found = take(event.source, name, event.labels.source)
            if type(found) is not str:
                raise refused(event.labels.source + name, found, wanted)
            if found != wanted:
                return Skipped(f"another {'database' if name == 'db' else name}: {found[:80]}", alarm=True)
        return Skipped("truncate", alarm=True) if event.op == "t" else None


def _housekeeping(message: Object) -> Skipped | None:
    if message and message.keys() <= {"ts_ms", "ts_us", "ts_ns"}:
        return Skipped("heartbeat")
    if "op" not in message and "event_count" in message and message.get("status") in ("BEGIN", "END"):
        return Skipped("transaction metadata")
    return None


def _unwrapped(tree: object, label: str = "") -> tuple[object, object]:
    """(message, its schema) of a record with or without {"schema", "payload"} around it."""
    if not isinstance(tree, dict) or not tree or not tree.keys() <= {"schema", "payload"}:
        return tree, None
    if "payload" not in tree:
        raise refused(label + "payload", None, "the message that belongs to the schema")
    return take(tree, "payload", label), take(tree, "schema", label)


def _flattened(row: Object) -> _Event:
    """The row of ExtractNewRecordState as an event; its metadata stand beside the columns."""
    op, deleted = take(row, "__op", ""), take(row, "__deleted", "")
    for name in ("__op", "__source_sequence"):
        if take(row, name, "") is None:
            raise refused(name, None, "it in each flattened record (add.fields=op,source.sequence)")
    if deleted is not None and (deleted in ("true", True)) != (op == "d"):
        raise refused("__deleted", deleted, f"what agrees with __op {op!r}")
    names = ("sequence", "txId", "ts_us", "ts_ms", "db", "schema", "table")
    source = {name: take(row, "__source_" + name, "") for name in names if "__source_" + name in row}
    captured = {name: take(row, "__" + name, "") for name in ("ts_us", "ts_ms")}
    return _Event(op, row if op == "d" else None, row, source, captured, _FLATTENED)


def _amount_scale(schema: object, declared: int | None) -> int | None:
    """The scale of base64 amounts, None if amounts are text; a schema in the message decides."""
    amount = _schema_field(_schema_field(schema, "after") or schema, "amount")
    if amount is None:
        return declared
    if amount.get("name") != _KAFKA_DECIMAL:
        return None
    parameters = amount.get("parameters")
    scale = parameters.get("scale") if isinstance(parameters, dict) else None
    if isinstance(scale, str) and scale.isascii() and scale.isdigit() and len(scale) <= _SCALE_DIGITS:
        return int(scale)
    raise refused("schema.amount.parameters.scale", scale, "the number of decimals")


def _schema_field(schema: object, name: str) -> Object | None:
    fields = schema.get("fields") if isinstance(schema, dict) else None
    if isinstance(fields, list):
        for field in fields:
            if isinstance(field, dict) and field.get("field") == name:
                return field
    return None


class _Key(NamedTuple):
    user_id: int
    tx_id: int | None


def _key_object(key: bytes | None) -> Object:
    wanted = "a JSON object with user_id (message.key.columns)"
    if key is None:
        raise refused("key", None, wanted)
    columns, _ = _unwrapped(parse_json(key, "key"), "key.")
    if not isinstance(columns, dict):
        raise refused("key", columns, wanted)
    return columns


def _key(key: bytes | None) -> _Key:
    columns = _key_object(key)
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


class _RowReader(NamedTuple):
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


def _changes(event: _Event, key: _Key, where: Position, rows: _RowReader) -> tuple[Change, ...]:
    before_label, after_label = event.labels.before, event.labels.after
    stamps = _stamps(event)
    if event.op == "d":
        gone = rows.image(event.before, before_label)
        tx_id = key.tx_id if gone.tx_id is None else gone.tx_id
        if tx_id is None:
            raise refused(
                before_label + "id", None, "it (REPLICA IDENTITY FULL), or id and user_id in the key"
            )
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


def _stamps(event: _Event) -> tuple[int | None, int | None, int | None]:
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
