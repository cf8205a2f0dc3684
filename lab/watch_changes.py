"""`twinpath changes`: each INSERT, UPDATE and DELETE as it leaves the log (on kafka-python).

It joins no consumer group and commits nothing, so looking changes nothing.
"""

import json
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import msgspec
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import UnsupportedCodecError

from lab.topic import open_consumer
from twinpath.alert_rows import EPOCH_START
from twinpath.detection.envelope import EnvelopeDecoder
from twinpath.detection.model import Change, Skipped, Transaction
from twinpath.detection.money import money
from twinpath.errors import ConfigurationError, DecodeError, ServiceFault
from twinpath.settings import Settings

WORDS = {"c": "INSERT", "u": "UPDATE", "d": "DELETE", "r": "SNAPSHOT"}


def show(settings: Settings, *, from_beginning: bool, user: int | None, as_json: bool) -> None:
    """Print changes until interrupted."""
    consumer = open_topic(settings)
    try:
        partitions = consumer.assignment()
        if from_beginning:
            consumer.seek_to_beginning(*partitions)
        else:
            consumer.seek_to_end(*partitions)
        for line in lines(settings, consumer, user=user, as_json=as_json):
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
    finally:
        consumer.close()


def open_topic(settings: Settings, idle_ms: float = float("inf")) -> KafkaConsumer:
    """A consumer on every partition of the topic."""
    consumer = open_consumer(settings, idle_ms)
    numbers = consumer.partitions_for_topic(settings.topic)
    if not numbers:
        consumer.close()
        raise ConfigurationError(f"found no topic {settings.topic}; start the connector: twinpath up")
    consumer.assign([TopicPartition(settings.topic, number) for number in sorted(numbers)])
    return consumer


def lines(settings: Settings, consumer: KafkaConsumer, *, user: int | None, as_json: bool) -> Iterator[str]:
    """One line for each change; an unreadable record gives a line that says why."""
    decoder = EnvelopeDecoder(settings.envelope())
    try:
        for record in consumer:
            try:
                decoded = decoder.decode(record.key, record.value)
            except DecodeError as problem:
                sys.stderr.write(f"unreadable at {record.partition}/{record.offset}: {problem}\n")
                continue
            if isinstance(decoded, Skipped):
                continue
            for change in decoded:
                if user is None or change.user_id == user:
                    yield _line(change, record.partition, record.offset, as_json=as_json)
    except UnsupportedCodecError as error:
        raise ServiceFault(
            f"topic {settings.topic} is compressed with a codec that this machine lacks: {error}. "
            "Install it (python-snappy, zstandard), or set producer.override.compression.type=lz4 in the connector"
        ) from None


def _line(change: Change, partition: int, offset: int, *, as_json: bool) -> str:
    age_ms = None if change.committed_us is None else round(time.time() * 1000 - change.committed_us / 1000, 1)
    if as_json:
        values: dict[str, Any] = {
            "op": WORDS[change.op],
            "user_id": change.user_id,
            "tx_id": change.tx_id,
            "before": _row(change.before),
            "after": _row(change.after),
            "position": list(change.position),
            "source_xid": change.source_xid,
            "partition": partition,
            "offset": offset,
            "age_ms": age_ms,
        }
        return json.dumps(values)
    before, after = (_text(row) for row in (change.before, change.after))
    position = f"{change.position.previous_commit_lsn}/{change.position.row_lsn}"
    arrow = {"c": after, "r": after, "d": before}.get(change.op, f"{before} -> {after}")
    age = "-" if age_ms is None else f"{age_ms:.0f} ms"
    where = f"{partition}/{offset}"
    return f"{WORDS[change.op]:<8} tx {change.tx_id} user {change.user_id}: {arrow} at {position} ({where}), age {age}"


def _row(row: Transaction | None) -> dict[str, Any] | None:
    return None if row is None else msgspec.structs.asdict(row)


def _text(row: Transaction | None) -> str:
    """Every value that the rules read: amount, merchant and time."""
    if row is None:
        return "?"
    created = EPOCH_START + timedelta(microseconds=row.created_us)
    merchant = "-" if row.merchant_id is None else row.merchant_id
    return f"{money(row.amount_cents)} merchant {merchant} at {created:%Y-%m-%d %H:%M:%S.%f}"
