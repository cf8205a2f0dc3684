"""The decoder under records that nobody thought of: it reads or refuses, both of its routes alike, and never crashes.

A short search with every run; ten minutes of it in `make test-long`, with another seed for each round.
"""

import json
import time
from collections import Counter
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.unit.test_message_cases import CASES
from twinpath.detection.envelope import EnvelopeDecoder, EnvelopeFormat, key_columns
from twinpath.detection.fields import LARGEST, MAX_CENTS
from twinpath.detection.model import Skipped
from twinpath.detection.replay import Replay
from twinpath.detection.rules import RULES
from twinpath.errors import DecodeError

LONG_S = 600
FIRST = 1  # seed of the first round of the long search
LIMIT = 6_000  # bytes of a record that mutations begin with
CORPUS = [(case.key, case.value) for case in CASES if case.value is not None and len(case.value) < LIMIT]
READ = [(case.key, case.value) for case in CASES if isinstance(case.becomes, tuple) and len(case.value) < LIMIT]
FORMATS = [
    EnvelopeFormat(),
    EnvelopeFormat(database="mydb"),
    EnvelopeFormat(amount_scale=2),
    EnvelopeFormat(flattened=True),
    *(EnvelopeFormat(event_time_unit=unit) for unit in ("s", "ms", "ns")),
]
FRAGMENTS = [  # what a reader of numbers, texts and trees may stumble over
    *(b"null", b"true", b"NaN", b"-Infinity", b"1e400", b"-0", b"0.0", b"1E+2", b"9" * 400, b"12.34", b"-1", b"1" * 19),
    *(
        b'"NaN"',
        b'"AfQ="',
        b'"\\u0000"',
        b'"\\ud800"',
        b'"1e-7"',
        b'"\xff"',
        b"\xef\xbb\xbf",
        b'"__debezium_unavailable_value"',
    ),
    *(b"{}", b"[]", b"[" * 70, b'{"a":' * 70, b'{"scale":9999999999,"value":"AfQ="}', b'{"scale":-3,"value":"/w=="}'),
    *(
        b",",
        b":",
        b'"',
        b"\\",
        b"\x00",
        b' "op":"u",',
        b'"2026-02-30T00:00:00Z"',
        b'"0000-00-00T00:00:00Z"',
        b'["1",null]',
    ),
]
leaf = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["c", "u", "d", "r"])
)
tree = st.recursive(
    leaf, lambda child: st.lists(child, max_size=4) | st.dictionaries(st.text(max_size=8), child, max_size=4)
)


@st.composite
def mutated(draw: st.DrawFn, data: bytes) -> bytes:
    """A record with a few of its bytes cut, doubled, replaced by others or by an odd fragment."""
    for _ in range(draw(st.integers(1, 3))):
        begin = draw(st.integers(0, len(data)))
        end = min(len(data), begin + draw(st.integers(0, 24)))
        new = draw(st.sampled_from(FRAGMENTS) | st.binary(max_size=6) | st.just(data[begin:end] * 2) | st.just(b""))
        data = data[:begin] + new + data[end:]
    return data


@st.composite
def regrown(draw: st.DrawFn, data: bytes) -> bytes:
    """A record in which one value of the tree is another one, or its key is gone."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return data
    node, path = found, draw(st.integers(1, 4))
    for _ in range(path):
        if not isinstance(node, dict) or not node:
            break
        name = draw(st.sampled_from(sorted(node)))
        child = node[name]
        if isinstance(child, dict) and child and path > 1:
            node, path = child, path - 1
            continue
        if draw(st.booleans()):
            node[name] = draw(tree)
        else:
            del node[name]
        break
    return json.dumps(found, ensure_ascii=draw(st.booleans())).encode(errors="surrogatepass")


@st.composite
def records(draw: st.DrawFn) -> tuple[bytes | None, bytes | None]:
    key, value = draw(st.sampled_from(CORPUS) | st.sampled_from(READ))
    assert value is not None
    kind = draw(st.sampled_from(["bytes", "tree", "mutated", "mutated", "regrown", "regrown", "key"]))
    if kind == "bytes":
        return draw(st.none() | st.binary(max_size=40)), draw(st.none() | st.binary(max_size=200))
    if kind == "tree":
        return key, json.dumps(draw(tree)).encode()
    if kind == "key":
        return draw(mutated(key or b"{}")), value
    return key, draw(mutated(value) if kind == "mutated" else regrown(value))


def told(decode: Any, key: bytes | None, value: bytes | None) -> Any:
    try:
        return decode(key, value, 3)
    except DecodeError as refusal:
        return refusal.field, refusal.found, refusal.wanted


def check(record: tuple[bytes | None, bytes | None], fmt: EnvelopeFormat) -> str:
    """Decode by both routes, and fold what was read; returns what became of the record."""
    key, value = record
    decoder = EnvelopeDecoder(fmt)
    found = told(decoder.decode, key, value)
    assert found == told(decoder.define, key, value)
    with suppress(DecodeError):
        key_columns(key)
    if isinstance(found, Skipped):
        return "skipped"
    if isinstance(found[0], str):
        assert len(found[1]) < 200, "a dead letter's reason quotes little"
        return "refused"
    for one in found:
        for row in (one.before, one.after):
            assert row is None or (abs(row.amount_cents) <= MAX_CENTS and abs(row.tx_id) <= LARGEST + 1)
    for rule in RULES.values():
        replay = Replay(rule)
        for one in (*found, *found):
            replay.apply(one)
    return "read"


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(record=records(), fmt=st.sampled_from(FORMATS))
def test_any_record_is_read_or_refused_by_both_routes_alike(
    record: tuple[bytes | None, bytes | None], fmt: EnvelopeFormat
) -> None:
    check(record, fmt)


@pytest.mark.long
@pytest.mark.timeout(LONG_S + 300)
def test_ten_minutes_of_records_that_nobody_thought_of_crash_nothing() -> None:
    became: Counter[str] = Counter()
    end = time.monotonic() + LONG_S
    rounds = FIRST - 1
    while time.monotonic() < end:
        rounds += 1

        @seed(rounds)
        @settings(
            max_examples=2_000,
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        @given(record=records(), fmt=st.sampled_from(FORMATS))
        def search(record: tuple[bytes | None, bytes | None], fmt: EnvelopeFormat) -> None:
            became[check(record, fmt)] += 1

        search()
    assert min(became[kind] for kind in ("read", "refused", "skipped")) > 100, became
    print(f"rounds {FIRST} to {rounds}: {dict(became)}")
