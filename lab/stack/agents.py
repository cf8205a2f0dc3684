"""Agents as processes: one for each rule (and instance), told everything by environment."""

import re
import signal
import sys
from pathlib import Path

import httpx

from lab.stack import process
from lab.stack.credentials import Credentials
from lab.stack.home import Home
from twinpath.settings import LOOPBACK, ROOT, Settings


class Agents:
    """The agents of one stack, for one set of names (standard or a run's)."""

    def __init__(self, home: Home, settings: Settings, credentials: Credentials) -> None:
        self._home = home
        self._settings = settings
        self._credentials = credentials

    def name(self, rule: str) -> str:
        """Name of the process, of its log and of its saved id."""
        return f"agent-{rule}{self._settings.suffix}"

    def start(self, rule: str, port: int | None = None) -> None:
        """Start the agent of a rule; its metrics port is the given one or a free one."""
        port = port or process.free_ports(1)[0]
        (self._home.path / f"{self.name(rule)}.port").write_text(str(port))
        environment = {
            **self._settings.environment(),
            "ALERTS_DSN": self._credentials.alerts_dsn(self._settings),
            "METRICS_PORT": str(port),
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": str(ROOT),
        }
        command = [sys.executable, "-m", "streaming.agent", "--rule", rule]
        process.start(self._home, self.name(rule), command, environment)

    def wait(self, rule: str) -> None:
        """Wait until the agent owns its partitions."""
        process.wait_until(self._home, self.name(rule), lambda: self.healthy(rule), 60, "it owned partitions")

    def healthy(self, rule: str) -> bool:
        """True when the agent's /healthz says so."""
        try:
            return httpx.get(f"{self.url(rule)}/healthz", timeout=2).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def url(self, rule: str) -> str:
        """Address of the agent's metrics server."""
        return f"http://{LOOPBACK}:{self.port(rule)}"

    def port(self, rule: str) -> int:
        """Port of the metrics server that the agent was started with."""
        return int((self._home.path / f"{self.name(rule)}.port").read_text())

    def running(self, rule: str) -> bool:
        """True while its process runs."""
        return process.running(self._home, self.name(rule)) is not None

    def usage(self, rule: str) -> tuple[float, float]:
        """CPU seconds and peak memory in MB of the agent's process until now; zeros when it does not run."""
        found = process.running(self._home, self.name(rule))
        if found is None:
            return 0.0, 0.0
        times = found.cpu_times()
        peak_kb = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{found.pid}/status").read_text())
        peak_mb = int(peak_kb[1]) / 1024 if peak_kb else found.memory_info().rss / 2**20
        return round(times.user + times.system, 1), round(peak_mb, 1)

    def stop(self, rule: str) -> bool:
        """SIGTERM: the agent writes a last checkpoint and leaves its group."""
        return process.stop(self._home, self.name(rule))

    def kill(self, rule: str) -> bool:
        """SIGKILL, for proofs; True when it ran."""
        return process.stop(self._home, self.name(rule), signal.SIGKILL)
