"""A program of the bench: stamps the arrival of each record of the topic, in microseconds, and nothing else.

    python -m lab.bench.arrivals --count 20000 --seconds 60 --out FILE

It reads every partition from the beginning, makes FILE.ready when it has begun, and ends when it has seen
`count` records or after `seconds`. FILE is a NumPy array of rows (committed us, appended ms, arrived us):
the commit time is PostgreSQL's (source.ts_us), the append time the broker's, which is cut to whole ms.
"""

import argparse
import gc
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from twinpath.settings import Settings, load_settings

Rows = list[tuple[int, int, bytes | None]]


class _Source(msgspec.Struct):
    ts_us: int


class _Envelope(msgspec.Struct):
    source: _Source


def consumer(settings: Settings) -> Consumer:
    """A consumer of every partition from its beginning, with the fetch settings of the agents."""
    found = Consumer(
        {
            "bootstrap.servers": settings.kafka_bootstrap_servers,
            "group.id": "twinpath-bench",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": 100,
            "fetch.min.bytes": 1,
            "queued.max.messages.kbytes": 32_768,
            "fetch.message.max.bytes": 8_388_608,
            "fetch.queue.backoff.ms": 10,  # the default, 1 s, holds every reader to two full queues a second
        }
    )
    numbers = found.list_topics(settings.topic, timeout=10).topics[settings.topic].partitions
    found.assign([TopicPartition(settings.topic, number, OFFSET_BEGINNING) for number in numbers])
    return found


def stamped(reader: Consumer, count: int, seconds: float) -> Rows:
    """(arrived us, appended ms, value) of each record."""
    rows: Rows = []
    deadline = time.monotonic() + seconds
    while len(rows) < count and time.monotonic() < deadline:
        message = reader.poll(0.2)
        if message is not None and message.error() is None:
            rows.append((time.time_ns() // 1000, message.timestamp()[1], message.value()))
    return rows


def main() -> int:
    """Read, stamp, write."""
    parser = argparse.ArgumentParser(prog="python -m lab.bench.arrivals")
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    reader = consumer(load_settings())
    reader.poll(0)
    gc.disable()  # a collection would stand between arrival and stamp
    given.out.with_name(f"{given.out.name}.ready").touch()
    rows = stamped(reader, given.count, given.seconds)
    reader.close()
    decode = msgspec.json.Decoder(_Envelope).decode
    table = [(decode(value).source.ts_us, appended_ms, arrived_us) for arrived_us, appended_ms, value in rows if value]
    beside = given.out.with_name(f"{given.out.name}.tmp")
    with beside.open("wb") as out:
        np.save(out, np.array(table, dtype=np.int64).reshape(-1, 3))
    beside.rename(given.out)  # whole, or not at all
    return 0


if __name__ == "__main__":
    sys.exit(main())
