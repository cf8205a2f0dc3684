"""The ports that the parts of a stack listen on: (name of the process, port, setting that moves it)."""

import httpx

from lab.stack import process
from lab.stack.home import Home
from twinpath.errors import ConfigurationError
from twinpath.settings import Settings

Wanted = list[tuple[str, int, str]]


def of_services(settings: Settings, kafka_port: int) -> Wanted:
    """PostgreSQL, Kafka and Connect; ConfigurationError when Connect is given no port to listen on."""
    connect = httpx.URL(settings.connect_url).port
    if connect is None:
        raise ConfigurationError(
            f"CONNECT_URL: found {settings.connect_url}, wanted a port: the Connect of the stack listens on it"
        )
    return [
        ("postgres", settings.pgport, "PGPORT"),
        ("kafka", kafka_port, "KAFKA_BOOTSTRAP_SERVERS"),
        ("kafka", settings.kafka_controller_port, "KAFKA_CONTROLLER_PORT"),
        ("connect", connect, "CONNECT_URL"),
    ]


def of_agents(settings: Settings, names: list[str]) -> Wanted:
    """The agents of the standard names, in the order of the rules."""
    return [(name, settings.agent_metrics_port + number, "AGENT_METRICS_PORT") for number, name in enumerate(names)]


def of_spark_stream(settings: Settings, name: str) -> Wanted:
    """Its figures, and Spark's own UI."""
    own = {"STREAM_METRICS_PORT": settings.stream_metrics_port, "STREAM_UI_PORT": settings.stream_ui_port}
    return [(name, port, setting) for setting, port in own.items()]


def check(home: Home, wanted: Wanted) -> None:
    """EnvironmentFault when a port is taken that is wanted by something which does not run yet."""
    for name, port, setting in wanted:
        if process.running(home, name) is None:
            process.check_port(port, name, setting)
