"""How Kafka's clients get in: nothing for a broker without authentication, TLS and SCRAM for one that wants them.

Three clients, three spellings of the same four facts: librdkafka (agents), kafka-python (agents, if asked for) and Java
(the Spark stream). See docs/own-system.md for the broker's side.
"""

from typing import Any

from twinpath.errors import ConfigurationError
from twinpath.settings import Settings

MECHANISM = "SCRAM-SHA-512"
SECURED = "SASL_SSL"
LOGIN = "org.apache.kafka.common.security.scram.ScramLoginModule"


def librdkafka(settings: Settings) -> dict[str, Any]:
    """Options of confluent-kafka beside `bootstrap.servers`."""
    if not _secured(settings):
        return {}
    own = {"ssl.ca.location": settings.kafka_ca_file} if settings.kafka_ca_file else {}
    return {
        "security.protocol": SECURED,
        "sasl.mechanism": MECHANISM,
        "sasl.username": settings.kafka_username,
        "sasl.password": settings.kafka_password.get_secret_value(),
        **own,
    }


def kafka_python(settings: Settings) -> dict[str, Any]:
    """Options of kafka-python beside `bootstrap_servers`."""
    if not _secured(settings):
        return {}
    own = {"ssl_cafile": settings.kafka_ca_file} if settings.kafka_ca_file else {}
    return {
        "security_protocol": SECURED,
        "sasl_mechanism": MECHANISM,
        "sasl_plain_username": settings.kafka_username,
        "sasl_plain_password": settings.kafka_password.get_secret_value(),
        **own,
    }


def java(settings: Settings) -> dict[str, str]:
    """Options of a Java client beside `bootstrap.servers`; the certificate authority as PEM."""
    if not _secured(settings):
        return {}
    own = {"ssl.truststore.type": "PEM", "ssl.truststore.location": settings.kafka_ca_file}
    name, password = (_quoted(one) for one in (settings.kafka_username, settings.kafka_password.get_secret_value()))
    return {
        "security.protocol": SECURED,
        "sasl.mechanism": MECHANISM,
        "sasl.jaas.config": f"{LOGIN} required username={name} password={password};",
        **(own if settings.kafka_ca_file else {}),
    }


def _secured(settings: Settings) -> bool:
    if settings.kafka_security != SECURED:
        return False
    if not settings.kafka_username or not settings.kafka_password.get_secret_value():
        raise ConfigurationError("KAFKA_SECURITY is SASL_SSL, wanted KAFKA_USERNAME and KAFKA_PASSWORD beside it")
    return True


def _quoted(text: str) -> str:
    """A value of a JAAS line."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
