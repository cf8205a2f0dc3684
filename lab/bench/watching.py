"""How a topic grows, seen from beside it: a connector's drain, sampled."""

import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType

import msgspec
from confluent_kafka import Consumer, TopicPartition

from lab.bench.cpu import Read
from lab.bench.result import Figure
from twinpath.errors import ServiceFault
from twinpath.settings import Settings

EVERY_S = 0.02
WALSENDER = "walsender"
WARM_SHARE = 0.05
"""Of the records: what a connector that was just resumed delivers before its figures count."""


class Look(msgspec.Struct):
    """Records in the topic at a moment, and CPU seconds used until then, by part."""

    at: float
    records: int
    cpu_s: dict[str, float]


class Topic:
    """The end of a topic, on one connection that stays open."""

    def __init__(self, settings: Settings) -> None:
        self._consumer = Consumer({"bootstrap.servers": settings.kafka_bootstrap_servers, "group.id": "twinpath-bench"})
        self._all = [TopicPartition(settings.topic, number) for number in range(settings.topic_partitions)]

    def __enter__(self) -> "Topic":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._consumer.close()

    def records(self) -> int:
        """Records in it now."""
        return sum(int(self._consumer.get_watermark_offsets(one, timeout=10)[1]) for one in self._all)

    def newest(self) -> bytes:
        """The last record of a partition that has one."""
        for one in self._all:
            end = int(self._consumer.get_watermark_offsets(one, timeout=10)[1])
            if end > 0:
                self._consumer.assign([TopicPartition(one.topic, one.partition, end - 1)])
                message = self._consumer.poll(10)
                if message is not None and message.error() is None:
                    return message.value() or b""
        raise ServiceFault("found no record in the topic, wanted the end of a drain")


def watch(topic: Topic, wanted: int, readers: Callable[[], Mapping[str, Read]], timeout_s: float) -> list[Look]:
    """Look until `wanted` records are there; `readers` are asked for when the first record has come.

    Raises ServiceFault when they do not come in time.
    """
    looks: list[Look] = []
    deadline = time.monotonic() + timeout_s
    begin = topic.records()
    parts: Mapping[str, Read] | None = None
    while not looks or looks[-1].records < wanted:
        found = topic.records()
        if parts is None and found > begin:
            parts = readers()
        if parts is not None:
            looks.append(Look(time.monotonic(), found, {name: read() for name, read in parts.items()}))
        if time.monotonic() > deadline:
            raise ServiceFault(f"the topic holds {found} of {wanted} records after {timeout_s:.0f} s")
        time.sleep(EVERY_S)
    return looks


def drained(looks: Sequence[Look]) -> dict[str, Figure]:
    """Events per second and CPU us per event of each part, without the first few of the records."""
    last = looks[-1]
    first = next(
        (one for one in looks[:-1] if one.records - looks[0].records >= WARM_SHARE * (last.records - looks[0].records)),
        looks[0],
    )
    events, seconds = last.records - first.records, last.at - first.at
    if events <= 0 or seconds <= 0:
        return {"events": events, "events_per_s": None}
    found: dict[str, Figure] = {"events": events, "events_per_s": round(events / seconds)}
    for name, used in last.cpu_s.items():
        if name == WALSENDER:  # it is new at each resumption, and has read ahead by a whole queue when we look first
            found[f"{name}_cpu_us_per_event"] = round(used * 1e6 / last.records, 3)
        else:
            found[f"{name}_cpu_us_per_event"] = round((used - first.cpu_s[name]) * 1e6 / events, 3)
    return found
