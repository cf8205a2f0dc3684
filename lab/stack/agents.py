"""Agents as processes: one for each rule and instance, told everything by environment.

The instances of a rule share its consumer group: each has some of the partitions.
"""

import re
import signal
import sys
from collections.abc import Mapping

import httpx

from lab.stack import kafka, process
from lab.stack.credentials import Credentials
from lab.stack.home import Home
from twinpath.settings import LOOPBACK, ROOT, Settings


class Agents:
    """The agents of one stack, for one set of names (standard or a run's)."""

    def __init__(self, home: Home, settings: Settings, credentials: Credentials) -> None:
        self._home = home
        self._settings = settings
        self._credentials = credentials

    def name(self, rule: str, instance: int = 1) -> str:
        """Name of the process, of its log and of its saved id; instances count from 1."""
        number = "" if instance == 1 else f"-{instance}"
        return f"agent-{rule}{self._settings.further}{number}{self._settings.suffix}"

    def start(
        self, rule: str, port: int | None = None, *, instance: int = 1, further: Mapping[str, str] | None = None
    ) -> None:
        """Start an agent of a rule; its metrics port is the given one or a free one.

        `further` is added to its environment.
        """
        port = port or process.free_ports(1)[0]
        name = self.name(rule, instance)
        (self._home.path / f"{name}.port").write_text(str(port))
        environment = {
            **self._settings.environment(),
            "ALERTS_DSN": self._credentials.alerts_dsn(self._settings),
            "METRICS_PORT": str(port),
            "GROUP_INSTANCE": name,
            "MALLOC_ARENA_MAX": "2",  # the C library's default keeps freed memory eight times a core
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": str(ROOT),
            **(further or {}),
        }
        command = [sys.executable, "-m", "streaming.agent", "--rule", rule]
        process.start(self._home, name, command, environment)

    def wait(self, rule: str, instance: int = 1) -> None:
        """Wait until the agent owns its partitions."""
        process.wait_until(
            self._home, self.name(rule, instance), lambda: self.healthy(rule, instance), 60, "it owned partitions"
        )

    def healthy(self, rule: str, instance: int = 1) -> bool:
        """True when the agent's /healthz says so."""
        try:
            return httpx.get(f"{self.url(rule, instance)}/healthz", timeout=2).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def url(self, rule: str, instance: int = 1) -> str:
        """Address of the agent's metrics server."""
        return f"http://{LOOPBACK}:{self.port(rule, instance)}"

    def port(self, rule: str, instance: int = 1) -> int:
        """Port of the metrics server that the agent was started with."""
        return int((self._home.path / f"{self.name(rule, instance)}.port").read_text())

    def running(self, rule: str, instance: int = 1) -> bool:
        """True while its process runs."""
        return process.running(self._home, self.name(rule, instance)) is not None

    def usage(self, rule: str, instance: int = 1) -> tuple[float, float]:
        """CPU seconds and peak memory in MB of the agent's process until now; zeros when it does not run."""
        return process.usage(self._home, self.name(rule, instance))

    def stop(self, rule: str, instance: int = 1) -> bool:
        """SIGTERM: the agent writes a last checkpoint; its group hears that it will not come back."""
        return self._stop(rule, self.name(rule, instance))

    def kill(self, rule: str, instance: int = 1) -> bool:
        """SIGKILL, for proofs; True when it ran. The group keeps its place until the session ends."""
        return process.stop(self._home, self.name(rule, instance), signal.SIGKILL)

    def stop_all(self, rule: str) -> None:
        """Stop every instance of a rule that was started."""
        ours = re.compile(rf"agent-{rule}{self._settings.further}(-\d+)?{self._settings.suffix}")
        for name in process.names(self._home):
            if ours.fullmatch(name):
                self._stop(rule, name)

    def _stop(self, rule: str, name: str) -> bool:
        ran = process.stop(self._home, name)
        if ran:
            kafka.remove_member(self._settings, self._settings.group(rule), name)
        return ran
