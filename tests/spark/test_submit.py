"""The batch job as people run it: plain spark-submit, on two local cores and on a cluster of processes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab import batch_runs
from lab.batch_runs import job_environment, warm_session
from tests.conftest import Line
from tests.spark.test_fraud_batch import NOON, alerts, expected, standing
from twinpath.errors import ServiceFault
from twinpath.settings import ROOT

pytestmark = pytest.mark.integration
BIN = Path(sys.executable).parent
JOB = str(ROOT / "spark_jobs" / "fraud_batch.py")


def submit(line: Line | None, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the job from another folder, with nothing but the environment's `bin` on PATH before the usual.

    spark-submit hands what Python writes to stderr on to stdout.
    """
    given = {name: value for name, value in os.environ.items() if not name.startswith(("SPARK", "PYSPARK"))}
    given |= {"PATH": f"{BIN}:{os.environ['PATH']}"}
    if line is not None:
        credentials = line.stack.credentials
        given["SOURCE_DSN"] = credentials.dsn("twinpath_reader", line.settings.source_database)
        given["ALERTS_DSN"] = credentials.alerts_dsn(line.settings)
    command = ["spark-submit", *options]
    return subprocess.run(
        command, env=given | environment, cwd="/", capture_output=True, text=True, timeout=240, check=False
    )


def summary(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_help_needs_no_session_and_no_connection() -> None:
    done = subprocess.run([sys.executable, JOB, "--help"], capture_output=True, text=True, cwd="/", check=False)
    assert done.returncode == 0
    assert "--mode {safe,full,naive-id,naive-time}" in done.stdout
    assert "JAVA" not in done.stderr


def test_without_a_connection_the_job_names_the_setting() -> None:
    done = submit(None, JOB)
    assert done.returncode == 2
    assert "SOURCE_DSN is empty, wanted a DSN. `twinpath env --export` prints one" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_a_wrong_password_is_said_and_not_shown(store_line: Line) -> None:
    dsn = f"host=127.0.0.1 port={store_line.settings.pgport} dbname=mydb user=twinpath_reader password=forgotten"
    done = submit(store_line, JOB, SOURCE_DSN=dsn)
    assert done.returncode == 2
    assert "password authentication failed" in done.stdout
    assert "forgotten" not in done.stdout + done.stderr


def test_a_kept_session_runs_the_job_once_for_each_line_and_says_what_failed(store_line: Line, tmp_path: Path) -> None:
    line = store_line
    line.insert([(7, amount, NOON) for amount in ("10.00", "11.00", "12.00", "900.00")])
    environment = job_environment(line.settings, line.stack.credentials)
    with warm_session(environment, tmp_path / "session.log") as session:
        assert session.ready() > 0
        found = [session.run(["--mode", mode]) for mode in ("safe", "safe", "full")]
        assert [(one["rows_read"], one["alerts_written"]) for one in found] == [(4, 1), (0, 0), (4, 1)]
        assert found[0]["seconds"]["whole"] >= found[0]["seconds"]["read"] > 0
        assert session.run(["noop", "--read", "plain"])["seconds"]["whole"] > 0
        with line.session("twinpath_lab") as owner, owner.cursor() as cursor:
            cursor.execute("ALTER TABLE transactions RENAME merchant_id TO shop")
        with pytest.raises(ServiceFault, match='column "merchant_id" does not exist'):
            session.run(["--mode", "full"])
        with line.session("twinpath_lab") as owner, owner.cursor() as cursor:
            cursor.execute("ALTER TABLE transactions RENAME shop TO merchant_id")
        assert session.run(["--mode", "full"])["rows_read"] == 4
    assert standing(line, "spark_batch_full") == expected(line)


def test_a_job_that_fails_is_said_with_its_last_words(store_line: Line, tmp_path: Path) -> None:
    environment = job_environment(store_line.settings, store_line.stack.credentials) | {"SOURCE_DSN": ""}
    with pytest.raises(ServiceFault, match="spark-submit --mode safe ended with status 2: .*SOURCE_DSN is empty"):
        batch_runs.submit(environment, tmp_path, ["--mode", "safe"])
    with (
        warm_session(environment, tmp_path / "session.log") as session,
        pytest.raises(ServiceFault, match="SOURCE_DSN"),
    ):
        session.ready()


@pytest.mark.timeout(400)
def test_a_cluster_of_processes_finds_the_alerts_of_one_process(store_line: Line, tmp_path: Path) -> None:
    line = store_line
    for number in range(30):
        line.insert([(user, f"{10 + number * 37 % 90}.00", NOON) for user in (number % 5 - 2, 7, 11)])
    line.insert([(user, "4800.00", NOON) for user in (-2, 7, 11)])
    found = summary(submit(line, "--master", "local-cluster[2,1,1024]", JOB, "--summary", str(tmp_path / "run.json")))
    assert (found["rows_read"], found["merged"]) == (93, True)
    assert json.loads((tmp_path / "run.json").read_text()) == found
    assert standing(line, "spark_batch") == expected(line)
    assert {rule for rule, *_ in alerts(line)} == {"spending", "velocity"}
    again = summary(submit(line, JOB))
    assert (again["rows_read"], again["alerts_written"]) == (0, 0)
