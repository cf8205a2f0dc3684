"""A whole stack with Airflow beside it, as commands make it, in a folder and on ports of its own."""

import json
from collections.abc import Iterator
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import pytest

from lab.stack import process
from lab.stack.airflow import COMPONENTS
from lab.stack.airflow_api import AirflowApi
from lab.stack.home import Home
from tests.conftest import wait_for
from tests.e2e.test_commands import Shell

NEVER = "0 0 1 1 *"  # the batch runs when a test says so
HOUR = "2026-11-20T10"  # past: a run of a future date would wait for it


class AirflowShell(Shell):
    """Commands on a stack whose Airflow has a port of its own."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        (port,) = process.free_ports(1)
        self.home = Home(home)
        self.url = f"http://127.0.0.1:{port}"
        kept = {name: value for name, value in self.environment.items() if not name.startswith("AIRFLOW_")}
        self.environment = kept | {"AIRFLOW_PORT": str(port), "BATCH_SCHEDULE": NEVER}

    def up(self) -> str:
        done = self.run("up", "--with", "airflow")
        assert done.returncode == 0, done.stderr
        return done.stderr

    @cached_property
    def superuser_dsn(self) -> str:
        return self.exported()["SUPERUSER_DSN"]

    @property
    def password(self) -> str:
        return json.loads((self.home.secrets / "airflow_admin.json").read_text())["admin"]

    @property
    def api(self) -> AirflowApi:
        return AirflowApi(self.url, self.password)

    def members(self) -> list[psutil.Process]:
        return [one for name in COMPONENTS for one in process.members(self.home, name)]

    def finish(self, dag_id: str, run_id: str, timeout_s: float = 150) -> str:
        """Wait until a run has ended; returns its state."""
        api = self.api
        return wait_for(
            lambda: (state := api.run(dag_id, run_id)["state"]) in ("success", "failed") and state,
            f"the end of {dag_id} {run_id}",
            timeout_s=timeout_s,
        )

    def returned(self, dag_id: str, run_id: str, task_id: str) -> Any:
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/return_value"
        return self.api.call("GET", f"{path}?deserialize=true")["value"]

    def rows(self, database: str, query: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        dsn = psycopg2.extensions.make_dsn(self.superuser_dsn, dbname=database)
        with closing(psycopg2.connect(dsn)) as session, session, session.cursor() as cursor:
            cursor.execute(query, parameters)
            return cursor.fetchall() if cursor.description else []

    def read(self, minute: int, temperature: float) -> None:
        """One reading at a minute of HOUR."""
        self.rows(
            "office_db",
            "INSERT INTO temperature_readings (sensor_id, temperature, recorded_at) VALUES ('hall', %s, %s)",
            [temperature, f"{HOUR}:{minute:02}:00Z"],
        )

    def averages(self) -> list[tuple[Any, ...]]:
        """All that is kept of HOUR, but when it was computed; what the schedule adds for today stays out."""
        return self.rows(
            "office_db",
            "SELECT to_char(window_start, 'HH24:MI'), to_char(window_end, 'HH24:MI'), sensor_id, average, readings "
            "FROM temperature_averages WHERE window_start < %s ORDER BY window_start, sensor_id",
            [f"{HOUR}:59:59Z"],
        )


def alive(one: psutil.Process) -> bool:
    return one.is_running() and one.status() != psutil.STATUS_ZOMBIE


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AirflowShell]:
    one = AirflowShell(tmp_path_factory.mktemp("home") / "stack")
    try:
        one.said = one.up()
        yield one
    finally:
        one.run("down", "--purge")
