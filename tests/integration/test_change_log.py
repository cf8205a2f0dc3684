"""The change log as clients read it: aborted transactions, absent codecs, what agents and people see."""

import pytest
from confluent_kafka import Producer
from kafka.codec import has_snappy

from lab.watch_changes import lines, open_topic
from streaming.confluent_log import ConfluentChangeLog
from tests.conftest import Line, wait_for
from tests.integration.publishing import OURS, envelope, key, publish, row
from twinpath.errors import ChangeLogUnavailable, ConfigurationError, ServiceFault

pytestmark = pytest.mark.integration


def insert(number: int, line: Line) -> bytes:
    value = envelope("c", number, after=row(number, 7, "10.00"))
    return value.replace(OURS.encode(), line.settings.source_database.encode())


def test_case_82_records_of_an_aborted_transaction_are_never_delivered(topic_line: Line) -> None:
    servers, topic = topic_line.settings.kafka_bootstrap_servers, topic_line.settings.topic
    producer = Producer({"bootstrap.servers": servers, "transactional.id": f"test{topic_line.settings.suffix}"})
    producer.init_transactions(30)
    for number, end in (
        (1, producer.commit_transaction),
        (2, producer.abort_transaction),
        (3, producer.commit_transaction),
    ):
        producer.begin_transaction()
        producer.produce(topic, key=key(7), value=insert(number, topic_line), partition=0)
        producer.flush(30)
        end(30)
    topic_line.agents.start("spending")
    topic_line.agents.wait("spending")
    judged = "SELECT coalesce(sum(value), 0)::int FROM counters WHERE name = 'judged'"
    assert wait_for(lambda: topic_line.rows(judged) == [(2,)], "two judged records")
    consumer = open_topic(topic_line.settings, 3_000)
    try:
        found = [line for line in lines(topic_line.settings, consumer, user=None, as_json=False)]
    finally:
        consumer.close()
    assert [line.partition(" user")[0] for line in found] == ["INSERT   tx 1", "INSERT   tx 3"]


def test_case_80_headers_of_any_kind_change_nothing(topic_line: Line) -> None:
    producer = Producer({"bootstrap.servers": topic_line.settings.kafka_bootstrap_servers})
    headers = [("__debezium.oldkey", b'{"user_id":7}'), ("__connect.errors.exception.message", b"x" * 100_000)]
    value = insert(1, topic_line)
    producer.produce(topic_line.settings.topic, key=key(7), value=value, partition=0, headers=headers)
    producer.flush(30)
    topic_line.agents.start("spending")
    topic_line.agents.wait("spending")
    judged = "SELECT coalesce(sum(value), 0)::int FROM counters WHERE name = 'judged'"
    assert wait_for(lambda: topic_line.rows(judged) == [(1,)], "the judged record")


def test_case_81_an_absent_codec_is_named(topic_line: Line) -> None:
    assert not has_snappy(), "the environment of the lock has no snappy codec for kafka-python"
    publish(topic_line.settings, [(key(7), insert(1, topic_line))], **{"compression.type": "snappy"})
    consumer = open_topic(topic_line.settings, 3_000)
    try:
        with pytest.raises(ServiceFault, match="snappy"):
            list(lines(topic_line.settings, consumer, user=None, as_json=False))
    finally:
        consumer.close()


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_the_agents_client_reads_every_codec_that_a_broker_may_hold(topic_line: Line, codec: str) -> None:
    publish(topic_line.settings, [(key(7), insert(1, topic_line))], **{"compression.type": codec})
    topic_line.agents.start("spending")
    topic_line.agents.wait("spending")
    topic_line.wait_until_judged()
    judged = "SELECT coalesce(sum(value), 0)::int FROM counters WHERE name = 'judged'"
    assert wait_for(lambda: topic_line.rows(judged) == [(1,)], f"the record compressed with {codec}")


def test_an_unknown_topic_and_an_unreachable_broker_are_two_errors(topic_line: Line) -> None:
    unknown = ConfluentChangeLog(topic_line.settings.kafka_bootstrap_servers, "nowhere", "group")
    with pytest.raises(ConfigurationError, match="found no topic nowhere"):
        unknown.describe()
    unknown.close()
    nobody = ConfluentChangeLog("127.0.0.1:1", "nowhere", "group")
    with pytest.raises(ChangeLogUnavailable, match="127.0.0.1:1"):
        nobody.describe()
    nobody.close()
