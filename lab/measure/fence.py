"""The fence: after the writers stopped, wait until everything they committed was judged by everyone.

A marker is written into the log itself (a logical message: no table is touched). Logical decoding hands
transactions out in the order of their commits, so when the slot has confirmed the marker, everything
that was committed before it is in Kafka.
"""

import time
from collections.abc import Iterable
from contextlib import closing

import psycopg2
from confluent_kafka import Consumer, KafkaException, TopicPartition

from twinpath import kafka_access
from twinpath.errors import ChangeLogUnavailable, ServiceFault
from twinpath.settings import Settings

EVERY_S = 0.1


def current_lsn(dsn: str) -> int:
    """Where the write-ahead log ends now, as a number."""
    with closing(psycopg2.connect(dsn)) as session, session.cursor() as cursor:
        cursor.execute("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint")
        (lsn,) = cursor.fetchone() or (0,)
    return int(lsn)


def flushed_lsn(dsn: str) -> int:
    """Up to where the write-ahead log is on the disk: a lost server goes on behind it, wherever it had been writing."""
    with closing(psycopg2.connect(dsn)) as session, session.cursor() as cursor:
        cursor.execute("SELECT (pg_current_wal_flush_lsn() - '0/0')::bigint")
        (lsn,) = cursor.fetchone() or (0,)
    return int(lsn)


def mark(dsn: str) -> int:
    """Write a marker into the log of the source database; returns its LSN."""
    with closing(psycopg2.connect(dsn)) as session, session, session.cursor() as cursor:
        cursor.execute("SELECT (pg_logical_emit_message(true, 'twinpath', 'fence') - '0/0')::bigint")
        (lsn,) = cursor.fetchone() or (0,)
    return int(lsn)


def wait_for_slot(dsn: str, slot: str, lsn: int, timeout_s: float) -> None:
    """Wait until the connector has confirmed the marker at `lsn`: then everything before it is in Kafka."""
    deadline = time.monotonic() + timeout_s
    with closing(psycopg2.connect(dsn)) as session, session.cursor() as cursor:
        session.autocommit = True
        while True:
            cursor.execute(
                "SELECT (confirmed_flush_lsn - '0/0')::bigint FROM pg_replication_slots WHERE slot_name = %s",
                [slot],
            )
            found = cursor.fetchone()
            if found is not None and found[0] is not None and found[0] >= lsn:
                return
            if time.monotonic() > deadline:
                raise ServiceFault(
                    f"slot {slot} has confirmed {found[0] if found else 'nothing'} after {timeout_s:.0f} s, wanted "
                    f"{lsn}: the connector is stuck; look at twinpath doctor"
                )
            time.sleep(EVERY_S)


def end_offsets(settings: Settings) -> dict[int, int]:
    """The end of each partition of the topic."""
    servers = {"bootstrap.servers": settings.kafka_bootstrap_servers, **kafka_access.librdkafka(settings)}
    consumer = Consumer({**servers, "group.id": "twinpath-fence"})
    try:
        described = consumer.list_topics(settings.topic, timeout=10).topics[settings.topic]
        return {
            partition: consumer.get_watermark_offsets(TopicPartition(settings.topic, partition), timeout=10)[1]
            for partition in described.partitions
        }
    except KafkaException as error:
        raise ChangeLogUnavailable(f"Kafka at {settings.kafka_bootstrap_servers}: {error.args[0].str()}") from None
    finally:
        consumer.close()


def wait_for_checkpoints(
    dsn: str,
    topic_id: str,
    rules: Iterable[tuple[str, str]],
    ends: dict[int, int],
    timeout_s: float,
    path: str = "agent",
) -> None:
    """Wait until the checkpoints of each (rule, version) on a path stand at the ends of the topic."""
    deadline = time.monotonic() + timeout_s
    waiting = set(rules)
    with closing(psycopg2.connect(dsn)) as session, session.cursor() as cursor:
        session.autocommit = True
        while waiting:
            for rule, version in sorted(waiting):
                cursor.execute(
                    "SELECT partition, coalesce(next_offset, 0) FROM checkpoints WHERE path = %s AND rule = %s "
                    "AND rule_version = %s AND topic_id = %s",
                    [path, rule, version, topic_id],
                )
                found = dict(cursor.fetchall())
                if all(found.get(partition, 0) >= end for partition, end in ends.items()):
                    waiting.discard((rule, version))
                elif time.monotonic() > deadline:
                    raise ServiceFault(
                        f"{path} {rule} stands at {found} after {timeout_s:.0f} s, wanted {ends}; look at its log"
                    )
            time.sleep(EVERY_S)
