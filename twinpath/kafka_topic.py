"""What Kafka says of one topic: its id, its partitions, where each begins and ends. Nothing is read from it."""

import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from twinpath.errors import ChangeLogUnavailable, ConfigurationError

NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})
LIBRDKAFKA = logging.getLogger("librdkafka")
TIMEOUT_S = 10.0


class KafkaTopic:
    """One topic; connects when first asked, and may be asked from several threads."""

    def __init__(self, servers: str, topic: str, access: Mapping[str, Any] = NO_OPTIONS) -> None:
        """`access`: further options of the client, such as those of twinpath.kafka_access."""
        self._servers = servers
        self._topic = topic
        self._access = access
        self._refusal = ""
        self._admin: AdminClient | None = None

    def describe(self) -> tuple[str, int]:
        """The topic's id (URL-safe base64, as Kafka prints it) and its number of partitions.

        Raises ConfigurationError when there is no such topic; asking never creates it.
        """
        try:
            future = self._client().describe_topics(TopicCollection([self._topic]), request_timeout=TIMEOUT_S)
            described = future[self._topic].result(timeout=TIMEOUT_S + 1)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise ConfigurationError(
                    f"found no topic {self._topic} at {self._servers}; topics are not made by reading them. "
                    "Start the connector (twinpath up), or set TOPIC_PREFIX"
                ) from None
            raise self._unavailable(error.args[0].str()) from None
        except TimeoutError:
            raise self._unavailable("no answer") from None
        # librdkafka writes ids in plain base64, Kafka and its tools in the URL-safe alphabet
        topic_id = str(described.topic_id).replace("+", "-").replace("/", "_").rstrip("=")
        return topic_id, len(described.partitions)

    def begins(self, partitions: int) -> dict[int, int]:
        """The first offset that each partition still holds."""
        return self._offsets(partitions, OffsetSpec.earliest())  # type: ignore[no-untyped-call]

    def ends(self, partitions: int) -> dict[int, int]:
        """The offset after the last record of each partition."""
        return self._offsets(partitions, OffsetSpec.latest())  # type: ignore[no-untyped-call]

    def _offsets(self, partitions: int, which: OffsetSpec) -> dict[int, int]:
        asked = {TopicPartition(self._topic, number): which for number in range(partitions)}
        try:
            futures = self._client().list_offsets(asked, request_timeout=TIMEOUT_S)
            return {place.partition: int(one.result(timeout=TIMEOUT_S + 1).offset) for place, one in futures.items()}
        except KafkaException as error:
            raise self._unavailable(error.args[0].str()) from None
        except TimeoutError:
            raise self._unavailable("no answer") from None

    def _client(self) -> AdminClient:
        if self._admin is None:
            config: dict[str, Any] = {"bootstrap.servers": self._servers, "error_cb": self._note, **self._access}
            self._admin = AdminClient(config, logger=LIBRDKAFKA)
        return self._admin

    def _note(self, error: KafkaError) -> None:
        """librdkafka says here, and nowhere else, that a broker refused us; called from `poll` alone."""
        if error.code() in (KafkaError._AUTHENTICATION, KafkaError._SSL):
            self._refusal = f" ({error.str()})"

    def _unavailable(self, what: str) -> ChangeLogUnavailable:
        self._client().poll(0)
        return ChangeLogUnavailable(f"Kafka at {self._servers}: {what}{self._refusal}")
