"""What no agent can see of the capture line, at /metrics: the slot in PostgreSQL, the connector's tasks in Connect.

    python -m lab.line_exporter

SOURCE_DSN (any role that may log in), CONNECT_URL, METRICS_HOST and METRICS_PORT come from the settings. What cannot be
asked is NaN, and its part is not reachable: an old figure would look like a good one.
"""

import math
import signal
import sys
import threading
from collections import Counter

import psycopg2
from prometheus_client import CollectorRegistry, Gauge

from lab.slot import Slot, slot_at
from lab.stack.connect import connector_state
from twinpath.errors import ConfigurationError, ServiceFault, TwinpathError
from twinpath.exposition import serve
from twinpath.logs import configure
from twinpath.settings import Settings, load_settings

EVERY_S = 5.0
STATES = ("RUNNING", "FAILED", "PAUSED", "STOPPED", "UNASSIGNED", "RESTARTING", "ABSENT")


class LineMetrics:
    """The gauges of one capture line; names are stable."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._answered = False
        self.slot: Slot | None = None
        self.registry = CollectorRegistry()
        self.reachable = self._gauge("reachable", "1 when this part was asked and answered", "part")
        self.slot_present = self._gauge("slot_present", "1 when the replication slot exists")
        self.slot_active = self._gauge("slot_active", "1 while the connector reads the slot")
        self.slot_lost = self._gauge("slot_wal_lost", "1 when WAL that the slot needs is gone")
        self.retained = self._gauge("slot_retained_bytes", "WAL that PostgreSQL keeps for the slot")
        self.unconfirmed = self._gauge("slot_unconfirmed_bytes", "WAL past what the connector has confirmed")
        self.connector = self._gauge("connector", "1 for the state that the connector is in", "state")
        self.tasks = self._gauge("connector_tasks", "Tasks of the connector by state", "state")

    def observe(self) -> None:
        """Ask both once."""
        self.reachable.labels("postgres").set(self._ask_postgres())
        self.reachable.labels("connect").set(self._ask_connect())
        self._answered = True

    def healthy(self) -> bool:
        """True once both were asked: what they said is in the figures."""
        return self._answered

    def _ask_postgres(self) -> bool:
        figures = (self.slot_active, self.slot_lost, self.retained, self.unconfirmed)
        self.slot = None
        try:
            self.slot = found = slot_at(self._settings.source_dsn.get_secret_value(), self._settings.slot)
        except psycopg2.Error:
            for figure in (self.slot_present, *figures):
                figure.set(math.nan)
            return False
        self.slot_present.set(found is not None)
        values = (found.active, found.lost, found.retained_bytes, found.unconfirmed_bytes) if found else (None,) * 4
        for figure, value in zip(figures, values, strict=True):
            figure.set(math.nan if value is None else float(value))
        return True

    def _ask_connect(self) -> bool:
        try:
            state, tasks = connector_state(self._settings)
        except ServiceFault:
            self._show({}, {})
            return False
        self._show({state: 1}, Counter(task for task, _ in tasks))
        return True

    def _show(self, connector: dict[str, int], tasks: dict[str, int]) -> None:
        nothing = 0 if connector else math.nan
        for state in {*STATES, *connector, *tasks}:
            self.connector.labels(state).set(connector.get(state, nothing))
            self.tasks.labels(state).set(tasks.get(state, nothing))

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"twinpath_line_{name}", text, labels, registry=self.registry)


def watch(settings: Settings, stopping: threading.Event) -> None:
    """Serve the figures and ask for them every few seconds until `stopping`."""
    if not settings.source_dsn.get_secret_value():
        raise ConfigurationError("SOURCE_DSN is empty, wanted a DSN of the source. `twinpath env --export` prints one")
    metrics = LineMetrics(settings)
    server = serve(metrics.registry, metrics.healthy, settings.metrics_host, settings.metrics_port)
    logger = configure("line_exporter")
    logger.info("serving metrics", port=server.server_port, slot=settings.slot)
    said = ""
    try:
        while True:
            metrics.observe()
            alarm = metrics.slot.alarm if metrics.slot else ""
            if alarm and not said:
                logger.warning("slot will be lost", slot=settings.slot, wal=alarm)
            said = alarm
            if stopping.wait(EVERY_S):
                break
    finally:
        server.shutdown()


def main() -> int:
    """Run until SIGTERM or SIGINT; the exit status is that of the error that stopped it."""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    try:
        watch(load_settings(), stopping)
    except TwinpathError as error:
        sys.stderr.write(f"line exporter stopped: {type(error).__name__}: {error}\n")
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
