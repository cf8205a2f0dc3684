"""The choice between the two Kafka clients of an agent."""

from streaming.change_log import ChangeLog, Place
from twinpath import kafka_access
from twinpath.settings import Settings


def open_change_log(settings: Settings, rule_name: str) -> ChangeLog:
    """The change log of a rule's agent, on the client that KAFKA_CLIENT names; connects when first used."""
    place = Place(settings.kafka_bootstrap_servers, settings.topic, settings.group(rule_name), settings.group_instance)
    if settings.kafka_client == "kafka-python":
        from streaming.kafka_python_log import KafkaPythonChangeLog  # noqa: PLC0415  one client, one price in memory

        return KafkaPythonChangeLog(place._replace(access=kafka_access.kafka_python(settings)))
    from streaming.confluent_log import ConfluentChangeLog  # noqa: PLC0415  likewise

    return ConfluentChangeLog(place._replace(access=kafka_access.librdkafka(settings)))
