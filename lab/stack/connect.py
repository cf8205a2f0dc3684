"""The stack's Kafka Connect worker, and our connector in it."""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from lab.stack import java, process
from lab.stack.home import STATE, Home
from lab.stack.java import java_command
from lab.stack.offsets import CONFIGS, OFFSETS
from twinpath.errors import ServiceFault
from twinpath.settings import ROOT, Settings

NAME = "connect"
HEAP_MB = 768
CONNECTOR_FILE = ROOT / "docker" / "connect" / "transactions.json"
CALL_TIMEOUT_S = 30.0
RESTART_S = 5.0


class Connect:
    """One distributed worker on loopback; `check` may refuse its start, for its connectors start with it."""

    def __init__(
        self, home: Home, settings: Settings, cluster_id: str, check: Callable[[], None] = lambda: None
    ) -> None:
        self._home = home
        self._settings = settings
        self._cluster_id = cluster_id
        self._check = check

    def start(self, heap_mb: int = HEAP_MB) -> None:
        """Start the worker; returns before it is ready. Raises what its check raises."""
        self._check()
        properties = self._home.path / "connect.properties"
        properties.write_text(self._properties())
        main = "org.apache.kafka.connect.cli.ConnectDistributed"
        process.start(self._home, NAME, java_command("connect", heap_mb, main, str(properties)), java.ENVIRONMENT)

    def wait(self) -> None:
        """Wait until *our* worker answers: the one on our Kafka cluster."""
        process.wait_until(self._home, NAME, self.answers, 90, "its REST interface answered")

    def stop(self) -> bool:
        """Tasks stop, offsets are flushed."""
        return process.stop(self._home, NAME, timeout_s=30)

    def answers(self) -> bool:
        """True when a worker answers that is ours: on our Kafka cluster."""
        try:
            found = httpx.get(self._settings.connect_url, timeout=5).json()
            httpx.get(f"{self._settings.connect_url}/connectors", timeout=5).raise_for_status()
        except (httpx.HTTPError, ValueError):
            return False
        return bool(found.get("kafka_cluster_id") == self._cluster_id)

    def _properties(self) -> str:
        values: dict[str, Any] = {
            "bootstrap.servers": self._settings.kafka_bootstrap_servers,
            "group.id": "twinpath-connect",
            "key.converter": "org.apache.kafka.connect.json.JsonConverter",
            "key.converter.schemas.enable": "false",
            "value.converter": "org.apache.kafka.connect.json.JsonConverter",
            "value.converter.schemas.enable": "false",
            "plugin.path": STATE / "plugins",
            "plugin.discovery": "service_load",
            "connector.client.config.override.policy": "All",
            "listeners": self._settings.connect_url,
            "rest.advertised.host.name": httpx.URL(self._settings.connect_url).host,
            "config.storage.topic": CONFIGS,
            "config.storage.replication.factor": 1,
            "offset.storage.topic": OFFSETS,
            "offset.storage.partitions": 1,
            "offset.storage.replication.factor": 1,
            "status.storage.topic": "connect-status",
            "status.storage.partitions": 1,
            "status.storage.replication.factor": 1,
            "offset.flush.interval.ms": 1000,
            "scheduled.rebalance.max.delay.ms": 0,
            "config.providers": "file",
            "config.providers.file.class": "org.apache.kafka.common.config.provider.FileConfigProvider",
            "config.providers.file.param.allowed.paths": self._home.secrets / "connect",
        }
        return java.properties(values)


def connector_config(home: Home, settings: Settings) -> dict[str, str]:
    """docker/connect/transactions.json with this stack's addresses and names; the password by reference."""
    config: dict[str, str] = json.loads(CONNECTOR_FILE.read_text())
    config |= {
        "database.hostname": settings.pghost,
        "database.port": str(settings.pgport),
        "database.dbname": settings.source_database,
        "database.password": f"${{file:{home.secrets / 'connect' / 'cdc.properties'}:password}}",
        "topic.prefix": settings.prefix,
        "slot.name": settings.slot,
        "publication.name": settings.publication,
        "topic.creation.default.partitions": str(settings.topic_partitions),
    }
    return config


def put_connector(settings: Settings, config: dict[str, str]) -> None:
    """Create or update our connector; the same config again changes nothing."""
    _call("PUT", f"{settings.connect_url}/connectors/{settings.connector}/config", config)


def delete_connector(settings: Settings) -> None:
    """Remove our connector and its offsets; one that is not there is fine."""
    url = f"{settings.connect_url}/connectors/{settings.connector}"
    if connector_state(settings)[0] == "ABSENT":
        return
    stop_connector(settings)
    _call("DELETE", f"{url}/offsets")
    _call("DELETE", url)


def forget_offsets(settings: Settings, config: dict[str, str]) -> None:
    """Our connector, stopped, and without an offset: when it is resumed it begins with a snapshot."""
    url = f"{settings.connect_url}/connectors"
    if connector_state(settings)[0] == "ABSENT":
        _call("POST", url, {"name": settings.connector, "config": config, "initial_state": "STOPPED"})
    stop_connector(settings)
    _call("DELETE", f"{url}/{settings.connector}/offsets")


def stop_connector(settings: Settings) -> None:
    """End our connector's task; its configuration, offsets and slot stay."""
    _call("PUT", f"{settings.connect_url}/connectors/{settings.connector}/stop")
    deadline = time.monotonic() + CALL_TIMEOUT_S
    while connector_state(settings)[0] != "STOPPED":
        if time.monotonic() > deadline:
            raise ServiceFault(f"connector {settings.connector} did not stop within {CALL_TIMEOUT_S:.0f} s")
        time.sleep(0.1)


def resume_connector(settings: Settings) -> None:
    """Let a stopped connector go on where it stood; returns before its task runs."""
    _call("PUT", f"{settings.connect_url}/connectors/{settings.connector}/resume")


def connector_state(settings: Settings) -> tuple[str, list[tuple[str, str]]]:
    """State of the connector, and of each task with the first line of its trace and what caused it.

    The connector's state is ABSENT when Connect does not know it.
    """
    url = f"{settings.connect_url}/connectors/{settings.connector}/status"
    try:
        answer = httpx.get(url, timeout=CALL_TIMEOUT_S)
        if answer.status_code == httpx.codes.NOT_FOUND:
            return "ABSENT", []
        answer.raise_for_status()
        found = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        raise ServiceFault(
            f"Kafka Connect at {settings.connect_url} does not answer ({type(error).__name__})"
        ) from None
    tasks = [(task["state"], _trace(task.get("trace", ""))) for task in found["tasks"]]
    return found["connector"]["state"], tasks


def _trace(text: str) -> str:
    """The first line of a Java trace, and its innermost cause."""
    first, *causes = [line for line in text.splitlines() if not line.startswith("\t")] or [""]
    cause = next((line for line in reversed(causes) if line.startswith("Caused by: ")), "")
    return f"{first} ({cause[0].lower()}{cause[1:]})" if cause else first


def configuration(settings: Settings) -> dict[str, str]:
    """The connector's configuration as Connect has it; the password stands there by reference."""
    url = f"{settings.connect_url}/connectors/{settings.connector}/config"
    try:
        answer = httpx.get(url, timeout=CALL_TIMEOUT_S)
        answer.raise_for_status()
        found: dict[str, str] = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        raise ServiceFault(f"Kafka Connect: GET {url} failed ({type(error).__name__})") from None
    return found


def wake_connector(settings: Settings) -> None:
    """Have a paused or stopped connector go on, and start anew what FAILED; returns before its tasks run."""
    state, tasks = connector_state(settings)
    if state in ("PAUSED", "STOPPED"):
        resume_connector(settings)
    elif "FAILED" in (state, *(task for task, _ in tasks)):
        url = f"{settings.connect_url}/connectors/{settings.connector}"
        _call("POST", f"{url}/restart?includeTasks=true&onlyFailed=true")
        deadline = time.monotonic() + RESTART_S
        while any(task == "FAILED" for task, _ in connector_state(settings)[1]) and time.monotonic() < deadline:
            time.sleep(0.05)  # Connect has accepted it; what it says of the tasks comes later


def wait_for_offset(settings: Settings, timeout_s: float = 60.0) -> None:
    """Wait until Connect has stored where the connector stands in the log.

    Before that a killed worker would take a second snapshot, and rows committed meanwhile would only
    teach. On a quiet table the first offset comes with a heartbeat.
    """
    url = f"{settings.connect_url}/connectors/{settings.connector}/offsets"
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            found = httpx.get(url, timeout=CALL_TIMEOUT_S).json().get("offsets", [])
        except (httpx.HTTPError, ValueError) as error:
            raise ServiceFault(f"Kafka Connect: GET {url} failed ({type(error).__name__})") from None
        if any("lsn" in one["offset"] and not one["offset"].get("snapshot") for one in found):
            return
        if time.monotonic() > deadline:
            raise ServiceFault(f"connector {settings.connector} has stored no offset after {timeout_s:.0f} s: {found}")
        wait_for_tasks(settings)
        time.sleep(0.1)


def wait_for_tasks(settings: Settings, timeout_s: float = 60.0) -> None:
    """Wait until the connector and *each* of its tasks are RUNNING; a FAILED one is named at once."""
    deadline = time.monotonic() + timeout_s
    while True:
        state, tasks = connector_state(settings)
        failed = [trace or "no trace" for task_state, trace in tasks if task_state == "FAILED"]
        if failed:
            raise ServiceFault(f"connector {settings.connector} has a FAILED task: {failed[0]}")
        if state == "RUNNING" and tasks and all(task_state == "RUNNING" for task_state, _ in tasks):
            return
        if time.monotonic() > deadline:
            raise ServiceFault(
                f"connector {settings.connector} is {state} with tasks {[task for task, _ in tasks]} "
                f"after {timeout_s:.0f} s, wanted all RUNNING"
            )
        time.sleep(0.1)


def _call(method: str, url: str, body: Mapping[str, Any] | None = None) -> None:
    """One REST call; a worker that is rebalancing answers 409 and is asked again."""
    deadline = time.monotonic() + CALL_TIMEOUT_S
    while True:
        try:
            answer = httpx.request(method, url, json=body, timeout=CALL_TIMEOUT_S)
        except httpx.HTTPError as error:
            raise ServiceFault(f"Kafka Connect: {method} {url} failed ({type(error).__name__})") from None
        if answer.status_code == httpx.codes.CONFLICT and time.monotonic() < deadline:
            time.sleep(0.2)
            continue
        if answer.is_error:
            raise ServiceFault(f"Kafka Connect: {method} {url} gave {answer.status_code}: {answer.text[:500]}")
        return
