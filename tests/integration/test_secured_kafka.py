"""Agents, connector and Spark stream on a Kafka with TLS, passwords and ACLs, and what each is denied there."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing

import psycopg2
import pytest
from confluent_kafka import Consumer, KafkaError, Producer

from lab.stack import process
from lab.stack.agents import Agents
from lab.stack.home import Home
from lab.stack.process import free_ports
from lab.stack.scope import Scope
from lab.stack.spark_stream import SparkStream
from lab.stack.stack import Stack
from tests import exposure
from tests.conftest import wait_for
from tests.integration.secured import ADMIN, SecuredKafka
from twinpath import kafka_access
from twinpath.errors import ChangeLogUnavailable, ConfigurationError
from twinpath.kafka_topic import KafkaTopic
from twinpath.settings import LOOPBACK, ROOT, Settings, load_settings, run_settings

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.timeout(400)]


class Line:
    """The whole line on the secured Kafka; source and alert store on the module's PostgreSQL."""

    def __init__(self, server: Stack, kafka: SecuredKafka) -> None:
        self.server = server
        self.kafka = kafka
        self.scope = Scope(kafka.home, kafka.as_user(ADMIN), server.credentials)

    def rows(self, query: str) -> list[tuple]:
        dsn = self.server.credentials.dsn("twinpath_lab", self.scope.settings.alerts_database)
        with closing(psycopg2.connect(dsn)) as session, session.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchall()


@pytest.fixture(scope="module")
def line(server: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    broker, controller, connect = free_ports(3)
    addresses = {"kafka_bootstrap_servers": f"{LOOPBACK}:{broker}", "connect_url": f"http://{LOOPBACK}:{connect}"}
    settings = run_settings(server.settings, "secured").model_copy(update=addresses)
    kafka = SecuredKafka(Home(tmp_path_factory.mktemp("secured") / "home"), settings, controller)
    password = server.credentials.password("twinpath_cdc")
    kafka.home.write_private("connect/cdc.properties", f"password={password}\n")
    one = Line(server, kafka)
    try:
        kafka.start()
        kafka.start_connect()
        one.scope.create_line(server.postgres.connect)
        yield one
    finally:
        with closing(server.postgres.connect("postgres")) as session, session.cursor() as cursor:
            kafka.stop()
            cursor.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active")


def test_every_path_gets_in_with_its_own_user_and_raises_the_same_alerts(line: Line) -> None:
    home = line.kafka.home
    agents = {}
    for rule, client in (("spending", "confluent"), ("velocity", "kafka-python")):
        agents[rule] = Agents(home, line.kafka.as_user(rule, kafka_client=client), line.server.credentials)
        agents[rule].start(rule)
    stream = SparkStream(home, line.kafka.as_user("spark"), line.server.credentials)
    stream.start()
    for rule, one in agents.items():
        one.wait(rule)
    exposure.plant(line.server.credentials.dsn("twinpath_writer", line.scope.settings.source_database))
    stream.wait()
    counts = "SELECT path, count(*)::int FROM alert_log WHERE rule = 'spending' GROUP BY path ORDER BY path"
    wait_for(lambda: [path for path, _ in line.rows(counts)] == ["agent", "spark_stream"], "alerts of both paths", 120)
    wait_for(lambda: len({count for _, count in line.rows(counts)}) == 1, "as many of both", 60)
    letters = "SELECT path, rule FROM dead_letters ORDER BY path, rule"
    everybody = [(path, rule) for path in ("agent", "spark_stream") for rule in ("spending", "velocity")]
    wait_for(lambda: line.rows(letters) == everybody, "what nobody can read, by everybody", 60)
    secrets = line.kafka.passwords | exposure.passwords(home)
    assert exposure.in_files(exposure.logs(home), secrets | exposure.planted_words()) == []
    assert exposure.in_files(exposure.open_files(home), secrets) == []
    assert exposure.in_arguments(secrets) == []
    assert [one for one in exposure.listeners(home) if not exposure.is_loopback(one[0])] == []


def read(settings: Settings, group: str) -> KafkaError | None:
    """What a consumer of this group is told first."""
    own = {"bootstrap.servers": settings.kafka_bootstrap_servers, "group.id": group, "log_level": 0}
    with closing(Consumer({**own, **kafka_access.librdkafka(settings)})) as consumer:
        consumer.subscribe([settings.topic])
        message = consumer.poll(20)
        return message.error() if message is not None else None


def test_an_agents_user_may_not_read_as_another_group_nor_write(line: Line) -> None:
    settings = line.kafka.as_user("spending")
    refused = read(settings, line.scope.settings.group("velocity"))
    assert refused is not None
    assert refused.code() == KafkaError.GROUP_AUTHORIZATION_FAILED
    told = []
    own = {"bootstrap.servers": settings.kafka_bootstrap_servers, "log_level": 0}
    producer = Producer({**own, **kafka_access.librdkafka(settings)})
    producer.produce(settings.topic, b"{}", on_delivery=lambda error, _: told.append(error))
    assert producer.flush(20) == 0
    assert [error.code() for error in told] == [KafkaError.TOPIC_AUTHORIZATION_FAILED]


@pytest.mark.parametrize("client", ["confluent", "kafka-python"])
def test_a_wrong_password_ends_an_agent_and_is_named_without_being_repeated(line: Line, client: str) -> None:
    settings = line.kafka.as_user("spending", kafka_password="hunter2", kafka_client=client)
    store = line.server.credentials.dsn("twinpath_alerts", settings.alerts_database)
    environment = settings.environment() | {"ALERTS_DSN": store, "METRICS_PORT": "0"}
    command = [sys.executable, "-m", "streaming.agent", "--rule", "spending"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False, env=environment, cwd=ROOT)
    assert done.returncode == 4, done.stderr
    assert "uthentication" in done.stderr
    assert "hunter2" not in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_password_or_the_authority_nobody_gets_in(line: Line) -> None:
    plain = line.kafka.as_user("spending", kafka_security="PLAINTEXT")
    strange = line.kafka.as_user("spending", kafka_ca_file="")
    for settings, words in ((plain, "Kafka at"), (strange, "certificate")):
        topic = KafkaTopic(settings.kafka_bootstrap_servers, settings.topic, kafka_access.librdkafka(settings))
        with pytest.raises(ChangeLogUnavailable, match=words):
            topic.describe()
    with pytest.raises(ConfigurationError, match="wanted KAFKA_USERNAME and KAFKA_PASSWORD"):
        kafka_access.java(load_settings(kafka_security="SASL_SSL"))
    assert process.running(line.kafka.home, "kafka") is not None
