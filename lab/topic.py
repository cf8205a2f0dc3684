"""Reading the topic of the changes from beside it, on kafka-python: no consumer group, nothing committed."""

from kafka import KafkaConsumer
from kafka.errors import KafkaError

from twinpath import kafka_access
from twinpath.errors import ChangeLogUnavailable
from twinpath.settings import Settings


def open_consumer(settings: Settings, idle_ms: float = float("inf")) -> KafkaConsumer:
    """A consumer that is assigned nothing yet; iterating it ends after `idle_ms` of silence."""
    try:
        return KafkaConsumer(
            bootstrap_servers=settings.kafka_bootstrap_servers.split(","),
            **kafka_access.kafka_python(settings),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            consumer_timeout_ms=idle_ms,
        )
    except (KafkaError, OSError) as error:
        raise ChangeLogUnavailable(
            f"found no Kafka at {settings.kafka_bootstrap_servers} ({type(error).__name__}). Run: twinpath up"
        ) from None
