"""Synthetic change records in exactly the form of our connector, some 610 bytes each, written into a topic.

One-row inserts; positions, transaction ids and times rise, one payment a millisecond of event time. A share
of the payments is far above the user's others, so that the rule spending raises alerts.
"""

import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from confluent_kafka import Producer

from twinpath.errors import ServiceFault
from twinpath.settings import Settings

CHUNK = 50_000
FIRST_USER = 1000
FIRST_US = 1_795_413_600_000_000  # 2026-11-23 06:00 UTC
FIRST_LSN = 30_000_000
ROW_BYTES = 200  # of WAL, between two positions
MINUTE_US = 60_000_000
FLUSH_S = 60.0
TEMPLATE = (
    '{"before":null,"after":{"id":%d,"user_id":%d,"amount":"%d.%02d","card_type":"visa","merchant_id":%d,'
    '"created_at":"2026-11-23T%02d:%02d:%02d.%06dZ"},"source":{"version":"3.7.0.Final","connector":"postgresql",'
    '"name":"PREFIX","ts_ms":%d,"snapshot":null,"db":"DATABASE","sequence":"[\\"%d\\",\\"%d\\"]","ts_us":%d,'
    '"ts_ns":%d,"schema":"public","table":"transactions","txId":%d,"lsn":%d,"xmin":null,"origin":null,'
    '"origin_lsn":null},"transaction":null,"op":"c","ts_ms":%d,"ts_us":%d,"ts_ns":%d}'
)


class Stream(NamedTuple):
    """What is written: events, users, whether the users take turns (else they are drawn), alerts, seed."""

    events: int
    users: int
    in_turn: bool
    alert_share: float
    seed: int


def records(stream: Stream, settings: Settings) -> Iterator[tuple[int, bytes, bytes]]:
    """(user, key, value) of each event, in order of position."""
    template = TEMPLATE.replace("PREFIX", settings.prefix).replace("DATABASE", settings.source_database)
    draw = np.random.default_rng(stream.seed)
    for begin in range(0, stream.events, CHUNK):
        count = min(CHUNK, stream.events - begin)
        numbers = np.arange(begin, begin + count)
        users = numbers % stream.users if stream.in_turn else draw.integers(0, stream.users, count)
        cents = draw.integers(5_00, 500_00, count)
        cents[draw.random(count) < stream.alert_share] += 2_000_00
        merchants = draw.integers(1, 500, count)
        columns = zip((users + FIRST_USER).tolist(), cents.tolist(), merchants.tolist(), strict=True)
        for number, (user, amount, merchant) in enumerate(columns, begin):
            us, lsn = FIRST_US + number * 1000, FIRST_LSN + number * ROW_BYTES
            second, micros = divmod(us, 1_000_000)
            minute, second = divmod(second, 60)
            hour, minute = divmod(minute % 1440, 60)
            seen_us = us + 3000
            value = template % (
                *(number + 1, user, amount // 100, amount % 100, merchant, hour, minute, second, micros),
                *(us // 1000, lsn - ROW_BYTES, lsn, us, us * 1000, 700 + number, lsn),
                *(seen_us // 1000, seen_us, seen_us * 1000),
            )
            yield user, b'{"user_id":%d}' % user, value.encode()


def publish(stream: Stream, settings: Settings) -> float:
    """Write the stream into the topic of `settings`, a user's records into one partition; bytes per event."""
    producer = Producer(
        {
            "bootstrap.servers": settings.kafka_bootstrap_servers,
            "enable.idempotence": True,  # the order within a partition is part of the data
            "compression.type": "lz4",
            "linger.ms": 20,
            "batch.size": 262_144,
            "queue.buffering.max.messages": 500_000,
        }
    )
    written = 0
    for user, key, value in records(stream, settings):
        written += len(value)
        while True:
            try:
                producer.produce(settings.topic, key=key, value=value, partition=user % settings.topic_partitions)
                break
            except BufferError:
                producer.poll(0.05)
    deadline = time.monotonic() + FLUSH_S
    while producer.flush(1):
        if time.monotonic() > deadline:
            raise ServiceFault(f"Kafka has not taken all records after {FLUSH_S:.0f} s: {len(producer)} are left")
    return written / max(stream.events, 1)
