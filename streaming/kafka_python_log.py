"""The change log on kafka-python: no C library, for machines and for debugging where that counts.

kafka-python hands partitions over through `subscribe` and then accepts no `assign` of its own. So a new
partition is given a position at once (else the client would look for one by itself) and is paused; our
`assign` moves it to the stored offset and resumes it. Nothing is read in between.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.errors import (
    FencedInstanceIdError,
    KafkaError,
    LogTruncationError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    RetriableError,
    UnknownTopicOrPartitionError,
    UnsupportedCodecError,
)
from kafka.structs import OffsetAndMetadata

from streaming.change_log import MAX_RECORDS, Place, Record, fenced
from streaming.kafka_python_group import Handover, mind_the_membership
from streaming.kafka_python_topic import CALL_TIMEOUT_MS, TopicQuestions, named, unavailable
from streaming.topic_watch import TopicWatch
from twinpath.errors import RESYNC, ChangeLogUnavailable, GapError, ServiceFault

GONE = (OffsetOutOfRangeError, LogTruncationError, NoOffsetForPartitionError, UnknownTopicOrPartitionError)


class KafkaPythonChangeLog:
    """One member of a consumer group on one topic."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._servers = place.servers
        self._topic = place.topic
        self._config: dict[str, Any] = {
            "bootstrap_servers": place.servers.split(","),
            **place.access,
            "group_id": place.group,
            "group_instance_id": place.instance or None,
            "enable_auto_commit": False,
            "auto_offset_reset": "none",
            "isolation_level": "read_committed",
            "allow_auto_create_topics": False,
            "fetch_max_wait_ms": 100,
            "session_timeout_ms": 6_000,  # the least a broker allows: a killed agent is missed this long
            "heartbeat_interval_ms": 1_000,
            "partition_assignment_strategy": (RangePartitionAssignor,),
            "max_partition_fetch_bytes": 1_048_576,
            "max_poll_records": MAX_RECORDS,
            "reconnect_backoff_max_ms": 1_000,
            "bootstrap_timeout_ms": CALL_TIMEOUT_MS,
            "metrics_enabled": False,
        }
        self._consumer: KafkaConsumer | None = None
        self._questions = TopicQuestions(place.servers, place.topic, place.access)
        self._watch = TopicWatch(place.topic, self.describe)
        self._assigned: Callable[[list[int]], None] = lambda _: None
        self._revoked: Callable[[list[int]], None] = lambda _: None
        self._reading: list[TopicPartition] = []
        self._raised: Exception | None = None

    def describe(self) -> tuple[str, int]:
        """The topic's id and its number of partitions."""
        return self._questions.describe()

    def subscribe(self, assigned: Callable[[list[int]], None], revoked: Callable[[list[int]], None]) -> None:
        """Join the group. `assigned` only takes note; reading starts with `assign`."""
        self._assigned, self._revoked = assigned, revoked
        self._watch.start()
        if self._consumer is None:
            self._questions.knock()
            try:
                self._consumer = KafkaConsumer(**self._config)
            except (KafkaError, OSError) as error:
                raise unavailable(self._servers, error) from None
        self._subscribe()

    def _subscribe(self) -> None:
        """Ask for the topic and wait until it is known: who joins before has to join a second time."""
        handover = Handover(self._joined, self._given, self._taken)
        self._joined.subscribe([self._topic], listener=handover)
        with suppress(ChangeLogUnavailable):
            self.bounds(0)

    def rejoin(self) -> None:
        """Leave the group and join it again: every partition is handed out anew."""
        if self._consumer is not None:
            owned = self._consumer.assignment()
            if owned:
                self._taken(owned)
            self._consumer.unsubscribe()
            self._subscribe()
            self._raise_what_was_raised()

    def _given(self, partitions: Iterable[TopicPartition]) -> None:
        """The group gave us these: hold them still and take note. Called on the client's own thread."""
        self._reading = []
        for partition in partitions:
            self._joined.seek(partition, 0)
            self._joined.pause(partition)
        self._assigned(_numbers(partitions))

    def _taken(self, partitions: Iterable[TopicPartition]) -> None:
        """The group takes these back; what `revoked` raises is kept for the call that our caller waits in."""
        try:
            self._revoked(_numbers(partitions))
        except Exception as error:
            self._raised = error
        self._reading = []

    @property
    def _joined(self) -> KafkaConsumer:
        if self._consumer is None:
            raise ServiceFault(f"reading {self._topic} before joining its group")
        return self._consumer

    def assign(self, offsets: Mapping[int, int]) -> None:
        """Read these partitions from these offsets, and no others; those we were not given are left out."""
        ours = self._joined.assignment()
        self._joined.pause(*ours)
        self._reading = [one for number in offsets if (one := TopicPartition(self._topic, number)) in ours]
        for partition in self._reading:
            self._joined.seek(partition, offsets[partition.partition])
        self.resume()

    def poll(self, timeout_s: float) -> list[Record]:
        """Records that are there, at the latest after `timeout_s`; the first one is not held back for others."""
        self._watch.check()
        if self._consumer is None:
            time.sleep(timeout_s)  # not joined yet: nothing to read, and the caller counts on the wait
            return []
        found: dict[TopicPartition, list[Any]] = {}
        try:
            mind_the_membership(self._consumer)
            found = self._consumer.poll(int(timeout_s * 1000))
        except KafkaError as error:
            self._judge(error)
        self._raise_what_was_raised()
        return [_record(one) for records in found.values() for one in records]

    def _judge(self, error: KafkaError) -> None:
        """Let passing trouble pass; anything that would skip records halts."""
        if isinstance(error, GONE):
            raise GapError(f"topic {self._topic}: {named(error)}. {RESYNC}") from None
        if isinstance(error, FencedInstanceIdError):
            raise fenced(self._place) from None
        if isinstance(error, RetriableError):
            return
        if isinstance(error, UnsupportedCodecError):
            raise ServiceFault(
                f"topic {self._topic} is compressed with a codec that this machine lacks: {error}. Install it "
                "(python-snappy or zstandard), set KAFKA_CLIENT=confluent, or set "
                "producer.override.compression.type=lz4 in the connector"
            ) from None
        raise ServiceFault(f"reading {self._topic}: {named(error)}") from None

    def _raise_what_was_raised(self) -> None:
        raised, self._raised = self._raised, None
        if raised is not None:
            raise raised

    def pause(self) -> None:
        """Fetch nothing; polling goes on, so that the group keeps this member."""
        if self._consumer is not None:
            self._consumer.pause(*self._reading)

    def resume(self) -> None:
        """Fetch again."""
        if self._consumer is not None:
            self._consumer.resume(*self._reading)

    def bounds(self, partition: int) -> tuple[int, int]:
        """The first offset of a partition, and the one after its last."""
        ours = TopicPartition(self._topic, partition)
        try:
            low = self._joined.beginning_offsets([ours], CALL_TIMEOUT_MS)[ours]
            high = self._joined.end_offsets([ours], CALL_TIMEOUT_MS)[ours]
        except KafkaError as error:
            raise unavailable(self._servers, error) from None
        return int(low), int(high)

    def known_end(self, partition: int) -> int | None:
        """The end offset as of the last fetch, without asking the broker."""
        ours = TopicPartition(self._topic, partition)
        high = self._joined.highwater(ours) if ours in self._joined.assignment() else None
        return None if high is None else int(high)

    def commit(self, offsets: Mapping[int, int]) -> None:
        """Tell Kafka how far the checkpoints are, for lag tools only; never waited upon."""
        told = {TopicPartition(self._topic, one): OffsetAndMetadata(offset, "", -1) for one, offset in offsets.items()}
        try:
            self._joined.commit_async(told)
        except KafkaError as error:
            self._judge(error)

    def close(self) -> None:
        """Leave the group."""
        self._watch.stop()
        self._questions.close()
        if self._consumer is not None:
            with suppress(KafkaError):  # leaving is a courtesy: else the session's end does it
                self._consumer.close(autocommit=False, timeout_ms=CALL_TIMEOUT_MS)
            self._consumer = None
            self._raise_what_was_raised()


def _numbers(partitions: Iterable[TopicPartition]) -> list[int]:
    return sorted(one.partition for one in partitions)


def _record(record: Any) -> Record:
    return Record(record.partition, record.offset, record.key, record.value, record.timestamp * 1000)
