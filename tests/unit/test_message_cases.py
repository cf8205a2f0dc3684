"""Every message of the catalogue of bad inputs (cases 1 to 82) and what becomes of it.

A: accepted with exactly these values; S: skipped for exactly this reason; D: dead letter naming this field.
Cases 81 (a codec that is absent) and 82 (aborted transactions) never reach a decoder: they are in
tests/integration/test_change_log.py.
"""

import inspect
import json
from dataclasses import dataclass, field

import pytest

from twinpath.detection.envelope import EnvelopeDecoder, EnvelopeFormat
from twinpath.detection.model import Change, Position, Skipped, Transaction
from twinpath.errors import DecodeError

KEY = b'{"user_id":7}'
ROW = {
    "id": 1,
    "user_id": 7,
    "amount": "12.34",
    "card_type": "visa",
    "merchant_id": 5,
    "created_at": "2026-11-23T05:33:56.123456Z",
}
SOURCE = {
    "version": "3.7.0.Final",
    "connector": "postgresql",
    "name": "dbserver1",
    "ts_ms": 1763876036123,
    "snapshot": "false",
    "db": "mydb",
    "sequence": '["24023128","24023184"]',
    "ts_us": 1763876036123456,
    "ts_ns": 1763876036123456000,
    "schema": "public",
    "table": "transactions",
    "txId": 755,
    "lsn": 24023184,
    "xmin": None,
    "origin": None,
    "origin_lsn": None,
}
CREATED_US = 1795412036123456
PAID = Transaction(tx_id=1, user_id=7, amount_cents=1234, created_us=CREATED_US, merchant_id=5)
WHERE = Position(1, 24023128, 24023184)


def message(op="c", before=None, after=ROW, source=SOURCE):
    return {
        "before": before,
        "after": after,
        "source": source,
        "transaction": None,
        "op": op,
        "ts_ms": 1763876036130,
        "ts_us": 1763876036130123,
        "ts_ns": 1763876036130123456,
    }


def without(found, *names):
    return {name: value for name, value in found.items() if name not in names}


def text(found):
    return json.dumps(found, separators=(",", ":"), ensure_ascii=False).encode()


def row(**columns):
    return text(message(after={**ROW, **columns}))


def raw_row(column, raw):
    """The usual message with the JSON text of one column written as it stands."""
    return row(**{column: "@@"}).replace(b'"@@"', raw)


def wrapped(payload, amount_schema=None):
    amount = amount_schema or {"type": "string", "field": "amount"}
    rows = {"type": "struct", "fields": [{"type": "int64", "field": "id"}, amount]}
    schema = {"type": "struct", "fields": [{**rows, "field": "before"}, {**rows, "field": "after"}]}
    return text({"schema": schema, "payload": payload})


def connect_decimal(scale):
    return {
        "type": "bytes",
        "name": "org.apache.kafka.connect.data.Decimal",
        "parameters": {"scale": scale, "connect.decimal.precision": "10"},
        "field": "amount",
    }


def change(op="c", before=None, after=PAID, position=WHERE, **ids):
    user_id, tx_id = ids.get("user_id", 7), ids.get("tx_id", 1)
    return Change(op, user_id, tx_id, position, before, after, 755, 1763876036123456, 1763876036130123)


def paid(**values):
    named = {name: getattr(PAID, name) for name in PAID.__struct_fields__} | values
    after = Transaction(**named)
    return change(after=after, tx_id=after.tx_id, user_id=after.user_id)


@dataclass
class Case:
    """A record and what becomes of it: changes (A), a skip (S) or the field at fault (D)."""

    name: str
    value: bytes | None
    becomes: tuple | Skipped | str
    key: bytes | None = KEY
    fmt: EnvelopeFormat = field(default_factory=EnvelopeFormat)

    @property
    def id(self):
        kind = {tuple: "A", Skipped: "S", str: "D"}[type(self.becomes)]
        return f"{self.name}-{kind}"


FLAT = {
    **ROW,
    "__op": "c",
    "__deleted": "false",
    "__source_sequence": '["24023128","24023184"]',
    "__source_txId": 755,
    "__source_ts_us": 1763876036123456,
    "__ts_us": 1763876036130123,
}
FLATTENED = EnvelopeFormat(flattened=True)
SCALED = EnvelopeFormat(amount_scale=2)
BEFORE = {**ROW, "amount": "10.00"}
BEFORE_PAID = Transaction(1, 7, 1000, CREATED_US, 5)
ONLY_ID = {**dict.fromkeys(ROW), "id": 1}
UNAVAILABLE = "__debezium_unavailable_value"
BIG_SKIP = b'"card_type":"' + b"v" * 1_000_000 + b'"'
DOUBLE_AMOUNT = text(message()).replace(b'"amount":"12.34"', b'"amount":"12.34","amount":"99.99"')
DOUBLE_SPACED = text(message()).replace(b'"amount":"12.34"', b'"amount":"12.34","amount" :"99.99"')
DOUBLE_ESCAPED = text(message()).replace(b'"amount":"12.34"', rb'"amount":"12.34","\u0061mount":"99.99"')
DOUBLE_OP = text(message()).replace(b'"op":"c"', b'"op":"c","op":"d"')
DOUBLE_UNREAD = text(message()).replace(b'"card_type":"visa"', b'"card_type":"visa","card_type":"amex"')

CASES = [
    Case("01-null-value", None, Skipped("tombstone")),
    Case("01-null-value-and-key", None, Skipped("tombstone"), key=None),
    Case("02-empty-bytes", b"", "value"),
    Case("03-not-utf8", text(message()).replace(b"visa", b"vi\xff\xfe"), "value"),
    Case("03-column-name-not-utf8", text(message()).replace(b"card_type", b"card\xff"), "value"),
    Case("03-surrogate", text(message()).replace(b"visa", b"vi\xed\xa0\x80"), "value"),
    Case("03-byte-order-mark", b"\xef\xbb\xbf" + text(message()), "value"),
    Case("03-utf16", json.dumps(message()).encode("utf-16"), "value"),
    Case("04-truncated", text(message())[:-1], "value"),
    Case("04-two-documents", text(message()) * 2, "value"),
    Case("05-json-null", b"null", Skipped("null value")),
    Case("06-json-list", b"[]", "value"),
    Case("07-json-number", b"7", "value"),
    Case("08-json-string", b'"c"', "value"),
    Case("09-wrapped", wrapped(message()), (change(),)),
    Case("09-wrapped-key", wrapped(message()), (change(),), key=b'{"schema":{},"payload":{"user_id":7}}'),
    Case("10-unwrapped", text(message()), (change(),)),
    Case("10-unwrapped-indented", json.dumps(message(), indent=2).encode(), (change(),)),
    Case("12-payload-null", b'{"schema":{},"payload":null}', Skipped("null value")),
    Case("13-payload-missing", b'{"schema":{}}', "payload"),
    Case("14-after-null", text(message(after=None)), "after"),
    Case("14-after-a-list", text(message(after=[1])), "after"),
    Case(
        "15-delete-with-before-image",
        text(message("d", before=BEFORE, after=None)),
        (change("d", before=BEFORE_PAID, after=None),),
    ),
    Case("15-delete-with-key-only", text(message("d", after=None)), "before.id"),
    Case(
        "15-delete-whose-key-suffices",
        text(message("d", after=None)),
        (change("d", after=None),),
        key=b'{"id":1,"user_id":7}',
    ),
    Case(
        "15-delete-with-only-an-id-in-before",
        text(message("d", before=ONLY_ID, after=None)),
        (change("d", after=None),),
    ),
    Case("16-snapshot-row", text(message("r")), (change("r"),)),
    Case(
        "17-update",
        text(message("u", before=BEFORE)),
        (change("u", before=BEFORE_PAID),),
    ),
    Case("17-update-without-before", text(message("u")), (change("u"),)),
    Case("17-update-with-only-an-id-in-before", text(message("u", before=ONLY_ID)), (change("u"),)),
    Case("17-update-of-a-bad-before", text(message("u", before={**ROW, "amount": "x"})), "before.amount"),
    Case(
        "18-user-changed-delete-under-the-old-key",
        text(message("d", before={**ROW, "user_id": 6}, after=None)),
        (change("d", before=Transaction(1, 6, 1234, CREATED_US, 5), after=None, user_id=6),),
        key=b'{"user_id":6}',
    ),
    Case("18-user-changed-insert-under-the-new-key", text(message("c")), (change("c"),)),
    Case("18-user-changed-in-one-update", text(message("u", before={**ROW, "user_id": 6})), "before.user_id"),
    Case(
        "18-id-changed",
        text(message("u", before={**BEFORE, "id": 4})),
        (change("d", before=Transaction(4, 7, 1000, CREATED_US, 5), after=None, tx_id=4), change("c")),
    ),
    Case(
        "18-id-changed-only-an-id-in-before",
        text(message("u", before={**ONLY_ID, "id": 4})),
        (change("d", after=None, tx_id=4), change("c")),
    ),
    Case("19-truncate", text(message("t", after=None)), Skipped("truncate", alarm=True), key=None),
    Case(
        "20-message",
        text({**message("m", source={**SOURCE, "table": ""}), "message": {"prefix": "p", "content": "AA=="}}),
        Skipped("message"),
    ),
    Case("21-unknown-op", text(message("x")), "op"),
    Case("22-op-missing", text(without(message(), "op")), "op"),
    Case("23-op-a-number", text(message(1)), "op"),
    Case("24-flattened-not-declared", text(FLAT), "op"),
    Case("24-flattened", text(FLAT), (change(),), fmt=FLATTENED),
    Case(
        "24-flattened-delete",
        text({**FLAT, "__op": "d", "__deleted": "true"}),
        (change("d", before=PAID, after=None),),
        fmt=FLATTENED,
    ),
    Case("24-flattened-no-op", text(without(FLAT, "__op")), "__op", fmt=FLATTENED),
    Case(
        "24-flattened-no-sequence",
        text(without(FLAT, "__source_sequence")),
        "__source_sequence",
        fmt=FLATTENED,
    ),
    Case("24-flattened-contradiction", text({**FLAT, "__deleted": "true"}), "__deleted", fmt=FLATTENED),
    Case("24-flattened-bad-amount", text({**FLAT, "amount": "x"}), "amount", fmt=FLATTENED),
    Case(
        "24-flattened-other-table",
        text({**FLAT, "__source_table": "merchants"}),
        Skipped("another table: merchants", alarm=True),
        fmt=FLATTENED,
    ),
    Case("25-amount-base64", row(amount="AfQ="), "after.amount"),
    Case("25-amount-base64-declared", row(amount="AfQ="), (paid(amount_cents=500),), fmt=SCALED),
    Case(
        "25-amount-base64-schema",
        wrapped(message(after={**ROW, "amount": "AfQ="}), connect_decimal("2")),
        (paid(amount_cents=500),),
    ),
    Case("25-amount-base64-negative", row(amount="/gw="), (paid(amount_cents=-500),), fmt=SCALED),
    # base64 of b"\xd7m\xf8" looks like the number 1234 with a scale of 2: only the scale decides
    Case("25-amount-base64-like-a-number", row(amount="1234"), (paid(amount_cents=-2658824),), fmt=SCALED),
    Case("25-amount-base64-bad", row(amount="12,34"), "after.amount", fmt=SCALED),
    Case("25-amount-text-where-base64-is-declared", row(amount="12.34"), (change(),), fmt=SCALED),
    Case("25-amount-text-with-three-decimals", row(amount="12.345"), "after.amount", fmt=SCALED),
    Case("25-amount-base64-empty", row(amount=""), "after.amount", fmt=SCALED),
    Case("25-amount-base64-only-padding", row(amount="===="), "after.amount", fmt=SCALED),
    Case(
        "25-schema-knows-better-than-the-declaration",
        wrapped(message()),
        (change(),),
        fmt=SCALED,
    ),
    Case(
        "25-schema-without-scale",
        wrapped(message(after={**ROW, "amount": "AfQ="}), connect_decimal(None)),
        "schema.amount.parameters.scale",
    ),
    Case("26-amount-struct", row(amount={"scale": 2, "value": "BNI="}), (change(),)),
    Case("26-amount-struct-scale-0", row(amount={"scale": 0, "value": "DA=="}), (paid(amount_cents=1200),)),
    Case("26-amount-struct-no-scale", row(amount={"value": "BNI="}), "after.amount.scale"),
    Case("26-amount-struct-huge-scale", row(amount={"scale": -(10**9), "value": "AQ=="}), "after.amount"),
    Case("26-amount-struct-no-value", row(amount={"scale": 2}), "after.amount"),
    Case("27-amount-text", row(amount="12.34"), (change(),)),
    Case("27-amount-text-one-decimal", row(amount="12.5"), (paid(amount_cents=1250),)),
    Case("27-amount-text-zeros-behind", row(amount="12.340"), (change(),)),
    Case("28-amount-float", raw_row("amount", b"12.34"), (change(),)),
    Case("28-amount-float-no-double", raw_row("amount", b"99999999.99"), (paid(amount_cents=9999999999),)),
    Case("28-amount-float-3-places", raw_row("amount", b"12.345"), "after.amount"),
    Case("28-amount-integer", raw_row("amount", b"12"), (paid(amount_cents=1200),)),
    Case("29-amount-scientific", row(amount="1E+3"), (paid(amount_cents=100000),)),
    Case("29-amount-scientific-small", row(amount="1234e-2"), (change(),)),
    Case("29-amount-scientific-number", raw_row("amount", b"1.234e1"), (change(),)),
    Case("30-amount-NaN", row(amount="NaN"), "after.amount"),
    Case("30-amount-NAN", row(amount="NAN"), "after.amount"),
    Case("31-amount-Infinity", row(amount="Infinity"), "after.amount"),
    Case("31-amount-POSITIVE_INFINITY", row(amount="POSITIVE_INFINITY"), "after.amount"),
    Case("32-literal-NaN", raw_row("amount", b"NaN"), "value"),
    Case("32-literal-Infinity", raw_row("amount", b"-Infinity"), "value"),
    Case("33-amount-negative", row(amount="-12.34"), (paid(amount_cents=-1234),)),
    Case("34-amount-zero", row(amount="0.00"), (paid(amount_cents=0),)),
    Case("34-amount-zero-E", row(amount="0E+999"), (paid(amount_cents=0),)),
    Case("35-amount-largest", row(amount="99999999.99"), (paid(amount_cents=9999999999),)),
    Case("35-amount-smallest", row(amount="-99999999.99"), (paid(amount_cents=-9999999999),)),
    Case("35-amount-one-cent-more", row(amount="100000000.00"), "after.amount"),
    Case("36-amount-10^400", row(amount="1E400"), "after.amount"),
    Case("36-amount-10^400-number", raw_row("amount", b"1" + b"0" * 400), "after.amount"),
    Case("36-amount-huge-exponent", row(amount="1E+999999999999"), "after.amount"),
    Case("36-amount-tiny-exponent", row(amount="1E-999999999999"), "after.amount"),
    Case("37-amount-300-digits", row(amount="9" * 300), "after.amount"),
    Case("37-amount-5000-digits", row(amount="1" * 5000), "after.amount"),
    Case("38-amount-3-decimals", row(amount="12.345"), "after.amount"),
    Case("39-amount-comma", row(amount="12,34"), "after.amount"),
    Case("39-amount-arabic-digits", row(amount="١٢.٣٤"), "after.amount"),
    Case("39-amount-underscore", row(amount="1_2.34"), "after.amount"),
    Case("39-amount-space", row(amount=" 12.34"), "after.amount"),
    Case("40-amount-empty", row(amount=""), "after.amount"),
    Case("41-amount-null", row(amount=None), "after.amount"),
    Case("42-amount-boolean", row(amount=True), "after.amount"),
    Case("43-user-null", row(user_id=None), "after.user_id"),
    Case("44-user-text", row(user_id="7"), "after.user_id"),
    Case("44-user-boolean", row(user_id=True), "after.user_id", key=b'{"user_id":1}'),
    Case("44-user-float", raw_row("user_id", b"7.0"), "after.user_id"),
    Case("45-user-2^63", row(user_id=2**63), "after.user_id"),
    Case(
        "45-user-largest",
        row(user_id=2**63 - 1),
        (paid(user_id=2**63 - 1),),
        key=b'{"user_id":%d}' % (2**63 - 1),
    ),
    Case("45-user-2^63-in-the-key-too", row(user_id=2**63), "key.user_id", key=b'{"user_id":%d}' % (2**63)),
    Case("45-user-30-digits", row(user_id=10**30), "after.user_id"),
    Case("46-user-negative", row(user_id=-7), (paid(user_id=-7),), key=b'{"user_id":-7}'),
    Case("46-user-smallest", row(user_id=-(2**63)), (paid(user_id=-(2**63)),), key=b'{"user_id":%d}' % -(2**63)),
    Case("47-id-null", row(id=None), "after.id"),
    Case("47-id-2^63", row(id=2**63), "after.id"),
    Case(
        "48-49-same-id-later",
        text(message(source={**SOURCE, "sequence": '["24023184","24023300"]'})),
        (change(position=Position(1, 24023184, 24023300)),),
    ),
    Case(
        "50-created-in-s",
        row(created_at=1795412036),
        (paid(created_us=1795412036000000),),
        fmt=EnvelopeFormat(event_time_unit="s"),
    ),
    Case(
        "51-created-in-ms",
        row(created_at=1795412036123),
        (paid(created_us=1795412036123000),),
        fmt=EnvelopeFormat(event_time_unit="ms"),
    ),
    Case("52-created-in-us", row(created_at=CREATED_US), (change(),)),
    Case(
        "53-created-in-ns",
        row(created_at=CREATED_US * 1000 + 999),
        (change(),),
        fmt=EnvelopeFormat(event_time_unit="ns"),
    ),
    Case("50-created-in-s-not-declared", row(created_at=1795412036), "after.created_at"),
    Case("51-created-in-ms-not-declared", row(created_at=1795412036123), "after.created_at"),
    Case("53-created-in-ns-not-declared", row(created_at=CREATED_US * 1000), "after.created_at"),
    Case(
        "52-created-in-us-where-ms-is-declared",
        row(created_at=CREATED_US),
        "after.created_at",
        fmt=EnvelopeFormat(event_time_unit="ms"),
    ),
    Case("52-created-boolean", row(created_at=True), "after.created_at"),
    Case("52-created-float", raw_row("created_at", b"1795412036123456.0"), "after.created_at"),
    Case("54-created-east", row(created_at="2026-11-23T11:03:56.123456+05:30"), (change(),)),
    Case("54-created-west", row(created_at="2026-11-22T21:33:56.123456-08:00"), (change(),)),
    Case("54-created-no-fraction", row(created_at="2026-11-23T05:33:56Z"), (paid(created_us=1795412036000000),)),
    Case(
        "54-created-short-fraction",
        row(created_at="2026-11-23T05:33:56.1Z"),
        (paid(created_us=1795412036100000),),
    ),
    Case("54-created-ns-are-cut", row(created_at="2026-11-23T05:33:56.123456999Z"), (change(),)),
    Case("54-created-no-zone", row(created_at="2026-11-23T05:33:56.123456"), "after.created_at"),
    Case("54-created-arabic-digit", row(created_at="2026-11-23T05:33:56.12345٦Z"), "after.created_at"),
    Case("54-created-no-such-day", row(created_at="2026-02-29T05:33:56.123456Z"), "after.created_at"),
    Case("54-created-no-such-hour", row(created_at="2026-11-23T24:00:00.000000Z"), "after.created_at"),
    Case("55-year-1970", row(created_at="1970-01-01T00:00:00.000001Z"), (paid(created_us=1),)),
    Case("56-year-9999", row(created_at="9999-12-31T23:59:59.999999Z"), (paid(created_us=253402300799999999),)),
    Case("56-year-10000-in-utc", row(created_at="9999-12-31T23:59:59.9-00:01"), "after.created_at"),
    Case("56-year-1", row(created_at="0001-01-01T00:00:00.000000Z"), (paid(created_us=-62135596800000000),)),
    Case("56-year-0-in-utc", row(created_at="0001-01-01T00:00:00+00:01"), "after.created_at"),
    Case("57-infinity", row(created_at=9223372036825200000), "after.created_at"),
    Case(
        "57-infinity-in-ns",
        row(created_at=9223372036825200000),
        "after.created_at",
        fmt=EnvelopeFormat(event_time_unit="ns"),
    ),
    Case("57-infinity-text", row(created_at="infinity"), "after.created_at"),
    Case("58-negative-infinity", row(created_at=-9223372036832400000), "after.created_at"),
    Case("58-negative-infinity-mirrored", row(created_at=-9223372036825200000), "after.created_at"),
    Case("58-negative-infinity-text", row(created_at="-infinity"), "after.created_at"),
    Case(
        "59-an-hour-after-the-commit",
        row(created_at="2025-11-23T06:33:56.123456Z"),
        (paid(created_us=1763879636123456),),
    ),
    Case(
        "60-five-years-old",
        row(created_at="2020-11-23T05:33:56.123456Z"),
        (paid(created_us=1606109636123456),),
    ),
    Case(
        "61-leap-day",
        row(created_at="2028-02-29T23:59:59.000000Z"),
        (paid(created_us=1835481599000000),),
    ),
    Case(
        "61-dst-fold-first",
        row(created_at="2026-10-25T02:30:00.000000+02:00"),
        (paid(created_us=1792888200000000),),
    ),
    Case(
        "61-dst-fold-second",
        row(created_at="2026-10-25T02:30:00.000000+01:00"),
        (paid(created_us=1792891800000000),),
    ),
    Case("62-unavailable-amount", row(amount=UNAVAILABLE), "after.amount"),
    Case("62-unavailable-user", row(user_id=UNAVAILABLE), "after.user_id"),
    Case("62-unavailable-created", row(created_at=UNAVAILABLE), "after.created_at"),
    Case("62-unavailable-unread", row(card_type=UNAVAILABLE), (change(),)),
    Case("63-unicode-unread", row(card_type="שלום 🎉 e\u0301 \u202evisa"), (change(),)),
    Case("63-NUL-unread", raw_row("card_type", rb'"a\u0000b"'), (change(),)),
    Case("63-lone-surrogate-unread", raw_row("card_type", rb'"a\ud800b"'), (change(),)),
    Case("63-NUL-in-amount", raw_row("amount", rb'"12.34\u0000"'), "after.amount"),
    Case(
        "63-NUL-in-created",
        raw_row("created_at", rb'"2026-11-23T05:33:56.123456\u0000Z"'),
        "after.created_at",
    ),
    Case("64-1MB-card-type", text(message()).replace(b'"card_type":"visa"', BIG_SKIP), (change(),)),
    Case("65-extra-column", row(colour="red", size=1.5e300, tags=["a"], more={"id": 9}), (change(),)),
    Case("65-extra-column-of-5000-digits", raw_row("card_type", b"9" * 5000), (change(),)),
    Case("65-extra-column-beyond-a-double", raw_row("card_type", b"1e999999"), (change(),)),
    Case("66-no-merchant", text(message(after=without(ROW, "merchant_id"))), (paid(merchant_id=None),)),
    Case("66-null-merchant", row(merchant_id=None), (paid(merchant_id=None),)),
    Case("66-merchant-2^63", row(merchant_id=2**63), "after.merchant_id"),
    Case("66-merchant-text", row(merchant_id="5"), "after.merchant_id"),
    Case("66-no-card-type", text(message(after=without(ROW, "card_type"))), (change(),)),
    Case("67-renamed-amount", text(message(after={**without(ROW, "amount"), "sum": "12.34"})), "after.amount"),
    Case("67-renamed-id", text(message(after={**without(ROW, "id"), "tx_id": 1})), "after.id"),
    Case("68-10MB", text(message()).replace(b'"visa"', b'"' + b"v" * 10_000_000 + b'"'), "value"),
    Case("69-5000-deep-lists", raw_row("card_type", b"[" * 5000 + b"]" * 5000), "value"),
    Case("69-5000-deep-objects", raw_row("card_type", b'{"a":' * 5000 + b"1" + b"}" * 5000), "value"),
    Case("69-100-deep", raw_row("card_type", b"[" * 100 + b"]" * 100), "value"),
    Case("69-20-deep", raw_row("card_type", b"[" * 20 + b"]" * 20), (change(),)),
    Case("70-doubled-amount", DOUBLE_AMOUNT, "after.amount"),
    Case("70-doubled-amount-before-white-space", DOUBLE_SPACED, "after.amount"),
    Case("70-doubled-amount-escaped", DOUBLE_ESCAPED, "after.amount"),
    Case("70-doubled-op", DOUBLE_OP, "op"),
    Case("70-doubled-key", text(message()), "key.user_id", key=b'{"user_id":7,"user_id":8}'),
    Case("70-doubled-column-that-nobody-reads", DOUBLE_UNREAD, (change(),)),
    Case("74-null-source", text(message(source=None)), "source"),
    Case("74-no-sequence", text(message(source=without(SOURCE, "sequence"))), "source.sequence"),
    Case("74-bad-sequence", text(message(source={**SOURCE, "sequence": '["1"]'})), "source.sequence"),
    Case("74-bad-txId", text(message(source={**SOURCE, "txId": "755"})), "source.txId"),
    Case(
        "75-other-table",
        text(message(after={"id": 1}, source={**SOURCE, "table": "merchants"})),
        Skipped("another table: merchants", alarm=True),
        key=b'{"id":1}',
    ),
    Case(
        "75-other-schema",
        text(message(source={**SOURCE, "schema": "audit"})),
        Skipped("another schema: audit", alarm=True),
    ),
    Case("75-no-table", text(message(source=without(SOURCE, "table"))), "source.table"),
    Case("76-heartbeat", b'{"ts_ms":1763876036130}', Skipped("heartbeat"), key=b'{"serverName":"dbserver1"}'),
    Case(
        "76-transaction-begin",
        b'{"status":"BEGIN","id":"755:24023184","event_count":null,"data_collections":null,"ts_ms":1}',
        Skipped("transaction metadata"),
        key=b'{"id":"755:24023184"}',
    ),
    Case(
        "76-transaction-end-wrapped",
        b'{"schema":null,"payload":{"status":"END","id":"755:1","event_count":1,"data_collections":[]}}',
        Skipped("transaction metadata"),
    ),
    Case(
        "77-wrong-database",
        text(message()),
        Skipped("another database: mydb", alarm=True),
        fmt=EnvelopeFormat(database="payments"),
    ),
    Case("77-right-database", text(message()), (change(),), fmt=EnvelopeFormat(database="mydb")),
    Case("78-null-key", text(message()), "key", key=None),
    Case("78-empty-key", text(message()), "key", key=b""),
    Case("78-key-by-another-column", text(message()), "key.user_id", key=b'{"id":1}'),
    Case("79-key-and-value-disagree", text(message()), "key.user_id", key=b'{"user_id":8}'),
    Case("79-key-and-value-disagree-in-id", text(message()), "key.id", key=b'{"user_id":7,"id":2}'),
    Case("79-delete-disagrees", text(message("d", before=ROW, after=None)), "key.user_id", key=b'{"user_id":8}'),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_message_becomes_exactly_what_the_catalogue_says(case):
    decoder = EnvelopeDecoder(case.fmt)
    if isinstance(case.becomes, str):
        with pytest.raises(DecodeError) as refusal:
            decoder.decode(case.key, case.value)
        assert refusal.value.field == case.becomes
        assert len(refusal.value.found) <= 80
        assert refusal.value.wanted
    else:
        assert decoder.decode(case.key, case.value) == case.becomes


def test_11_wrapped_and_plain_messages_mix_in_one_topic():
    decoder = EnvelopeDecoder()
    records = [text(message()), wrapped(message("r")), text(message("r")), wrapped(message())]
    assert [decoder.decode(KEY, value) for value in records] == [
        (change("c"),),
        (change("r"),),
        (change("r"),),
        (change("c"),),
    ]


def test_25_an_amount_in_base64_is_refused_with_both_remedies():
    with pytest.raises(DecodeError, match=r"decimal\.handling\.mode=string .* AMOUNT_SCALE"):
        EnvelopeDecoder().decode(KEY, row(amount="AfQ="))


def test_62_a_value_that_was_not_delivered_is_refused_with_its_remedy():
    with pytest.raises(DecodeError, match="REPLICA IDENTITY FULL"):
        EnvelopeDecoder().decode(KEY, row(amount=UNAVAILABLE))


def test_71_rows_of_one_lsn_share_a_position_and_differ_in_id():
    same_lsn = {**SOURCE, "sequence": '["261300816","261300816"]'}
    decoder = EnvelopeDecoder()
    copied = [decoder.decode(KEY, text(message(after={**ROW, "id": id_}, source=same_lsn))) for id_ in (1, 2)]
    where = Position(1, 261300816, 261300816)
    assert copied == [
        (change(position=where),),
        (change(after=Transaction(2, 7, 1234, CREATED_US, 5), tx_id=2, position=where),),
    ]


def test_72_a_row_delivered_twice_decodes_to_equal_changes_that_the_detector_can_drop():
    resent = {**message(), "ts_us": 1763876099000000}
    first, again = (EnvelopeDecoder().decode(KEY, value) for value in (text(message()), text(resent)))
    assert [(c.position, c.tx_id, c.op, c.after) for c in first + again] == [(WHERE, 1, "c", PAID)] * 2


def test_73_an_lsn_that_goes_backwards_under_a_later_commit_is_a_later_position():
    sequences = ['["24023128","24023184"]', '["24023200","24023150"]']
    found = [EnvelopeDecoder().decode(KEY, text(message(source={**SOURCE, "sequence": s}))) for s in sequences]
    positions = [change.position for (change,) in found]
    assert positions == [Position(1, 24023128, 24023184), Position(1, 24023200, 24023150)]
    assert positions == sorted(positions)


def test_80_headers_cannot_change_a_decoded_record_because_the_decoder_takes_none():
    assert list(inspect.signature(EnvelopeDecoder.decode).parameters) == [
        "self",
        "key",
        "value",
        "incarnation",
    ]
    assert EnvelopeDecoder().decode(KEY, text(message())) == (change(),)


def test_every_case_of_the_catalogue_that_reaches_a_decoder_is_here():
    named = {int(part) for case in CASES for part in case.name.split("-")[:2] if part.isdigit() and len(part) == 2}
    tested_alone = {11, 71, 72, 73, 80}
    elsewhere = {81, 82}
    assert named | tested_alone | elsewhere == set(range(1, 83))
