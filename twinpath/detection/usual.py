"""The fast route for the usual record, used only when certain to give what the general route gives.

The general route, also called the definition, is `EnvelopeDecoder.define`.
"""

import msgspec

from twinpath.detection.fields import LARGEST, TimeUnit, decimal_cents, iso_us, microseconds
from twinpath.detection.model import Change, Op, Position, Transaction
from twinpath.detection.record import MAX_VALUE_BYTES, EnvelopeFormat

_SPACE, _TAB, _NEWLINE, _RETURN = b" \t\n\r"
_FlatObject = dict[str, str | int | float | bool | None]


class _UsualSource(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """Exactly the fields that Debezium 3.7 writes: their number is part of `_each_key_once`.

    Releases before 3.7 write no origin: a field that is not there is UNSET, and not counted.
    """

    version: str
    connector: str
    name: str
    ts_ms: int
    snapshot: str | None  # null for a change of the log, as NULL stays NULL there
    db: str
    sequence: str
    ts_us: int
    ts_ns: int
    schema: str
    table: str
    txId: int
    lsn: int
    xmin: int | None
    origin: str | None | msgspec.UnsetType = msgspec.UNSET
    origin_lsn: int | None | msgspec.UnsetType = msgspec.UNSET


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


class UnusualRecord(Exception):
    """The usual route is not certain of this record; no error, the definition decides."""


def usual_change(key: bytes, value: bytes, incarnation: int, fmt: EnvelopeFormat) -> Change:
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
        raise UnusualRecord
    unit = fmt.event_time_unit
    before = after = None
    if op != "d":
        row = after = _usual_row(event.after, unit)
        if op == "u" and event.before is not None:
            before = _usual_row(event.before, unit)
            if before.tx_id != row.tx_id or before.user_id != row.user_id:
                raise UnusualRecord
    else:
        row = before = _usual_row(event.before, unit)
    if key != b'{"user_id":%d}' % row.user_id:
        raise UnusualRecord
    where = _usual_position(source.sequence, incarnation)
    return Change(op, row.user_id, row.tx_id, where, before, after, xid, committed_us, captured_us)


def _each_key_once(value: bytes, event: _UsualEnvelope) -> bool:
    """Whether the bytes are of a permitted size and provably write no key twice.

    Every key is followed by a colon. With no white space before any colon, `":` occurs at least once for
    each key that is written; so if it occurs exactly as often as there are keys left after parsing, none
    was written twice. msgspec has checked everything else, UTF-8 too, as it skipped nothing.
    """
    source = event.source
    keys = _OWN_KEYS - (source.origin is msgspec.UNSET) - (source.origin_lsn is msgspec.UNSET)
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
        raise UnusualRecord
    # tuple.__new__ is what Position(...) does, at half the price
    return _new_tuple(Position, (incarnation, previous, row))


def _usual_row(row: _FlatObject | None, unit: TimeUnit) -> Transaction:
    if row is None:
        raise UnusualRecord
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
            raise UnusualRecord
        if 0 <= numbers <= LARGEST:
            return Transaction(tx_id, user_id, decimal_cents(amount, ""), created_us, merchant_id)
    raise UnusualRecord
