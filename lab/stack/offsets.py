"""What Kafka Connect keeps of its connectors, read from its own topics: a worker that is down cannot be asked.

What matters is how far a connector has read: Debezium confirms to PostgreSQL what it finds stored here, and nothing
else. So a slot is never past the stored offset, unless somebody else moved it.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, NamedTuple

from kafka import KafkaConsumer, TopicPartition

from lab.topic import between, open_consumer
from twinpath.settings import Settings

CONFIGS, OFFSETS = "connect-configs", "connect-offsets"
CONFIG, TARGET = "connector-", "target-state-"  # keys of the topic of configurations
LSNS = ("lsn", "lsn_proc", "lsn_commit")
FIRST_LOOK = 1_000  # records from the end: several minutes of one connector
WIDER = 8
Value = Mapping[str, Any] | None
Found = Mapping[tuple[str, str], Value]
"""(connector, topic prefix) -> the newest value of its offset."""


class Captured(NamedTuple):
    """A connector on PostgreSQL that Connect has, by its configuration."""

    connector: str
    slot: str
    prefix: str


class StoredOffset(NamedTuple):
    """How far a connector has read, as Connect has stored it; within a snapshot it is read anew from its beginning."""

    lsn: int
    within_snapshot: bool = False


def offset_of(value: Value) -> StoredOffset | None:
    """The offset in a stored value; None when there is none, or it was reset.

    Of its LSNs (of the row, of what was completely processed, of the last commit) the highest counts: transactions
    are sent in the order of their commits, so that whatever was committed up to there was sent, and a slot that begins
    at or before it sends the rest.
    """
    found = [lsn for name in LSNS if isinstance(lsn := (value or {}).get(name), int)]
    if value is None or not found:
        return None
    return StoredOffset(max(found), bool(value.get("snapshot")) and not value.get("snapshot_completed"))


def captured_by(records: Iterable[tuple[bytes, bytes | None]]) -> list[Captured]:
    """The connectors with a slot that are not stopped, from keys and values of Connect's topic of configurations."""
    configs: dict[str, Mapping[str, str]] = {}
    stopped: dict[str, bool] = {}
    for key, value in records:
        name = key.decode()
        content = json.loads(value) if value else {}
        if name.startswith(CONFIG):
            configs[name.removeprefix(CONFIG)] = content.get("properties", {})
        elif name.startswith(TARGET):
            stopped[name.removeprefix(TARGET)] = content.get("state.v2") == "STOPPED"
    return [
        Captured(name, config["slot.name"], config.get("topic.prefix", ""))
        for name, config in sorted(configs.items())
        if "slot.name" in config and not stopped.get(name)
    ]


def captured(settings: Settings) -> list[Captured]:
    """The connectors that a worker reads slots for as soon as it is started. Raises ChangeLogUnavailable."""
    with closing(open_consumer(settings)) as consumer:
        if not consumer.partitions_for_topic(CONFIGS):
            return []
        place = TopicPartition(CONFIGS, 0)
        begin, end = _bounds(consumer, place)
        return captured_by((one.key, one.value) for one in between(consumer, place, begin, end))


def stored_offset(settings: Settings) -> StoredOffset | None:
    """How far our connector has read. Raises ChangeLogUnavailable."""
    key = (settings.connector, settings.prefix)
    return offset_of(stored_offsets(settings, [key]).get(key))


def stored_offsets(settings: Settings, wanted: Sequence[tuple[str, str]]) -> Found:
    """The newest offset of each (connector, topic prefix), looked for from the end backwards."""
    found: dict[tuple[str, str], Value] = {}
    with closing(open_consumer(settings)) as consumer:
        partitions = consumer.partitions_for_topic(OFFSETS) or set()
        for number in sorted(partitions):
            place = TopicPartition(OFFSETS, number)
            begin, end = _bounds(consumer, place)
            step = FIRST_LOOK
            while end > begin and not found.keys() >= set(wanted):
                start = max(begin, end - step)
                found = _newest(between(consumer, place, start, end), wanted) | found
                end, step = start, step * WIDER
    return found


def _newest(records: Iterator[Any], wanted: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Value]:
    """The last value of each key that is wanted."""
    found: dict[tuple[str, str], Value] = {}
    for record in records:
        connector, partition = json.loads(record.key)
        key = (connector, partition.get("server", ""))
        if key in wanted:
            found[key] = json.loads(record.value) if record.value else None
    return found


def _bounds(consumer: KafkaConsumer, place: TopicPartition) -> tuple[int, int]:
    consumer.assign([place])
    return consumer.beginning_offsets([place])[place], consumer.end_offsets([place])[place]
