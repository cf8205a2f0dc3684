"""The stack's Kafka: one KRaft broker on loopback; and the administration of topics (kafka-python)."""

import os
import subprocess
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kafka.admin import KafkaAdminClient, MemberToRemove, NewTopic
from kafka.errors import KafkaError, TopicAlreadyExistsError, UnknownTopicOrPartitionError

from lab.stack import java, process
from lab.stack.home import Home
from lab.stack.java import java_command
from twinpath import kafka_access
from twinpath.errors import ChangeLogUnavailable, ConfigurationError, ServiceFault
from twinpath.settings import LOOPBACK, Settings

NAME = "kafka"
HEAP_MB = 1024
ANEW_S = 30.0


class Kafka:
    """One broker, which is its own controller."""

    def __init__(self, home: Home, settings: Settings) -> None:
        self._home = home
        self._settings = settings
        self._folder = home.path / NAME
        self.further: dict[int, int] = {}  # listeners of the next start: port -> port that clients are sent to
        self.port = int(settings.kafka_bootstrap_servers.rpartition(":")[2])

    @property
    def log(self) -> Path:
        """The folder of the records."""
        return self._folder / "log"

    def start(self) -> None:
        """Format the log folder when it is new, and start the broker; returns before it is ready."""
        if self._settings.kafka_security != "PLAINTEXT":
            raise ConfigurationError(
                f"KAFKA_SECURITY is {self._settings.kafka_security}, but this command starts a broker of its own, "
                "which is PLAINTEXT. Unset KAFKA_SECURITY; for a Kafka of yours see docs/own-system.md"
            )
        self._folder.mkdir(exist_ok=True)
        properties = self._folder / "server.properties"
        properties.write_text(self._properties())
        if not (self.log / "meta.properties").exists():
            (self._folder / "cluster.id").write_text(new_cluster_id())
            self._format(str(properties), self.cluster_id())
        command = java_command("broker", HEAP_MB, "kafka.Kafka", str(properties))
        process.start(self._home, NAME, command, java.ENVIRONMENT)

    def wait(self) -> None:
        """Wait until *our* broker answers: the one with our cluster id."""
        process.wait_until(self._home, NAME, self._answers, 90, "the broker answered")

    def stop(self) -> bool:
        """Controlled shutdown."""
        return process.stop(self._home, NAME, timeout_s=30)

    def cluster_id(self) -> str:
        """The id that this broker's log was formatted with."""
        return (self._folder / "cluster.id").read_text()

    def _answers(self) -> bool:
        if not process.listens(self.port):
            return False  # a client that is refused once waits for seconds before it tries again
        try:
            with admin(self._settings) as client:
                found = client.describe_cluster()["cluster_id"]
        except (ChangeLogUnavailable, KafkaError):
            return False
        if found != self.cluster_id():
            raise ServiceFault(f"port {self.port} is answered by another Kafka (cluster {found})")
        return True

    def _format(self, properties: str, cluster_id: str) -> None:
        arguments = ["format", "--standalone", "--ignore-formatted", "-t", cluster_id, "-c", properties]
        command = java_command("broker", 256, "kafka.tools.StorageTool", *arguments)
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, **java.ENVIRONMENT}
        )
        if done.returncode:
            raise ServiceFault(f"formatting Kafka's log failed:\n{done.stdout}{done.stderr}".strip())

    def _properties(self) -> str:
        controller = f"{LOOPBACK}:{self._settings.kafka_controller_port}"
        own = f"PLAINTEXT://{LOOPBACK}:{self.port},CONTROLLER://{controller}"
        listeners = [own, *(f"FURTHER{port}://{LOOPBACK}:{port}" for port in self.further)]
        advertised = [own, *(f"FURTHER{port}://{LOOPBACK}:{sent_to}" for port, sent_to in self.further.items())]
        names = ["PLAINTEXT", "CONTROLLER", *(f"FURTHER{port}" for port in self.further)]
        values = {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.bootstrap.servers": controller,
            "listeners": ",".join(listeners),
            "advertised.listeners": ",".join(advertised),
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": ",".join(f"{name}:PLAINTEXT" for name in names),
            "log.dirs": self.log,
            "auto.create.topics.enable": "false",
            "offsets.topic.num.partitions": 1,
            "offsets.topic.replication.factor": 1,
            "transaction.state.log.num.partitions": 1,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "share.coordinator.state.topic.num.partitions": 1,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1,
            "group.initial.rebalance.delay.ms": 0,
        }
        return java.properties(values)


@contextmanager
def admin(settings: Settings) -> Iterator[KafkaAdminClient]:
    """An administration client; ChangeLogUnavailable when Kafka cannot be reached."""
    try:
        client = KafkaAdminClient(
            bootstrap_servers=settings.kafka_bootstrap_servers.split(","), **kafka_access.kafka_python(settings)
        )
    except (KafkaError, OSError, ValueError) as error:
        raise ChangeLogUnavailable(
            f"found no Kafka at {settings.kafka_bootstrap_servers} ({type(error).__name__}). Run: twinpath up"
        ) from None
    try:
        yield client
    finally:
        client.close()


def create_topic(settings: Settings, topic: str, partitions: int, config: dict[str, str]) -> None:
    """Create a topic; one that exists is left as it is."""
    with admin(settings) as client:
        try:
            client.create_topics([NewTopic(topic, partitions, 1, topic_configs=config)])
        except TopicAlreadyExistsError:
            return


def make_topic_anew(settings: Settings, topic: str, partitions: int, config: dict[str, str]) -> None:
    """Delete a topic that is there, and create it; it has another id then."""
    deadline = time.monotonic() + ANEW_S
    with admin(settings) as client, suppress(UnknownTopicOrPartitionError):
        client.delete_topics([topic])
    while True:
        with admin(settings) as client:
            try:
                client.create_topics([NewTopic(topic, partitions, 1, topic_configs=config)])
                return
            except TopicAlreadyExistsError:
                if time.monotonic() > deadline:
                    raise ServiceFault(f"topic {topic} was not deleted within {ANEW_S:.0f} s") from None
        time.sleep(0.2)


def topic_id(settings: Settings, topic: str) -> str:
    """Kafka's id of a topic, in the base64 form that Kafka's tools and librdkafka print."""
    with admin(settings) as client:
        (described,) = client.describe_topics([topic])
    return _base64(uuid.UUID(str(described["topic_id"])))


def new_cluster_id() -> str:
    """A random id that does not begin with a dash, which Kafka's tool would read as an option."""
    while (drawn := _base64(uuid.uuid4())).startswith("-"):
        continue
    return drawn


def _base64(number: uuid.UUID) -> str:
    return urlsafe_b64encode(number.bytes).decode().rstrip("=")


def delete_topics(settings: Settings, prefix: str) -> None:
    """Delete the topics of one Debezium prefix, its heartbeat topic included."""
    with admin(settings) as client:
        ours = [
            topic
            for topic in client.list_topics()
            if topic.startswith(f"{prefix}.") or topic == f"__debezium-heartbeat.{prefix}"
        ]
        for topic in ours:
            try:
                client.delete_topics([topic])
            except UnknownTopicOrPartitionError:
                continue


def delete_groups(settings: Settings, suffix: str) -> None:
    """Delete the consumer groups whose names end in a run's suffix; none for the standard names."""
    if not suffix:
        return
    with admin(settings) as client:
        ours = [group["group_id"] for group in client.list_groups() if group["group_id"].endswith(suffix)]
        if ours:
            client.delete_groups(ours)


def remove_member(settings: Settings, group: str, instance: str) -> None:
    """Tell a group that the member of this lasting name will not come back; else it waits for its session to end."""
    if not process.listens(int(settings.kafka_bootstrap_servers.rpartition(":")[2])):
        return
    with suppress(ChangeLogUnavailable, KafkaError), admin(settings) as client:
        client.remove_group_members(group, [MemberToRemove(group_instance_id=instance)])
