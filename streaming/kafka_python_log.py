"""The change log on kafka-python: no C library, for machines and for debugging where that counts.

kafka-python hands partitions over through `subscribe` and then accepts no `assign` of its own. So a new
partition is given a position at once (else the client would look for one by itself) and is paused; our
`assign` moves it to the stored offset and resumes it. Nothing is read in between.
"""

import socket
import threading
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing, suppress
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.consumer.subscription_state import AsyncConsumerRebalanceListener
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.errors import (
    KafkaError,
    LogTruncationError,
    NoError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    RetriableError,
    UnknownTopicOrPartitionError,
    UnsupportedCodecError,
    for_code,
)
from kafka.future import Future
from kafka.structs import OffsetAndMetadata

from streaming.change_log import CALL_TIMEOUT_S, MAX_RECORDS, Record
from twinpath.errors import START_AFRESH, ChangeLogUnavailable, ConfigurationError, GapError, ServiceFault

CALL_TIMEOUT_MS = int(CALL_TIMEOUT_S * 1000)
GONE = (OffsetOutOfRangeError, LogTruncationError, NoOffsetForPartitionError, UnknownTopicOrPartitionError)


class KafkaPythonChangeLog:
    """One member of a consumer group on one topic."""

    def __init__(self, servers: str, topic: str, group: str) -> None:
        self._servers = servers
        self._topic = topic
        self._config: dict[str, Any] = {
            "bootstrap_servers": servers.split(","),
            "group_id": group,
            "enable_auto_commit": False,
            "auto_offset_reset": "none",
            "isolation_level": "read_committed",
            "allow_auto_create_topics": False,
            "fetch_max_wait_ms": 100,
            "session_timeout_ms": 6_000,  # the least a broker allows: a killed agent is missed this long
            "heartbeat_interval_ms": 1_000,
            "partition_assignment_strategy": (RangePartitionAssignor,),
            "max_partition_fetch_bytes": 8_388_608,
            "max_poll_records": MAX_RECORDS,
            "reconnect_backoff_max_ms": 1_000,
            "bootstrap_timeout_ms": CALL_TIMEOUT_MS,
            "metrics_enabled": False,
        }
        self._consumer: KafkaConsumer | None = None
        self._listener = _Listener(self)
        self._assigned: Callable[[list[int]], None] = lambda _: None
        self._revoked: Callable[[list[int]], None] = lambda _: None
        self._reading: list[TopicPartition] = []
        self._raised: Exception | None = None

    def describe(self) -> tuple[str, int]:
        """The topic's id and its number of partitions."""
        self._knock()
        try:
            admin = KafkaAdminClient(
                bootstrap_servers=self._servers.split(","),
                bootstrap_timeout_ms=CALL_TIMEOUT_MS,
                request_timeout_ms=CALL_TIMEOUT_MS,
            )
            with closing(admin):
                (described,) = admin.describe_topics([self._topic])
        except (KafkaError, OSError) as error:
            raise ChangeLogUnavailable(f"Kafka at {self._servers}: {_name(error)}") from None
        problem = for_code(described["error_code"])
        if problem is UnknownTopicOrPartitionError:
            raise ConfigurationError(
                f"found no topic {self._topic} at {self._servers}; topics are not made by reading them. "
                "Start the connector (twinpath up), or set TOPIC_PREFIX"
            )
        if problem is not NoError:
            raise ChangeLogUnavailable(f"Kafka at {self._servers}: {_name(problem())}")
        number = uuid.UUID(str(described["topic_id"]))
        return urlsafe_b64encode(number.bytes).decode().rstrip("="), len(described["partitions"])

    def _knock(self) -> None:
        """ChangeLogUnavailable when nothing listens: a client that is refused would wait for seconds."""
        problem: Exception = ValueError("no address")
        for address in self._servers.split(","):
            host, _, port = address.strip().rpartition(":")
            try:
                socket.create_connection((host.strip("[]"), int(port)), timeout=CALL_TIMEOUT_S).close()
            except (OSError, ValueError) as error:
                problem = error
            else:
                return
        raise ChangeLogUnavailable(f"Kafka at {self._servers}: {_name(problem)}") from None

    def subscribe(self, assigned: Callable[[list[int]], None], revoked: Callable[[list[int]], None]) -> None:
        """Join the group. `assigned` only takes note; reading starts with `assign`."""
        self._assigned, self._revoked = assigned, revoked
        if self._consumer is None:
            self._knock()
            try:
                self._consumer = KafkaConsumer(**self._config)
            except (KafkaError, OSError) as error:
                raise ChangeLogUnavailable(f"Kafka at {self._servers}: {_name(error)}") from None
        self._consumer.subscribe([self._topic], listener=self._listener)

    def rejoin(self) -> None:
        """Leave the group and join it again: every partition is handed out anew."""
        if self._consumer is not None:
            owned = _numbers(self._consumer.assignment())
            if owned:
                self.taken(owned)
            self._consumer.unsubscribe()
            self._consumer.subscribe([self._topic], listener=self._listener)
            self._raise_what_was_raised()

    def given(self, partitions: Iterable[TopicPartition]) -> None:
        """The group gave us these: hold them still and take note. Called on the client's own thread."""
        self._reading = []
        for partition in partitions:
            self._joined.seek(partition, 0)
            self._joined.pause(partition)
        self._assigned(_numbers(partitions))

    def taken(self, numbers: list[int]) -> None:
        """The group takes these back; what `revoked` raises is kept for the call that our caller waits in."""
        try:
            self._revoked(numbers)
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
        if self._consumer is None:
            time.sleep(timeout_s)  # not joined yet: nothing to read, and the caller counts on the wait
            return []
        found: dict[TopicPartition, list[Any]] = {}
        try:
            found = self._consumer.poll(int(timeout_s * 1000))
        except KafkaError as error:
            self._judge(error)
        self._raise_what_was_raised()
        return [_record(one) for records in found.values() for one in records]

    def _judge(self, error: KafkaError) -> None:
        """Let passing trouble pass; anything that would skip records halts."""
        if isinstance(error, GONE):
            raise GapError(f"topic {self._topic}: {_name(error)}. {START_AFRESH}") from None
        if isinstance(error, RetriableError):
            return
        if isinstance(error, UnsupportedCodecError):
            raise ServiceFault(
                f"topic {self._topic} is compressed with a codec that this machine lacks: {error}. Install it "
                "(python-snappy, zstandard), set KAFKA_CLIENT=confluent, or set "
                "producer.override.compression.type=lz4 in the connector"
            ) from None
        raise ServiceFault(f"reading {self._topic}: {_name(error)}") from None

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
            raise ChangeLogUnavailable(f"Kafka at {self._servers}: {_name(error)}") from None
        return int(low), int(high)

    def known_end(self, partition: int) -> int | None:
        """The end offset as of the last fetch, without asking the broker."""
        ours = TopicPartition(self._topic, partition)
        high = self._joined.highwater(ours) if ours in self._joined.assignment() else None
        return None if high is None else int(high)

    def commit(self, offsets: Mapping[int, int]) -> None:
        """Tell Kafka how far the checkpoints are, for lag tools only; never waited upon."""
        told = {TopicPartition(self._topic, one): OffsetAndMetadata(offset, "", -1) for one, offset in offsets.items()}
        self._joined.commit_async(told)

    def close(self) -> None:
        """Leave the group."""
        if self._consumer is not None:
            with suppress(KafkaError):  # leaving is a courtesy: else the session's end does it
                self._consumer.close(autocommit=False, timeout_ms=CALL_TIMEOUT_MS)
            self._consumer = None
            self._raise_what_was_raised()


class _Listener(AsyncConsumerRebalanceListener):  # type: ignore[misc]
    """Called on kafka-python's own thread, which also sends the heartbeats: what takes time runs beside it.

    Our caller waits in `poll` or `close` meanwhile, so that its objects are used by one thread at a time.
    """

    def __init__(self, log: KafkaPythonChangeLog) -> None:
        self._log = log

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """The whole of what we have now."""
        self._log.given(assigned)

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """The whole of what we had; nobody else is given it before this returns."""
        if not revoked:
            return
        loop = self._log._joined._net
        done = Future()

        def take() -> None:
            self._log.taken(_numbers(revoked))
            loop.call_soon_threadsafe(lambda: done.success(None))

        threading.Thread(target=take, name="revoked").start()
        await done


def _numbers(partitions: Iterable[TopicPartition]) -> list[int]:
    return sorted(one.partition for one in partitions)


def _name(error: Exception) -> str:
    """A foreign error in words: its kind, and what it says."""
    return f"{type(error).__name__}: {error}".removesuffix(": ")


def _record(record: Any) -> Record:
    return Record(record.partition, record.offset, record.key, record.value, record.timestamp * 1000)
