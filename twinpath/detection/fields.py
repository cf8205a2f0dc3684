"""One field at a time: JSON text and Debezium's encodings -> checked integers.

Nothing passes through a double; every refusal is a `DecodeError` that names the field.
"""

import base64
import binascii
import json
import re
from datetime import date, time
from functools import lru_cache
from typing import Literal

from twinpath.detection.model import Position
from twinpath.errors import DecodeError

TimeUnit = Literal["s", "ms", "us", "ns"]
Object = dict[str, object]

LARGEST = 2**63 - 1  # PostgreSQL's bigint
MAX_CENTS = 9_999_999_999  # NUMERIC(10,2)
MAX_DEPTH = 64  # a wrapped envelope with its schema is about 8 deep
_PLAIN_LENGTH = len("99999999.99")
_CENTS_LENGTH = len(".99")
_FOUND_LENGTH = 80  # of a found value in a message
_DAY_US = 86_400_000_000
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_FIRST_US = (1 - _EPOCH_DAY) * _DAY_US
_END_US = (date.max.toordinal() + 1 - _EPOCH_DAY) * _DAY_US
# PostgreSQL's infinity and -infinity as Debezium writes them; in ns the first would pass for year 2262.
_INFINITIES = frozenset((9223372036825200000, -9223372036825200000, -9223372036832400000))

_USUAL_TIME = "2026-11-23T05:33:56.123456Z"
_DECIMAL = re.compile(r"([+-]?)(?:([0-9]+)(?:\.([0-9]*))?|\.([0-9]+))(?:[eE]([+-]?[0-9]+))?")
_SECOND = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})[T ]([0-9]{2}):([0-9]{2}):([0-9]{2})")
_FRACTION_AND_ZONE = re.compile(r"(?:\.([0-9]{1,9}))?(?:Z|([+-])([01][0-9]|2[0-3]):?([0-5][0-9]))")
# 18 digits fit a bigint; a log of that length would be an exabyte.
_SEQUENCE = re.compile(r'\s*\[\s*(?:null|"([0-9]{1,18})")\s*,\s*"([0-9]{1,18})"\s*\]\s*')


class Numeral(str):
    """A JSON number that is no plain integer of at most 20 characters: its text, as written."""

    __slots__ = ()


class _Doubled(Object):
    """A JSON object that writes some of its keys twice: harmless until one of them is read."""

    names: frozenset[str] = frozenset()


def refused(field: str, found: object, wanted: str) -> DecodeError:
    """The error for a value that cannot be used, with what was found cut to 80 characters."""
    if found is None:
        return DecodeError(field, "nothing (null or missing)", wanted)
    text = repr(found[:_FOUND_LENGTH] if isinstance(found, (str, bytes)) else found)
    if len(text) > _FOUND_LENGTH:
        text = text[: _FOUND_LENGTH - 3] + "..."
    return DecodeError(field, text, wanted)


def _object(pairs: list[tuple[str, object]]) -> Object:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    doubled = _Doubled(found)
    names = [name for name, _ in pairs]
    doubled.names = frozenset(name for name in found if names.count(name) > 1)
    return doubled


def _integer_or_numeral(text: str) -> int | Numeral:
    return int(text) if len(text) <= len(str(-LARGEST)) else Numeral(text)


def _constant(text: str) -> object:
    raise ValueError(f"{text} is no JSON")


_json = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_float=Numeral,
    parse_int=_integer_or_numeral,
    parse_constant=_constant,
)


def parse_json(data: bytes, field: str) -> object:
    """The definition of our JSON: strict UTF-8, no NaN, at most 64 deep whatever the caller's stack."""
    wanted = "one JSON document in UTF-8"
    try:
        tree: object = _json.decode(data.decode())
    except RecursionError as error:
        raise refused(field, data, f"nesting of at most {MAX_DEPTH}") from error
    except ValueError as error:
        raise refused(field, data, wanted) from error
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return tree
    level = [tree]
    for _ in range(MAX_DEPTH + 1):
        level = [child for node in level for child in _children(node)]
        if not level:
            return tree
    raise refused(field, data, f"nesting of at most {MAX_DEPTH}")


def _children(node: object) -> list[object]:
    if isinstance(node, dict):
        return list(node.values())
    return node if isinstance(node, list) else []


def take(found: Object, name: str, label: str) -> object:
    """The value under `name`, None if missing; a key that is written twice says nothing certain."""
    if isinstance(found, _Doubled) and name in found.names:
        raise refused(label + name, f"{name} twice in one object", "each key once")
    value = found.get(name)
    if value == "__debezium_unavailable_value":
        raise refused(label + name, value, "a delivered value: set REPLICA IDENTITY FULL on the table")
    return value


def integer(value: object, field: str) -> int:
    """A bigint; true, "12" and 12.0 are none."""
    if type(value) is int and -LARGEST - 1 <= value <= LARGEST:
        return value
    raise refused(field, value, "an integer of 64 bits")


def optional_integer(value: object, field: str) -> int | None:
    """A bigint, or None for null or missing."""
    return None if value is None else integer(value, field)


def cents(value: object, field: str, scale: int | None) -> int:
    """NUMERIC(10,2) as integer cents. With a known `scale` a text is base64 (mode `precise`), unless it holds a
    point, which base64 never does: a topic may carry both, when its connector was changed.
    """
    if isinstance(value, dict):
        unscaled = _unscaled(take(value, "value", field + "."), field)
        return _cents(unscaled, -integer(take(value, "scale", field + "."), field + ".scale"), field, value)
    if type(value) is str and scale is not None and "." not in value:
        return _cents(_unscaled(value, field), -scale, field, value)
    if isinstance(value, str):  # Numeral too: a JSON number counts by its text
        return decimal_cents(value, field)
    if type(value) is int:
        return _cents(value, 0, field, value)
    raise refused(field, value, 'a decimal text such as "12.34"')


def decimal_cents(text: str, field: str) -> int:
    """Plain or scientific decimal text as cents."""
    if _CENTS_LENGTH < len(text) <= _PLAIN_LENGTH and text[-3] == ".":  # "12.34", the usual form
        digits = text.replace(".", "", 1)
        if digits.isascii() and digits.isdigit():
            return int(digits)
    parts = _DECIMAL.fullmatch(text) if len(text) <= 2 * _FOUND_LENGTH else None
    if parts is None:
        wanted = (
            'a decimal text such as "12.34"; base64 needs decimal.handling.mode=string at the connector'
            " or the setting AMOUNT_SCALE"
        )
        raise refused(field, text, wanted)
    sign, whole, fraction, bare_fraction, exponent = parts.groups(default="")
    digits = sign + whole + fraction + bare_fraction
    return _cents(int(digits), int(exponent or 0) - len(fraction + bare_fraction), field, text)


def _unscaled(value: object, field: str) -> int:
    """Kafka Connect's Decimal: the unscaled value as big-endian two's complement in base64."""
    if type(value) is str and 0 < len(value) <= _FOUND_LENGTH:
        try:
            return int.from_bytes(base64.b64decode(value, validate=True), "big", signed=True)
        except (binascii.Error, ValueError) as error:  # ValueError: not ASCII
            raise refused(field, value, "a decimal in base64 (decimal.handling.mode=precise)") from error
    raise refused(field, value, "a decimal in base64 (decimal.handling.mode=precise)")


def _cents(digits: int, exponent: int, field: str, found: object) -> int:
    """digits * 10**exponent in cents; the exponent is judged before anything is expanded."""
    if digits == 0:
        return 0
    power = exponent + 2  # of ten, to reach cents
    while power < 0 and digits % 10 == 0:
        digits, power = digits // 10, power + 1
    if power < 0:
        raise refused(field, found, "at most 2 decimals")
    if power > _PLAIN_LENGTH or abs(digits) * 10**power > MAX_CENTS:
        raise refused(field, found, "at most 99999999.99 either side of zero")
    return digits * int(10**power)


def microseconds(value: object, field: str, unit: TimeUnit) -> int:
    """Event time in microseconds since 1970-01-01 UTC, cut (not rounded) to whole ones."""
    if type(value) is str:
        return iso_us(value, field)
    if type(value) is int:
        return _epoch_us(value, field, unit)
    raise refused(field, value, "ISO text with a zone, or an integer in EVENT_TIME_UNIT")


def database_us(value: int | None, field: str) -> int:
    """A time that PostgreSQL gave in microseconds; None for null or infinity."""
    if value is not None and _FIRST_US <= value < _END_US:
        return value
    raise refused(field, value, "a finite time of the years 1 to 9999")


def iso_us(text: str, field: str) -> int:
    """ISO text with a zone as microseconds."""
    try:
        if len(text) == len(_USUAL_TIME) and text[19] == "." and text[26] == "Z":
            fraction = text[20:26]
            if fraction.isascii() and fraction.isdigit():
                return _second_us(text[:19]) + int(fraction)
        parts = _FRACTION_AND_ZONE.fullmatch(text[19:])
        if parts is not None:
            digits, sign, hours, minutes = parts.groups()
            east_us = (int(hours) * 60 + int(minutes)) * 60_000_000 if sign else 0
            fraction_us = int((digits or "0").ljust(6, "0")[:6])
            us = _second_us(text[:19]) + fraction_us + (east_us if sign == "-" else -east_us)
            if _FIRST_US <= us < _END_US:
                return us
    except ValueError as error:
        raise refused(field, text, "a date and time of the years 1 to 9999") from error
    raise refused(field, text, "ISO text with a zone, such as 2026-11-23T05:33:56.123456Z, years 1 to 9999")


@lru_cache(maxsize=4096)  # neighbours in the log share their second
def _second_us(text: str) -> int:
    parts = _SECOND.fullmatch(text)
    if parts is None:
        raise ValueError("no date and time")
    year, month, day, hour, minute, second = map(int, parts.groups())
    time(hour, minute, second)  # refuses 25:00 and second 60
    seconds = (hour * 60 + minute) * 60 + second
    return (date(year, month, day).toordinal() - _EPOCH_DAY) * _DAY_US + seconds * 1_000_000


def _epoch_us(value: int, field: str, unit: TimeUnit) -> int:
    us = value // 1000 if unit == "ns" else value * {"s": 1_000_000, "ms": 1_000, "us": 1}[unit]
    # Within 60 days of 1970 stands any time of our age that was written in the next coarser unit.
    if value in _INFINITIES or abs(us) <= 60 * _DAY_US or not _FIRST_US <= us < _END_US:
        raise refused(field, value, f"a plausible finite time in {unit}; see the setting EVENT_TIME_UNIT")
    return us


def position(sequence: object, incarnation: int, field: str) -> Position:
    """`source.sequence` -> Position; a null first number becomes row_lsn - 1."""
    parts = _SEQUENCE.fullmatch(sequence) if type(sequence) is str else None
    if parts is None:
        raise refused(field, sequence, 'Debezium\'s ["<previous commit LSN or null>","<row LSN>"]')
    row_lsn = int(parts[2])
    return Position(incarnation, row_lsn - 1 if parts[1] is None else int(parts[1]), row_lsn)
