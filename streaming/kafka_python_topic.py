"""Asking about a topic on kafka-python: its id, its partitions, and whether anybody listens at all."""

import socket
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

from kafka import KafkaAdminClient
from kafka.errors import KafkaError, NoError, UnknownTopicOrPartitionError, for_code

from streaming.change_log import CALL_TIMEOUT_S
from twinpath.errors import ChangeLogUnavailable, ConfigurationError

CALL_TIMEOUT_MS = int(CALL_TIMEOUT_S * 1000)


class TopicQuestions:
    """Answers about one topic; connects when first asked, and may be asked from several threads."""

    def __init__(self, servers: str, topic: str, access: Mapping[str, Any]) -> None:
        self._servers = servers
        self._topic = topic
        self._access = access
        self._admin: KafkaAdminClient | None = None

    def describe(self) -> tuple[str, int]:
        """The topic's id (URL-safe base64) and its number of partitions; ConfigurationError when there is none."""
        self.knock()
        try:
            if self._admin is None:
                self._admin = KafkaAdminClient(
                    bootstrap_servers=self._servers.split(","),
                    **self._access,
                    bootstrap_timeout_ms=CALL_TIMEOUT_MS,
                    request_timeout_ms=CALL_TIMEOUT_MS,
                )
            (described,) = self._admin.describe_topics([self._topic])
        except (KafkaError, OSError, RuntimeError) as error:  # RuntimeError: closed while we waited
            raise unavailable(self._servers, error) from None
        problem = for_code(described["error_code"])
        if problem is UnknownTopicOrPartitionError:
            raise ConfigurationError(
                f"found no topic {self._topic} at {self._servers}; topics are not made by reading them. "
                "Start the connector (twinpath up), or set TOPIC_PREFIX"
            )
        if problem is not NoError:
            raise unavailable(self._servers, problem())
        number = uuid.UUID(str(described["topic_id"]))
        return urlsafe_b64encode(number.bytes).decode().rstrip("="), len(described["partitions"])

    def knock(self) -> None:
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
        raise unavailable(self._servers, problem)

    def close(self) -> None:
        """End the connection."""
        if self._admin is not None:
            self._admin.close()


def unavailable(servers: str, error: Exception) -> ChangeLogUnavailable:
    """What stands for a foreign error that may pass."""
    return ChangeLogUnavailable(f"Kafka at {servers}: {named(error)}")


def named(error: Exception) -> str:
    """A foreign error in words: its kind, and what it says."""
    return f"{type(error).__name__}: {error}".removesuffix(": ")
