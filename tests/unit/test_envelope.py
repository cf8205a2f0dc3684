"""The decoder's two routes give the same; positions, keys, wrappers and numbers are exact."""

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinpath.detection.envelope import EnvelopeDecoder, EnvelopeFormat, key_columns
from twinpath.detection.model import Change, Position, Skipped, Transaction
from twinpath.errors import DecodeError

ROW = {
    "id": 1,
    "user_id": 7,
    "amount": "12.34",
    "card_type": "visa",
    "created_at": "2026-11-23T05:33:56.123456Z",
}
PAID = Transaction(1, 7, 1234, 1795412036123456, None)
UNAVAILABLE = "__debezium_unavailable_value"


def envelope(op="c", before=None, after=ROW, sequence='["24023128","24023184"]', **source):
    return {
        "before": before,
        "after": after,
        "source": {
            "version": "3.7.0.Final",
            "connector": "postgresql",
            "name": "dbserver1",
            "ts_ms": 1763876036123,
            "snapshot": None,
            "db": "mydb",
            "sequence": sequence,
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
        | source,
        "transaction": None,
        "op": op,
        "ts_ms": 1763876036130,
        "ts_us": 1763876036130123,
        "ts_ns": 1763876036130123456,
    }


def text(message):
    return json.dumps(message, separators=(",", ":")).encode()


def told(decode, key, value):
    """What a route says of a record, refusals included, in a form that compares."""
    try:
        return decode(key, value, 3)
    except DecodeError as refusal:
        return refusal.field, refusal.found, refusal.wanted


def position_of(sequence, incarnation=1):
    (change,) = EnvelopeDecoder().decode(b'{"user_id":7}', text(envelope(sequence=sequence)), incarnation)
    return change.position


odd = st.sampled_from(
    [
        None,
        True,
        "",
        "7",
        7.0,
        7.5,
        -1,
        0,
        2**63 - 1,
        2**63,
        -(2**63),
        10**30,
        [],
        [[1]],
        {},
        {"id": 1},
        UNAVAILABLE,
    ]
)
amounts = st.one_of(
    st.decimals(-100_000_001, 100_000_001, places=2, allow_nan=False).map(str),
    st.sampled_from(["0.00", ".50", "5", "12.340", "1E+3", "12,34", "1.2.34", "٣.١٤", "12.3é", "+1.00", "-0.01"]),
    odd,
)
moments = st.one_of(
    st.datetimes(timezones=st.just(UTC)).map(lambda t: t.isoformat().replace("+00:00", "Z")),
    st.integers(1_500_000_000_000_000, 1_900_000_000_000_000),
    st.sampled_from(["2026-02-30T00:00:00.000000Z", "2026-11-23T05:33:56.12345٦Z", "2026-11-23T05:33:56.123456"]),
    odd,
)
ids = st.one_of(st.integers(1, 9), st.integers(-(2**63), 2**63 - 1), odd)
rows = st.one_of(
    st.fixed_dictionaries({"id": st.integers(1, 3), "user_id": st.just(7), "amount": amounts, "created_at": moments}),
    st.fixed_dictionaries(
        {"id": ids, "user_id": ids, "amount": amounts, "created_at": moments},
        optional={
            "merchant_id": ids,
            "card_type": st.sampled_from(["visa", '\u05d0:"b', "\x00"]),
            "id ": odd,
            "note": odd,
        },
    ),
    st.just(ROW),
    odd,
)
messages = st.builds(
    envelope,
    op=st.sampled_from(["c", "u", "d", "r", "c", "u", "t", "m", "x", None]),
    before=st.none() | rows,
    after=rows,
    sequence=st.sampled_from(
        ['["1","2"]', '[null,"2"]', '["01","2"]', '["-1","2"]', '["1","2.0"]', '["1", "2"]', '["1"]', None]
        + [f'["{10**e}","{10**18 - 1}"]' for e in (17, 18, 19)]
    ),
    txId=st.sampled_from([755, 755, None, -1, 2**63, 7.0]),
    table=st.sampled_from(["transactions"] * 5 + ["merchants"]),
    ts_us=st.sampled_from([1763876036123456] * 3 + [None, -5, 10**19]),
)
keys = st.sampled_from([b'{"user_id":7}'] * 4 + [b'{"user_id": 7}', b'{"user_id":7,"id":1}', b'{"id":1}', b"7", None])
# Texts that a careless reader of bytes takes for something else.
pieces = st.sampled_from(
    [
        b'"id":1,',
        b'"id" :1,',
        b'"amount":"1.00",',
        b'"op":"d",',
        b'"op"\n:"d",',
        rb'"\u0069d":2,',
        b" ",
        b"\t",
        b"\xff",
    ]
    + [
        b'"user_id":8,',
        b'"txId":1,',
        b'"x":{"id":5},',
        b'"x":[1],',
        b'"x":"a b\\":c",',
        b'"x":NaN,',
        b'"x":01,',
    ]
    + ["é".encode(), b"\\", b'"', b",", b":", b"{", b"}", b"[", b"]", b"null", b"1", b".0", b"e1", b"\x00"]
)


@settings(max_examples=1500)
@given(keys, messages)
def test_both_routes_say_the_same_of_any_row_and_operation(key, message):
    decoder = EnvelopeDecoder(EnvelopeFormat(database="mydb"))
    value = text(message)
    assert told(decoder.decode, key, value) == told(decoder.define, key, value)


@settings(max_examples=3000)
@given(st.sampled_from(["c", "r", "u", "d"]), st.data())
def test_both_routes_say_the_same_of_a_damaged_record(op, data):
    value = text(envelope(op, before=ROW if op in "ud" else None, after=None if op == "d" else ROW))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(value)))
        after_a_brace = value.find(b"{", at) + 1  # where one more key is good JSON
        at = data.draw(st.sampled_from([at, after_a_brace, after_a_brace]))
        cut = data.draw(st.sampled_from([0, 0, 0, 1, 5]))
        value = value[:at] + data.draw(pieces) + value[at + cut :]
    decoder = EnvelopeDecoder()
    assert told(decoder.decode, b'{"user_id":7}', value) == told(decoder.define, b'{"user_id":7}', value)


@given(st.binary(max_size=40), st.binary(max_size=80))
def test_any_bytes_are_decoded_skipped_or_refused_but_never_break_the_decoder(key, value):
    outcome = told(EnvelopeDecoder().decode, key, value)
    assert isinstance(outcome, (tuple, Skipped))


@pytest.mark.parametrize(
    ("op", "before", "after"),
    [("c", None, ROW), ("r", None, ROW), ("u", ROW, ROW), ("u", None, ROW), ("d", ROW, None)],
    ids=["insert", "snapshot row", "update", "update without before", "delete"],
)
def test_the_usual_records_take_the_usual_route(monkeypatch, op, before, after):
    def forbidden(*_):
        raise AssertionError("the slow route was taken")

    monkeypatch.setattr(EnvelopeDecoder, "define", forbidden)
    decoded = EnvelopeDecoder(EnvelopeFormat(database="mydb")).decode(
        b'{"user_id":7}', text(envelope(op, before, after))
    )
    images = (PAID if before else None, PAID if after else None)
    where = Position(1, 24023128, 24023184)
    assert decoded == (Change(op, 7, 1, where, *images, 755, 1763876036123456, 1763876036130123),)


def test_an_envelope_of_a_debezium_that_writes_no_origin_takes_the_usual_route_too(monkeypatch):
    monkeypatch.setattr(EnvelopeDecoder, "define", lambda *_: "slow")
    older = envelope(snapshot="false")
    del older["source"]["origin"], older["source"]["origin_lsn"]
    (change,) = EnvelopeDecoder().decode(b'{"user_id":7}', text(older))
    assert change.after == PAID


def test_colons_spaces_and_brackets_inside_a_text_do_not_leave_the_usual_route(monkeypatch):
    monkeypatch.setattr(EnvelopeDecoder, "define", lambda *_: "slow")
    row = {**ROW, "note": "[a]: {b}, c\u00e9"}
    (change,) = EnvelopeDecoder().decode(b'{"user_id":7}', text(envelope(after=row)))
    assert change.after == PAID


def test_a_position_is_the_incarnation_and_both_numbers_of_the_sequence():
    assert position_of('["24023128","24023184"]', incarnation=4) == Position(4, 24023128, 24023184)
    assert isinstance(position_of('["24023128","24023184"]'), Position)


def test_a_null_first_number_stands_just_before_its_own_row_and_not_at_zero():
    assert position_of('[null,"24023184"]') == Position(1, 24023183, 24023184)


def test_a_re_created_connector_orders_its_first_transaction_after_all_earlier_ones():
    before = position_of('["24023128","24023184"]')
    first = [position_of(f'[null,"{24030000 + 56 * n}"]') for n in range(1000)]
    assert before < first[0]
    assert first == sorted(first)


@pytest.mark.parametrize(
    "sequence",
    [None, 7, "", "null", "[]", '["1"]', '["1","2","3"]', '["1",null]', '["-1","2"]', '["1","x"]', '["","2"]']
    + ['["1","1234567890123456789"]', '["1","٢"]', '["1_0","2"]', '["1","2"', '[1,2]'],
)  # fmt: skip
def test_a_sequence_of_any_other_form_is_refused(sequence):
    with pytest.raises(DecodeError) as refusal:
        position_of(sequence)
    assert refusal.value.field == "source.sequence"


@pytest.mark.parametrize("key", [b'{"user_id":7}', b'{"schema":{"type":"struct"},"payload":{"user_id":7}}'])
@pytest.mark.parametrize("wrap", [False, True])
def test_key_and_value_may_each_be_wrapped_or_not(key, wrap):
    message = envelope()
    value = text({"schema": None, "payload": message} if wrap else message)
    (change,) = EnvelopeDecoder().decode(key, value)
    assert (change.user_id, change.after) == (7, PAID)


def test_a_new_primary_key_becomes_a_delete_and_an_insert_at_one_position():
    decoded = EnvelopeDecoder().decode(b'{"user_id":7}', text(envelope("u", before={**ROW, "id": 4}, after=ROW)))
    where, stamps = Position(1, 24023128, 24023184), (755, 1763876036123456, 1763876036130123)
    old = Transaction(4, 7, 1234, 1795412036123456, None)
    assert decoded == (
        Change("d", 7, 4, where, old, None, *stamps),
        Change("c", 7, 1, where, None, PAID, *stamps),
    )


def test_hop_stamps_fall_back_to_milliseconds_and_then_to_nothing():
    message = envelope(ts_us=None)
    del message["ts_us"], message["ts_ns"]
    (change,) = EnvelopeDecoder().decode(b'{"user_id":7}', text(message))
    assert (change.committed_us, change.captured_us) == (1763876036123000, 1763876036130000)
    del message["ts_ms"], message["source"]["ts_ms"], message["source"]["txId"]
    (change,) = EnvelopeDecoder().decode(b'{"user_id":7}', text(message))
    assert (change.committed_us, change.captured_us, change.source_xid) == (None, None, None)


def test_key_columns_names_the_columns_wrapped_or_not():
    assert key_columns(b'{"user_id":7,"id":1}') == {"user_id", "id"}
    assert key_columns(b'{"schema":{},"payload":{"id":1}}') == {"id"}


@pytest.mark.parametrize("key", [None, b"", b"7", b"[]", b"null", b'"user_id"', b'{"schema":{},"payload":7}', b"\xff"])
def test_key_columns_refuses_what_is_no_object(key):
    with pytest.raises(DecodeError) as refusal:
        key_columns(key)
    assert refusal.value.field == "key"


@given(st.integers(-9_999_999_999, 9_999_999_999), st.integers(0, 5), st.sampled_from(["f", "e", "E"]))
def test_every_amount_of_numeric_10_2_is_exact_in_plain_and_scientific_form(cents, zeros, form):
    amount = format(Decimal(cents).scaleb(-2), form if form == "f" else f".{12 + zeros}{form}")
    amount += "0" * zeros if form == "f" else ""
    (change,) = EnvelopeDecoder().decode(b'{"user_id":7}', text(envelope(after={**ROW, "amount": amount})))
    assert change.after.amount_cents == cents


@given(
    st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29)),  # noqa: DTZ001 - the zone is drawn apart
    st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)
def test_every_instant_with_any_zone_is_exact_to_the_microsecond(moment, zone):
    moment = moment.replace(tzinfo=zone)
    row = {**ROW, "created_at": moment.isoformat()}
    (change,) = EnvelopeDecoder().decode(b'{"user_id":7}', text(envelope(after=row)))
    assert change.after.created_us == (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
