"""Debezium's records -> changes of our table: the one decoder of every path that reads the log.

The *definition* reads any supported shape with the standard library. The *usual* route reads what our
own connector writes, several times faster, and steps aside unless it is certain to give the same.
"""

from typing import TypeAlias

import msgspec

from twinpath.detection.fields import Object, parse_json, position, refused, take
from twinpath.detection.model import Change, Skipped
from twinpath.detection.record import (
    MAX_VALUE_BYTES,
    EnvelopeFormat,
    Event,
    Labels,
    RowReader,
    changes,
    key_object,
    record_key,
    unwrapped,
)
from twinpath.detection.usual import UnusualRecord, usual_change
from twinpath.errors import DecodeError

__all__ = ["MAX_VALUE_BYTES", "Decoded", "EnvelopeDecoder", "EnvelopeFormat", "key_columns"]

_ROW_OPS = frozenset(("c", "u", "d", "r"))
_SCALE_DIGITS = 5  # NUMERIC reaches 16383
_KAFKA_DECIMAL = "org.apache.kafka.connect.data.Decimal"

Decoded: TypeAlias = tuple[Change, ...] | Skipped
_OUR_CONNECTOR = EnvelopeFormat()
_ENVELOPE = Labels()
_FLATTENED = Labels("__", "__source_", "", "")


def key_columns(key: bytes | None) -> frozenset[str]:
    """Names of the columns in a record key; DecodeError if the key is no JSON object."""
    return frozenset(key_object(key))


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
            return (usual_change(key, value, incarnation, self._format),)
        except (UnusualRecord, DecodeError, msgspec.MsgspecError, LookupError, ValueError, RecursionError):
            return self.define(key, value, incarnation)

    def define(self, key: bytes | None, value: bytes | None, incarnation: int = 1) -> Decoded:
        """The definition: what `decode` must give for every value, however it finds it."""
        if value is None:
            return Skipped("tombstone")
        if len(value) > MAX_VALUE_BYTES:
            raise refused("value", f"{len(value)} bytes", f"at most {MAX_VALUE_BYTES} bytes")
        message, schema = unwrapped(parse_json(value, "value"))
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
        rows = RowReader(self._format.event_time_unit, _amount_scale(schema, self._format.amount_scale))
        return changes(event, record_key(key), where, rows)

    def _event(self, message: Object) -> Event:
        if "op" not in message and not message.keys() & {"source", "before", "after"}:
            if self._format.flattened:
                return _flattened(message)
            wanted = "a Debezium envelope, or flattened records (ExtractNewRecordState) declared"
            raise refused("op", f"an object of {sorted(message)}", wanted)
        op, before, after, source = (take(message, name, "") for name in ("op", "before", "after", "source"))
        if not isinstance(source, dict):
            raise refused("source", source, "an object")
        return Event(op, before, after, source, message, _ENVELOPE)

    def _no_row(self, event: Event) -> Skipped | None:
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


def _flattened(row: Object) -> Event:
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
    return Event(op, row if op == "d" else None, row, source, captured, _FLATTENED)


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
