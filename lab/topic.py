"""Reading the topic of the changes from beside it, on kafka-python: no consumer group, nothing committed."""

from collections.abc import Iterator, Mapping
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from twinpath import kafka_access
from twinpath.errors import ChangeLogUnavailable, ServiceFault
from twinpath.settings import Settings

IDLE_MS = 20_000


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
    """The records of one partition with offsets in [begin, end) that are there still.

    ServiceFault when they stop coming before the end.
    """
    place = TopicPartition(settings.topic, partition)
    consumer = open_consumer(settings, IDLE_MS)
    try:
        begin = max(begin, consumer.beginning_offsets([place])[place])
        if begin >= end:
            return
        consumer.assign([place])
        consumer.seek(place, begin)
        for record in consumer:
            yield record
            if record.offset + 1 >= end:
                return
        raise ServiceFault(f"topic {settings.topic} partition {partition} ended before offset {end}")
    finally:
        consumer.close()
