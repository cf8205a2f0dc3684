"""The stack's Airflow: four components, each a process with its own log; metadata in the stack's PostgreSQL.

Started in this order: 1 database and tables; 2 API server, DAG processor, triggerer; 3 connections; 4 the scheduler,
so that no task runs before its connections are right. No component serves logs: the API server reads their files.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing, suppress
from datetime import datetime
from functools import partial
from importlib.metadata import version
from typing import Any

from lab.console import Progress
from lab.stack import airflow_config as config
from lab.stack import process
from lab.stack.airflow_api import HEALTH, AirflowApi, postgres_connection
from lab.stack.credentials import AIRFLOW, Credentials
from lab.stack.home import Home
from lab.stack.postgres import Postgres
from lab.stack.scope import create_owned_database, drop_database
from twinpath.batch_summary import BatchSummary, read_summary, summary_file
from twinpath.errors import ServiceFault
from twinpath.settings import Settings

API_SERVER = "airflow-api-server"
SCHEDULER = "airflow-scheduler"
TRIGGERER = "airflow-triggerer"
COMPONENTS = {
    API_SERVER: ["api-server"],
    "airflow-dag-processor": ["dag-processor"],
    TRIGGERER: ["triggerer", "--skip-serve-logs"],
    SCHEDULER: ["scheduler", "--skip-serve-logs"],
}
START_TIMEOUT_S = 150.0
MIGRATE = "airflow-migrate"
NICE = ["nice", "-n", "10"]


class Airflow:
    """The Airflow of one stack; a `yielding` one leaves the cores to others, and its DAGs wait until switched on."""

    def __init__(self, home: Home, settings: Settings, credentials: Credentials, *, yielding: bool = False) -> None:
        self._home = home
        self._settings = settings
        self._credentials = credentials
        self._yielding = yielding

    @property
    def api(self) -> AirflowApi:
        """Its REST API, as the administrator."""
        return AirflowApi(config.url(self._settings), config.admin_password(self._home)[0])

    def known(self) -> bool:
        """True when this stack ever had an Airflow."""
        return config.folder(self._home).exists()

    def started(self) -> bool:
        """True when it was started and not stopped since."""
        return any(name in process.names(self._home) for name in COMPONENTS)

    def up(self, postgres: Postgres, progress: Progress) -> None:
        """Start what does not run, wait until all four are healthy and every DAG file was read; safe to run again."""
        password, fresh = config.admin_password(self._home)
        text = config.write(self._home, self._settings, self._credentials, paused=self._yielding)
        environment = config.environment(self._home, self._settings)
        self._stop_outdated(text, environment, progress)
        self._migrate(postgres, environment, progress)
        for name in COMPONENTS:
            if name == SCHEDULER:
                self._wait_for_api()
                self.put_connections(self._settings)
            self._start(name, environment, progress)
        with progress.step("airflow") as step:
            for part, suffix in HEALTH.items():
                name = f"airflow-{suffix}" if suffix else API_SERVER
                process.wait_until(self._home, name, partial(self._healthy, part), START_TIMEOUT_S, "it was healthy")
            self._wait_for_dags()
            step.detail = f"{config.url(self._settings)}, DAGs {', '.join(sorted(self.api.dags()))}"
        where = self._home.secrets / config.ADMIN_FILE
        shown = f"password {password} (shown this once; it is kept in {where})" if fresh else f"password in {where}"
        progress.say(f"airflow: log in at {config.url(self._settings)} as {config.ADMIN}, {shown}")

    def stop(self, name: str) -> bool:
        """Stop one component; the scheduler takes its tasks and the other components along.

        It would wait for its tasks: these are ended first, and tried again when it is back. The triggerer waits ten
        seconds for triggers, also when there are none: it is not given them.
        """
        if name == SCHEDULER:
            for group in self._task_groups():
                with suppress(ProcessLookupError):
                    os.killpg(group, signal.SIGTERM)
        found = process.stop(self._home, name, timeout_s=2 if name == TRIGGERER else process.STOP_TIMEOUT_S)
        if name == SCHEDULER:
            for other in COMPONENTS:
                if (running := process.running(self._home, other)) is not None:
                    running.terminate()  # they end beside one another, and are waited for one by one
        return found

    def stop_all(self) -> None:
        """Stop every component."""
        for name in reversed(COMPONENTS):
            self.stop(name)

    def drop_metadata(self, postgres: Postgres) -> None:
        """Remove the metadata database of an Airflow that was stopped."""
        with closing(postgres.connect("postgres")) as session:
            drop_database(session, self._settings.airflow_database)

    def summary(self, run_id: str) -> BatchSummary:
        """What the batch job of a run of `fraud_batch` said of itself."""
        return read_summary(summary_file(config.folder(self._home), run_id))

    def sick(self) -> list[str]:
        """The parts that do not say that they are healthy, by a heartbeat since their process was started."""
        health = self.api.health()
        return [part for part in HEALTH if not self._beats(part, health.get(part, {}))]

    def _healthy(self, part: str) -> bool:
        return part not in self.sick()

    def _beats(self, part: str, found: dict[str, Any]) -> bool:
        if found.get("status") != "healthy" or part == "metadatabase":
            return found.get("status") == "healthy"
        running = process.running(self._home, f"airflow-{HEALTH[part]}")
        beat = found.get(f"latest_{part}_heartbeat")
        if running is None or beat is None:
            return False
        return datetime.fromisoformat(beat).timestamp() > running.create_time()

    def put_connections(self, settings: Settings) -> None:
        """The connections of the DAGs, for these names (standard or a run's); passwords are written anew."""
        credentials = self._credentials
        source = settings.source_dsn.get_secret_value()
        averages = settings.averages_dsn.get_secret_value()
        targets = {
            "twinpath_source": source or credentials.dsn("twinpath_reader", settings.source_database),
            "twinpath_alerts": credentials.alerts_dsn(settings),
            "office_db": averages or credentials.dsn("twinpath_averages", settings.temperature_database),
        }
        spark = {
            "connection_id": "spark_local",
            "conn_type": "spark",
            "description": "Spark on this machine, two cores",
            "host": "local[2]",
            "extra": json.dumps({"deploy-mode": "client", "spark-binary": "spark-submit"}),
        }
        self.api.put_connections([*(postgres_connection(name, dsn) for name, dsn in targets.items()), spark])

    def _start(self, name: str, environment: dict[str, str], progress: Progress) -> None:
        found = process.running(self._home, name)
        if found is not None:
            progress.say(f"{name}: already running (pid {found.pid})")
            return
        process.stop(self._home, name)  # ends what a killed one left behind
        command = [*(NICE if self._yielding else []), *_command(*COMPONENTS[name])]
        started = process.start(self._home, name, command, environment)
        progress.say(f"{name}: starting, pid {started.pid}, log {process.log_of(self._home, name)}")

    def _stop_outdated(self, text: str, environment: dict[str, str], progress: Progress) -> None:
        """Components that were started with other settings are stopped."""
        note = config.folder(self._home) / "started"
        wanted = hashlib.sha256(repr((text, sorted(environment.items()))).encode()).hexdigest()
        if note.exists() and note.read_text() != wanted and self.started():
            progress.say("airflow: its settings changed, starting it anew")
            self.stop_all()
        note.write_text(wanted)

    def _migrate(self, postgres: Postgres, environment: dict[str, str], progress: Progress) -> None:
        """The metadata database, owned by its own role, with the tables of this Airflow."""
        database = self._settings.airflow_database
        with closing(postgres.connect("postgres")) as session:
            create_owned_database(session, database, AIRFLOW)
        note = config.folder(self._home) / "migrated"
        wanted = version("apache-airflow")
        with closing(postgres.connect(database)) as session, session.cursor() as cursor:
            cursor.execute("SELECT to_regclass('public.alembic_version') IS NOT NULL")
            if cursor.fetchone() == (True,) and note.exists() and note.read_text() == wanted:
                return
        with progress.step(MIGRATE) as step, process.log_of(self._home, MIGRATE).open("ab") as log:
            done = subprocess.run(
                _command("db", "migrate"), stdout=log, stderr=log, env={**os.environ, **environment}, check=False
            )
            if done.returncode:
                raise ServiceFault(
                    f"airflow db migrate failed with status {done.returncode}; {process.tail(self._home, MIGRATE)}"
                )
            step.done = "done"
        note.write_text(wanted)

    def _wait_for_api(self) -> None:
        process.wait_until(self._home, API_SERVER, lambda: bool(self.api.health()), START_TIMEOUT_S, "it answered")

    def _wait_for_dags(self) -> None:
        """Wait until each file with a DAG is known, as a DAG or as an import error."""
        wanted = {path.name for path in config.DAGS.glob("*.py")}
        api = self.api
        deadline = time.monotonic() + START_TIMEOUT_S
        while missing := wanted - set(api.dags().values()) - set(api.import_errors()):
            if time.monotonic() > deadline:
                raise ServiceFault(f"Airflow has not read {sorted(missing)} in {START_TIMEOUT_S:.0f} s")
            time.sleep(0.2)

    def _task_groups(self) -> list[int]:
        """Process groups of the running tasks: in the scheduler's session, but each a group of its own."""
        groups = set()
        for one in process.members(self._home, SCHEDULER):
            with suppress(ProcessLookupError):
                groups.add(os.getpgid(one.pid))
        found = process.running(self._home, SCHEDULER)
        return sorted(groups - {found.pid if found else 0})


def _command(*arguments: str) -> list[str]:
    """`airflow ...` by our Python; variables of the caller's shell that would overrule airflow.cfg are taken out."""
    unset = [part for name in config.foreign() for part in ("-u", name)]
    return [*(["env", *unset] if unset else []), sys.executable, "-m", "airflow", *arguments]
