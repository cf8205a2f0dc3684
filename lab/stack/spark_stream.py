"""The Spark stream as a process: spark-submit, told everything by environment, for one set of names."""

import shutil
import signal
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg2

from lab.console import Progress
from lab.measure import fence
from lab.stack import process
from lab.stack.credentials import Credentials
from lab.stack.home import Home
from lab.stack.java import java
from lab.stack.spark import foreign, job_environment
from twinpath.detection.rules import RULES, configured
from twinpath.rule_versions import RuleVersions
from twinpath.settings import LOOPBACK, ROOT, Settings

PATH = "spark_stream"
JOB = ROOT / "spark_jobs" / "fraud_stream.py"
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 30.0
Found = dict[str, Any]


class SparkStream:
    """The streaming job of one stack, for one set of names (standard or a run's)."""

    def __init__(self, home: Home, settings: Settings, credentials: Credentials) -> None:
        self._home = home
        self._settings = settings
        self._credentials = credentials

    @property
    def name(self) -> str:
        """Name of the process, of its log and of its saved id."""
        return f"spark-stream{self._settings.suffix}"

    @property
    def checkpoints(self) -> str:
        """Folder of the checkpoints: as the settings say, else in the stack's own folder."""
        return self._settings.stream_checkpoints or str(self._home.path / self.name)

    def up(self, progress: Progress) -> None:
        """Start it on the ports of the settings and wait, unless one of the wanted versions runs already."""
        if self.running() and (changed := self.outdated()):
            progress.say(f"{self.name}: {', '.join(changed)} changed, starting it anew")
            self.stop()
        found = process.running(self._home, self.name)
        if found is not None:
            progress.say(f"{self.name}: already running (pid {found.pid})")
            return
        port, ui_port = self._settings.stream_metrics_port, self._settings.stream_ui_port
        with progress.step(self.name) as step:
            self.start(port, ui_port=ui_port)
            self.wait()
            step.detail = f"{self.url()}/metrics, UI on port {ui_port}, log {process.log_of(self._home, self.name)}"

    def start(
        self, port: int | None = None, *, ui_port: int | None = None, master: str = "local[2]", **more: str
    ) -> None:
        """Start the job; its ports are the given ones or free ones, `more` is added to its environment."""
        free = process.free_ports(2)
        port, ui_port = port or free[0], ui_port or free[1]
        (self._home.path / f"{self.name}.port").write_text(str(port))
        environment = {
            **foreign(),
            **job_environment(self._settings),
            "ALERTS_DSN": self._credentials.alerts_dsn(self._settings),
            "STREAM_CHECKPOINTS": self.checkpoints,
            "METRICS_PORT": str(port),
            "STREAM_UI_PORT": str(ui_port),
            "SPARK_LOCAL_IP": LOOPBACK,
            "JAVA_HOME": str(Path(java()).parents[1]),
            "PYTHONUNBUFFERED": "1",
            **more,
        }
        process.start(self._home, self.name, ["spark-submit", "--master", master, str(JOB)], environment)

    def wait(self) -> None:
        """Wait until the queries have begun."""
        process.wait_until(self._home, self.name, self.healthy, START_TIMEOUT_S, "its queries had begun")

    def healthy(self) -> bool:
        """True when the job's /healthz says so."""
        try:
            return httpx.get(f"{self.url()}/healthz", timeout=2).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def url(self) -> str:
        """Address of the job's metrics server."""
        return f"http://{LOOPBACK}:{(self._home.path / f'{self.name}.port').read_text()}"

    def running(self) -> bool:
        """True while its process runs."""
        return process.running(self._home, self.name) is not None

    def started(self) -> bool:
        """True when it was started and not stopped since."""
        return self.name in process.names(self._home)

    def stop(self) -> bool:
        """SIGTERM to the driver's Python, which stops its queries; spark-submit ends with it."""
        leader = process.running(self._home, self.name)
        for one in process.members(self._home, self.name) if leader else ():
            if str(JOB) in _command_of(one) and "python" in _command_of(one)[0]:
                one.terminate()
        if leader is not None:
            with suppress(psutil.TimeoutExpired):  # what does not end by itself is ended below
                process.wait_gone(leader, STOP_TIMEOUT_S)
        return process.stop(self._home, self.name) or leader is not None

    def kill(self) -> bool:
        """SIGKILL to driver, JVM and workers at once, for proofs; True when it ran."""
        ours = process.members(self._home, self.name)
        for one in ours:
            try:
                one.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(ours, timeout=STOP_TIMEOUT_S)
        process.stop(self._home, self.name)
        return bool(ours)

    def forget(self) -> None:
        """Remove the checkpoints in the stack's own folder: for names that are removed too."""
        shutil.rmtree(self._home.path / self.name, ignore_errors=True)

    def wait_until_judged(self, topic_id: str, ends: dict[int, int], timeout_s: float) -> None:
        """Wait until everything below `ends` was judged by every rule, and its alerts are stored."""
        dsn = self._credentials.alerts_dsn(self._settings, "twinpath_lab")
        fence.wait_for_checkpoints(dsn, topic_id, self.rules(), ends, timeout_s, PATH)

    def rules(self) -> list[tuple[str, str]]:
        """(name, version) of the rules that the settings call for on this path."""
        versions = self._versions()
        wanted = [configured(name, self._settings.rule_parameters, versions.generation(name)) for name in RULES]
        return [(rule.name, rule.version) for rule in wanted]

    def outdated(self) -> list[str]:
        """Rules of which another version was activated last than the settings call for."""
        active = {name: self._versions().active(name) for name in RULES}
        known = {name: one.rule_version for name, one in active.items() if one is not None}
        return [name for name, version in self.rules() if known.get(name, version) != version]

    def _versions(self) -> RuleVersions:
        return RuleVersions(self._credentials.alerts_dsn(self._settings), PATH)

    def progress(self) -> list[Found]:
        """The last micro-batch of each query, as it was stored; the query that was begun last comes last."""
        dsn = self._credentials.alerts_dsn(self._settings, "twinpath_lab")
        with closing(psycopg2.connect(dsn, connect_timeout=5)) as session, session.cursor() as cursor:
            cursor.execute(
                "SELECT query, batch_id, next_offsets, progress, "
                "extract(epoch FROM now() - updated_at)::float FROM stream_queries WHERE path = %s ORDER BY number",
                [PATH],
            )
            return [_progress(*row) for row in cursor.fetchall()]


def _progress(query: str, batch: int | None, ends: Mapping[str, int], known: Found, age_s: float) -> Found:
    offsets = {int(partition): offset for partition, offset in ends.items()}
    return {**known, "query": query, "batch": batch, "next_offsets": offsets, "age_s": round(age_s, 1)}


def _command_of(one: psutil.Process) -> list[str]:
    try:
        return one.cmdline() or [""]
    except psutil.Error:
        return [""]


def shown(found: Found, ends: Mapping[int, int]) -> str:
    """One query in words, beside the ends of the topic."""
    if found["batch"] is None:
        return f"{found['query']}: nothing judged yet, {sum(ends.values())} records behind"
    behind = sum(max(0, end - found["next_offsets"].get(partition, 0)) for partition, end in ends.items())
    return (
        f"{found['query']}: micro-batch {found['batch']} of {found.get('records', 0)} records {found['age_s']} s ago, "
        f"{found.get('state_bytes', 0)} bytes of state touched, {behind} records behind"
    )
