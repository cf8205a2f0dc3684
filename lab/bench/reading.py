"""A program of the bench: the limits of an agent, one bare loop over the topic.

    python -m lab.bench.reading --client confluent --what decode --events 1000000 --skip 100000

fetch: receive the records, look at nothing. typed: and decode each value into a typed struct, unchecked.
decode: and decode each key and value as the agents do, every check included. It prints events, wall and CPU
seconds (all threads) as JSON, counted from the record after `skip` on.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from kafka import KafkaConsumer, TopicPartition

from lab.bench.arrivals import consumer
from twinpath.detection.envelope import EnvelopeDecoder
from twinpath.settings import Settings, load_settings

MAX_RECORDS = 5_000  # of one poll, as in the agents
IDLE_S = 20.0
Batches = Iterator[list[Any]]
Look = Callable[[list[Any]], None]


class _Row(msgspec.Struct):
    id: int
    user_id: int
    amount: str
    created_at: str
    merchant_id: int


class _Source(msgspec.Struct):
    sequence: str
    txId: int
    ts_us: int


class _Envelope(msgspec.Struct):
    after: _Row
    source: _Source
    op: str
    ts_us: int


def confluent(settings: Settings) -> Batches:
    """Batches of messages, by confluent-kafka."""
    reader = consumer(settings)
    while True:
        yield [one for one in reader.consume(MAX_RECORDS, 0.2) if one.error() is None]


def kafka_python(settings: Settings) -> Batches:
    """Batches of records, by kafka-python with the fetch settings of the agents."""
    reader = KafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap_servers.split(","),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        fetch_max_wait_ms=100,
        max_partition_fetch_bytes=8_388_608,
        max_poll_records=MAX_RECORDS,
        metrics_enabled=False,
    )
    reader.assign([TopicPartition(settings.topic, number) for number in range(settings.topic_partitions)])
    while True:
        yield [one for records in reader.poll(200).values() for one in records]


def looking(client: str, what: str, settings: Settings) -> Look:
    """What is done with a batch."""
    typed = msgspec.json.Decoder(_Envelope).decode
    checked = EnvelopeDecoder(settings.envelope()).decode

    def by_method(batch: list[Any]) -> None:
        for one in batch:
            if what == "typed":
                typed(one.value())
            else:
                checked(one.key(), one.value(), 1)

    def by_attribute(batch: list[Any]) -> None:
        for one in batch:
            if what == "typed":
                typed(one.value)
            else:
                checked(one.key, one.value, 1)

    def nothing(_: list[Any]) -> None:
        """Fetch only."""

    if what == "fetch":
        return nothing
    return by_method if client == "confluent" else by_attribute


def measure(batches: Batches, look: Look, events: int, skip: int) -> dict[str, float]:
    """Read until `events` records were seen; what lies between `skip` and there counts."""
    seen, counted = 0, 0
    heard = time.monotonic()
    wall = cpu = 0.0
    for batch in batches:
        look(batch)
        seen += len(batch)
        counted += len(batch)
        if wall == 0.0 and seen >= min(skip, events - 1):
            counted, wall, cpu = 0, time.perf_counter(), time.process_time()
        if seen >= events:
            break
        heard = time.monotonic() if batch else heard
        if time.monotonic() - heard > IDLE_S:
            raise SystemExit(f"the topic ended after {seen} of {events} records")
    return {"events": counted, "wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m lab.bench.reading")
    parser.add_argument("--client", choices=("confluent", "kafka-python"), required=True)
    parser.add_argument("--what", choices=("fetch", "typed", "decode"), required=True)
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--skip", type=int, required=True)
    given = parser.parse_args()
    settings = load_settings()
    batches = confluent(settings) if given.client == "confluent" else kafka_python(settings)
    found = measure(batches, looking(given.client, given.what, settings), given.events, given.skip)
    sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
