"""Reading the topic of the changes from beside it, on kafka-python: no consumer group, nothing committed."""

import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from twinpath import kafka_access
from twinpath.errors import ChangeLogUnavailable, ServiceFault
from twinpath.settings import Settings

IDLE_MS = 20_000
POLL_MS = 200


def open_consumer(settings: Settings, idle_ms: float = float("inf")) -> KafkaConsumer:
    """A consumer that is assigned nothing yet; iterating it ends after `idle_ms` of silence."""
    try:
        return KafkaConsumer(
            bootstrap_servers=settings.kafka_bootstrap_servers.split(","),
            **kafka_access.kafka_python(settings),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            consumer_timeout_ms=idle_ms,
        )
    except (KafkaError, OSError) as error:
        raise ChangeLogUnavailable(
            f"found no Kafka at {settings.kafka_bootstrap_servers} ({type(error).__name__}). Run: twinpath up"
        ) from None


def one_record(settings: Settings, ends: Mapping[int, int]) -> tuple[bytes, bytes]:
    """Key and value of the first insert in the topic; ServiceFault when there is none below `ends`."""
    consumer = open_consumer(settings, IDLE_MS)
    try:
        consumer.assign([TopicPartition(settings.topic, partition) for partition in ends])
        consumer.seek_to_beginning()
        for record in consumer:
            if record.key and record.value and b'"op":"c"' in record.value:
                return record.key, record.value
    finally:
        consumer.close()
    raise ServiceFault(f"found no insert in topic {settings.topic}, wanted one")


def records(settings: Settings, partition: int, begin: int, end: int) -> Iterator[Any]:
    """The records of one partition of our topic with offsets in [begin, end) that are there still."""
    place = TopicPartition(settings.topic, partition)
    with closing(open_consumer(settings)) as consumer:
        begin = max(begin, consumer.beginning_offsets([place])[place])
        if begin < end:
            consumer.assign([place])
            yield from between(consumer, place, begin, end)


def between(consumer: KafkaConsumer, place: TopicPartition, begin: int, end: int) -> Iterator[Any]:
    """The records of [begin, end) of a partition that is assigned; compaction leaves holes, so the position decides.

    ChangeLogUnavailable when they stop coming before the end.
    """
    consumer.seek(place, begin)
    at, since = begin, time.monotonic()
    while at < end:
        for record in consumer.poll(timeout_ms=POLL_MS).get(place, []):
            if record.offset < end:
                yield record
        if (now_at := consumer.position(place)) > at:
            at, since = now_at, time.monotonic()
        elif time.monotonic() - since > IDLE_MS / 1000:
            raise ChangeLogUnavailable(
                f"topic {place.topic} partition {place.partition}: nothing came at offset {at} for "
                f"{IDLE_MS / 1000:.0f} s, wanted all below {end}"
            )
