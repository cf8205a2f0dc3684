"""A real Airflow beside a whole stack: what it opens, keeps and shows, and what its runs leave in PostgreSQL."""

import json
import os
import re
import signal
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import httpx
import psutil
import psycopg2
import pytest

from lab.stack import process
from lab.stack.airflow import COMPONENTS
from lab.stack.airflow_api import AirflowApi
from tests import exposure
from tests.conftest import wait_for
from tests.dags.conftest import HOUR, AirflowShell, alive
from tests.exposure import PLANTED
from twinpath.errors import ServiceFault

pytestmark = [pytest.mark.dags, pytest.mark.e2e]


def test_up_starts_four_healthy_components_and_says_the_password_once(shell: AirflowShell) -> None:
    assert shell.said.count(shell.password) == 1
    assert f"log in at {shell.url} as admin, password {shell.password}" in shell.said
    status = shell.ok("status")
    for name in COMPONENTS:
        assert re.search(rf"^ok   {name} +pid \d+$", status, re.MULTILINE), status
    assert "metadatabase, scheduler, triggerer, dag_processor are healthy" in status
    assert "fraud_batch, latency_comparison, temperature_average; 0 import errors" in status
    shown = shell.ok("env")
    assert f"user admin, password in {shell.home.secrets}/airflow_admin.json" in shown
    assert shell.password not in shown


def test_passwords_and_keys_are_in_files_of_their_owner_and_in_no_environment(shell: AirflowShell) -> None:
    private = [shell.home.path / "airflow" / "airflow.cfg", *shell.home.secrets.glob("airflow*.json")]
    assert [stat.S_IMODE(path.stat().st_mode) for path in private] == [0o600, 0o600, 0o600]
    assert stat.S_IMODE((shell.home.path / "airflow").stat().st_mode) == 0o700
    keys = json.loads((shell.home.secrets / "airflow_keys.json").read_text()).values()
    roles = json.loads((shell.home.secrets / "passwords.json").read_text()).values()
    environments = [" ".join(one.environ().values()) for one in shell.members()]
    assert len(environments) >= len(COMPONENTS)
    assert [secret for secret in (shell.password, *keys, *roles) for one in environments if secret in one] == []


def test_airflow_listens_on_one_port_of_loopback(shell: AirflowShell) -> None:
    found = {
        f"{entry.laddr.ip}:{entry.laddr.port}"
        for one in shell.members()
        for entry in one.net_connections()
        if entry.status == psutil.CONN_LISTEN
    }
    assert found == {shell.url.removeprefix("http://")}
    assert [one for one in exposure.listeners(shell.home) if not exposure.is_loopback(one[0])] == []
    assert exposure.in_arguments(exposure.passwords(shell.home)) == []


def test_the_role_of_the_metadata_reads_no_payment_and_nobody_else_reads_the_metadata(shell: AirflowShell) -> None:
    passwords = json.loads((shell.home.secrets / "passwords.json").read_text())
    target = {"host": "127.0.0.1", "port": shell.environment["PGPORT"]}
    own = psycopg2.connect(**target, dbname="mydb", user="twinpath_airflow", password=passwords["twinpath_airflow"])
    with closing(own), own.cursor() as cursor, pytest.raises(psycopg2.errors.InsufficientPrivilege):
        cursor.execute("SELECT FROM transactions")
    with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
        psycopg2.connect(**target, dbname="airflow", user="twinpath_alerts", password=passwords["twinpath_alerts"])


def test_nobody_gets_in_without_the_password(shell: AirflowShell) -> None:
    assert httpx.get(f"{shell.url}/api/v2/connections").status_code == 401
    with pytest.raises(ServiceFault, match="401"):
        AirflowApi(shell.url, "admin").dags()


def test_up_again_restores_connections_and_restarts_what_was_killed(shell: AirflowShell) -> None:
    spoiled = {"connection_id": "office_db", "conn_type": "postgres", "host": "elsewhere", "password": "old"}
    shell.api.put_connections([spoiled])
    scheduler = process.running(shell.home, "airflow-scheduler")
    orphans = [one for one in process.members(shell.home, "airflow-scheduler") if one.pid != scheduler.pid]
    assert orphans, "the executor's workers"
    os.kill(scheduler.pid, signal.SIGKILL)
    psutil.wait_procs([scheduler], timeout=10)
    assert "FAIL airflow-scheduler" in shell.run("status").stdout
    said = shell.up()
    assert said.count("already running (pid") == 5 + len(COMPONENTS) - 1
    assert shell.password not in said
    assert [one for one in orphans if alive(one)] == []
    shown = {one["connection_id"]: one for one in shell.api.call("GET", "/connections")["connections"]}
    assert {name: (one["conn_type"], one["host"], one["schema"], one["login"]) for name, one in shown.items()} == {
        "twinpath_source": ("postgres", "127.0.0.1", "mydb", "twinpath_reader"),
        "twinpath_alerts": ("postgres", "127.0.0.1", "alerts", "twinpath_alerts"),
        "office_db": ("postgres", "127.0.0.1", "office_db", "twinpath_averages"),
        "spark_local": ("spark", "local[2]", None, None),
    }


def test_a_window_is_averaged_and_a_cleared_run_repairs_it(shell: AirflowShell) -> None:
    shell.rows("office_db", "DELETE FROM temperature_averages")
    for minute, temperature in ((9, 99.0), (10, 20.0), (19, 22.0), (20, 99.0)):
        shell.read(minute, temperature)
    run = shell.api.trigger("temperature_average", f"{HOUR}:20:00Z")
    assert shell.finish("temperature_average", run) == "success"
    assert shell.averages() == [("10:10", "10:20", "hall", 21.0, 2)]
    returned = shell.returned("temperature_average", run, "average")
    assert returned["result"] == "2 readings"
    assert returned["averages"] == {"hall": 21.0}

    shell.read(15, 30.0)
    for _ in range(2):
        shell.api.clear("temperature_average", run)
        assert shell.finish("temperature_average", run) == "success"
        assert shell.averages() == [("10:10", "10:20", "hall", 24.0, 3)]


def test_missed_intervals_are_filled_and_one_without_data_is_a_result(shell: AirflowShell) -> None:
    shell.rows("office_db", "DELETE FROM temperature_averages")
    wanted = {"dag_id": "temperature_average", "from_date": f"{HOUR}:30:00Z", "to_date": f"{HOUR}:50:00Z"}
    shell.read(45, 18.0)
    filling = shell.api.call("POST", "/backfills", wanted)["id"]
    wait_for(lambda: shell.api.call("GET", f"/backfills/{filling}")["completed_at"], "the end of the backfill", 120)
    assert shell.averages() == [
        ("10:30", "10:40", "hall", None, 0),
        ("10:40", "10:50", "hall", 18.0, 1),
        ("10:50", "11:00", "hall", None, 0),
    ]
    runs = shell.api.call("GET", "/dags/temperature_average/dagRuns?run_type=backfill")["dag_runs"]
    results = [shell.returned("temperature_average", one["dag_run_id"], "average")["result"] for one in runs]
    assert sorted(results) == ["1 readings", "no data in this interval", "no data in this interval"]


def test_dags_test_runs_a_window_on_the_real_database(shell: AirflowShell) -> None:
    shell.rows("office_db", "DELETE FROM temperature_averages")
    home = {"AIRFLOW_HOME": str(shell.home.path / "airflow")}
    assert shell.exported()["AIRFLOW_HOME"] == home["AIRFLOW_HOME"]
    command = [str(Path(sys.executable).with_name("airflow")), "dags", "test", "temperature_average", f"{HOUR}:20:00Z"]
    shell.api.call("PATCH", "/dags/temperature_average", {"is_paused": True})  # else the scheduler may take the run
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=120, check=False, env=shell.environment | home
        )
    finally:
        shell.api.switch_on("temperature_average")
    assert done.returncode == 0, done.stdout + done.stderr
    assert shell.averages() == [("10:10", "10:20", "hall", 24.0, 3)]


def test_the_batch_runs_by_spark_and_its_rows_are_counted(shell: AirflowShell) -> None:
    shell.rows(
        "mydb",
        "INSERT INTO transactions (user_id, amount, card_type) SELECT %s, 10, %s FROM generate_series(1, 5)",
        [PLANTED["user_id"], PLANTED["card_type"]],
    )
    shell.rows(
        "mydb",
        "INSERT INTO transactions (user_id, amount, card_type) VALUES (%(user_id)s, %(amount)s, %(card_type)s)",
        PLANTED,
    )
    with pytest.raises(ServiceFault, match="Invalid input for param mode"):
        shell.api.trigger("fraud_batch", mode="everything")
    run = shell.api.trigger("fraud_batch")
    assert shell.finish("fraud_batch", run) == "success"
    returned = shell.returned("fraud_batch", run, "check")
    assert (returned["rows_read"], returned["rows_visible"], returned["alerts_written"]) == (6, 6, 2)
    assert returned["rows_left_out"] == {"spending": 0, "velocity": 0}
    alerts = shell.rows("alerts", "SELECT rule, tx_id, status FROM alert_log WHERE path = 'spark_batch'")
    assert sorted(alerts) == [("spending", 6, "RAISED"), ("velocity", 6, "RAISED")]
    events = shell.api.call("GET", "/assets/events")["asset_events"]
    assert "alerts_spark_batch" in {one["name"] for one in events}

    passwords = json.loads((shell.home.secrets / "passwords.json").read_text()).values()
    fields = json.dumps([one["rendered_fields"] for one in shell.api.tasks("fraud_batch", run)])
    assert "SOURCE_DSN" in fields
    logs = "".join(path.read_text() for path in (shell.home.path / "airflow" / "logs").rglob("*.log"))
    logs += "".join(path.read_text() for path in shell.home.logs.glob("airflow*.log"))
    assert "spark-submit" in logs
    assert [secret for secret in passwords if secret in fields or secret in logs] == []
    assert exposure.in_files(exposure.logs(shell.home), exposure.planted_words() | exposure.passwords(shell.home)) == []


def test_down_leaves_no_process_and_keeps_the_metadata(shell: AirflowShell) -> None:
    members = shell.members()
    assert len(members) >= len(COMPONENTS)
    done = shell.run("down")
    assert done.returncode == 0
    assert [done.stderr.count(f"{name}: stopped") for name in COMPONENTS] == [1] * len(COMPONENTS)
    assert [one for one in members if alive(one)] == []
    assert not process.listens(int(shell.url.rpartition(":")[2]))
    assert (shell.home.path / "airflow" / "airflow.cfg").exists()
