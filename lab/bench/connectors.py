"""The connectors that are compared: ours, stock Debezium with only what it needs to work, and ours with one
knob turned back."""

from collections.abc import Callable, Mapping

from lab.stack.connect import connector_config
from lab.stack.home import Home
from twinpath.settings import Settings

Config = dict[str, str]
Configured = Callable[[Home, Settings], Config]
NEEDED = (
    "connector.class",
    "plugin.name",
    "database.hostname",
    "database.port",
    "database.user",
    "database.password",
    "database.dbname",
    "topic.prefix",
    "slot.name",
    "publication.name",
)
"""Without these stock Debezium does not start here: its own default plug-in is decoderbufs, and PostgreSQL's
roles, slot and publication are ours."""
PRODUCER_DEFAULTS = {
    "producer.override.linger.ms": "5",
    "producer.override.batch.size": "16384",
    "producer.override.compression.type": "none",
}
"""Of Kafka 4.3's producer."""


def ours(home: Home, settings: Settings) -> Config:
    """docker/connect/transactions.json, as `up` runs it."""
    return connector_config(home, settings)


def stock(home: Home, settings: Settings) -> Config:
    """Debezium with every setting at its default that can be."""
    config = connector_config(home, settings)
    return {name: config[name] for name in NEEDED}


def turned(knobs: Mapping[str, str]) -> Configured:
    """Ours with some settings otherwise."""
    return lambda home, settings: ours(home, settings) | dict(knobs)


def differing(config: Config) -> Config:
    """What of a configuration is a choice: everything but addresses, names and credentials."""
    return {name: value for name, value in sorted(config.items()) if name not in NEEDED}
