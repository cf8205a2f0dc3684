"""The change log on confluent-kafka (librdkafka): the agents' usual client, and the fast one."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from streaming.change_log import CALL_TIMEOUT_S, MAX_RECORDS, Place, Record, fenced
from streaming.topic_watch import TopicWatch
from twinpath.errors import RESYNC, ChangeLogUnavailable, GapError, ServiceFault
from twinpath.kafka_topic import LIBRDKAFKA, KafkaTopic

_new_tuple = tuple.__new__
PASSING = {
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._TRANSPORT,
    KafkaError._TIMED_OUT,
    KafkaError._RESOLVE,
    KafkaError._MAX_POLL_EXCEEDED,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.REQUEST_TIMED_OUT,
}


class ConfluentChangeLog:
    """One member of a consumer group on one topic."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._topic = place.topic
        self._servers = place.servers
        config: dict[str, Any] = {
            "bootstrap.servers": place.servers,
            **place.access,
            "group.id": place.group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": 100,
            "fetch.min.bytes": 1,
            "session.timeout.ms": 6_000,  # the least a broker allows: a killed agent is missed this long
            "heartbeat.interval.ms": 1_000,
            "partition.assignment.strategy": "range",
            "queued.max.messages.kbytes": 4_096,  # 8 times as much is not faster, and takes 200 MB more
            "fetch.message.max.bytes": 524_288,
            "fetch.queue.backoff.ms": 10,  # the default, 1 s, holds a reader to two full queues a second
        }
        if place.instance:
            config["group.instance.id"] = place.instance
        self._consumer = Consumer(config, logger=LIBRDKAFKA)
        self._facts = KafkaTopic(place.servers, place.topic, place.access)
        self._watch = TopicWatch(place.topic, self.describe)
        self._subscribe: Callable[[], None] = lambda: None

    def describe(self) -> tuple[str, int]:
        """The topic's id and its number of partitions."""
        return self._facts.describe()

    def subscribe(self, assigned: Callable[[list[int]], None], revoked: Callable[[list[int]], None]) -> None:
        """Join the group. `assigned` only takes note; reading starts with `assign`."""

        def on_assign(consumer: Consumer, partitions: list[TopicPartition]) -> None:
            consumer.assign([])
            assigned(sorted(one.partition for one in partitions))

        def on_revoke(consumer: Consumer, partitions: list[TopicPartition]) -> None:
            revoked(sorted(one.partition for one in partitions))
            consumer.unassign()

        self._watch.start()
        self._subscribe = partial(
            self._consumer.subscribe, [self._topic], on_assign=on_assign, on_revoke=on_revoke, on_lost=on_revoke
        )
        self._subscribe()

    def rejoin(self) -> None:
        """Leave the group and join it again: every partition is handed out anew."""
        self._consumer.unsubscribe()
        self._subscribe()

    def assign(self, offsets: Mapping[int, int]) -> None:
        """Read these partitions from these offsets, and no others."""
        self._consumer.assign([TopicPartition(self._topic, one, offset) for one, offset in offsets.items()])

    def poll(self, timeout_s: float) -> list[Record]:
        """Records that are there, at the latest after `timeout_s`; the first one is not waited upon by others."""
        self._watch.check()
        first = self._consumer.poll(timeout_s)
        if first is None:
            return []
        records = []
        for message in (first, *self._consumer.consume(MAX_RECORDS, 0)):
            error = message.error()
            if error is None:
                records.append(_record(message))
            else:
                self._judge(error)
        return records

    def _judge(self, error: KafkaError) -> None:
        """Let passing trouble pass; anything that would skip records halts."""
        if error.code() in PASSING or error.retriable():
            return
        if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            raise GapError(f"topic {self._topic}: {error.str()}. {RESYNC}")
        if error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_PARTITION):
            raise GapError(f"topic {self._topic} is gone ({error.str()}). {RESYNC}")
        if error.code() == KafkaError._FATAL and "group.instance.id" in error.str():
            raise fenced(self._place)
        raise ServiceFault(f"reading {self._topic}: {error.str()}")

    def pause(self) -> None:
        """Fetch nothing; polling goes on, so that the group keeps this member."""
        self._consumer.pause(self._consumer.assignment())

    def resume(self) -> None:
        """Fetch again."""
        self._consumer.resume(self._consumer.assignment())

    def bounds(self, partition: int) -> tuple[int, int]:
        """The first offset of a partition, and the one after its last."""
        try:
            low, high = self._consumer.get_watermark_offsets(
                TopicPartition(self._topic, partition), timeout=CALL_TIMEOUT_S
            )
        except KafkaException as error:
            raise ChangeLogUnavailable(f"Kafka at {self._servers}: {error.args[0].str()}") from None
        return int(low), int(high)

    def known_end(self, partition: int) -> int | None:
        """The end offset as of the last fetch, without asking the broker."""
        _, high = self._consumer.get_watermark_offsets(TopicPartition(self._topic, partition), cached=True)
        return int(high) if high >= 0 else None

    def commit(self, offsets: Mapping[int, int]) -> None:
        """Tell Kafka how far the checkpoints are, for lag tools only; never waited upon."""
        self._consumer.commit(
            offsets=[TopicPartition(self._topic, one, offset) for one, offset in offsets.items()],
            asynchronous=True,
        )

    def close(self) -> None:
        """Leave the group."""
        self._watch.stop()
        self._consumer.close()


def _record(message: Any) -> Record:
    stamp_us = message.timestamp()[1] * 1000
    # tuple.__new__ is what Record(...) does, at a third of the price
    return _new_tuple(Record, (message.partition(), message.offset(), message.key(), message.value(), stamp_us))
