"""Can the records of the topic be read? First by what the connector is told to write, then by what it wrote."""

import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec
from kafka import TopicPartition

from lab.topic import open_consumer
from twinpath.detection.envelope import EnvelopeDecoder, key_columns
from twinpath.errors import DecodeError
from twinpath.settings import Settings

JSON_CONVERTER = "org.apache.kafka.connect.json.JsonConverter"
FLATTENING = "io.debezium.transforms.ExtractNewRecordState"
NEEDED_FIELDS = ("op", "source.sequence")
KEY = "public.transactions:user_id"
READ_S = 5.0


class Fault(NamedTuple):
    """Why nobody could read what a connector writes, and what else than putting it back would help."""

    evidence: str
    note: str = ""


class Newest(msgspec.Struct, frozen=True):
    """One record, with the time that its broker stamped on it in ms."""

    stamp_ms: int
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None


def config_fault(config: Mapping[str, str], settings: Settings) -> Fault | None:
    """The first fault of a connector's configuration, by what the settings declare."""
    return next(_faults(config, settings), None)


def _faults(config: Mapping[str, str], settings: Settings) -> Iterator[Fault]:
    for part in ("key", "value"):
        converter = config.get(f"{part}.converter", JSON_CONVERTER)
        if converter != JSON_CONVERTER:
            yield Fault(f"{part}.converter is {converter}, wanted JsonConverter")
    decimals = config.get("decimal.handling.mode", "precise")
    told = config.get("value.converter.schemas.enable", "false") == "true"  # the schema in the record has the scale
    if decimals == "precise" and settings.amount_scale is None and not told:
        yield Fault(
            "decimal.handling.mode is precise: amounts are base64 without their scale",
            "or declare the scale, AMOUNT_SCALE=2 in .env, and have what is there judged anew",
        )
    if decimals == "double":
        yield Fault("decimal.handling.mode is double: amounts lose cents, wanted string")
    flattened = [name for name, value in config.items() if name.startswith("transforms.") and value == FLATTENING]
    if flattened and not settings.flattened:
        yield Fault("records are flattened by ExtractNewRecordState", "or declare it, FLATTENED=true in .env")
    for name in flattened:
        fields = config.get(f"{name.removesuffix('.type')}.add.fields", "")
        lacking = [field for field in NEEDED_FIELDS if field not in fields.replace(" ", "").split(",")]
        if lacking:
            yield Fault(f"flattened records lack {', '.join(lacking)}: {name.removesuffix('.type')}.add.fields")
    if config.get("message.key.columns") != KEY:
        yield Fault(f"message.key.columns is {config.get('message.key.columns', 'not set')}, wanted {KEY}")


def newest(settings: Settings, ends: Mapping[int, int], count: int) -> list[Newest]:
    """The newest records of the topic by the broker's stamp, at most `count`; tombstones and the like are left out."""
    places = {TopicPartition(settings.topic, number): end for number, end in ends.items() if end}
    if not places:
        return []
    found: list[Newest] = []
    consumer = open_consumer(settings)
    try:
        consumer.assign(list(places))
        begins = consumer.beginning_offsets(list(places))
        for place, end in places.items():
            consumer.seek(place, max(begins[place], end - 2 * count))
        deadline = time.monotonic() + READ_S
        while time.monotonic() < deadline and any(consumer.position(one) < end for one, end in places.items()):
            for records in consumer.poll(timeout_ms=200).values():
                found += [_newest(one) for one in records if one.value is not None]
    finally:
        consumer.close()
    return sorted(found, key=lambda one: (one.stamp_ms, one.partition, one.offset))[-count:]


def _newest(record: Any) -> Newest:
    return Newest(record.timestamp, record.partition, record.offset, record.key, record.value)


def unreadable(record: Newest, settings: Settings) -> str | None:
    """Why a record cannot be read, None when it can."""
    try:
        EnvelopeDecoder(settings.envelope()).decode(record.key, record.value)
        columns = key_columns(record.key)
    except DecodeError as problem:
        return f"partition {record.partition} offset {record.offset}: {problem}"
    if "user_id" not in columns:
        return f"partition {record.partition} offset {record.offset}: key {sorted(columns)}, wanted user_id"
    return None
