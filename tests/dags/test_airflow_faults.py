"""Airflow under faults: whatever happened to its processes, the tables are the same."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import psutil
import pytest

from lab.stack import process
from tests.conftest import wait_for
from tests.dags.conftest import NEVER, AirflowShell, alive

pytestmark = [pytest.mark.dags, pytest.mark.long, pytest.mark.timeout(600)]
EVERY_MINUTE = "* * * * *"
PAYMENTS = """
INSERT INTO transactions (user_id, amount)
SELECT usr, amount FROM generate_series(%s::int, %s::int) AS usr, unnest(ARRAY[10, 11, 12, 13, 900]) AS amount
ORDER BY usr, amount"""
SCHEDULED = "/dags/fraud_batch/dagRuns?run_type=scheduled&order_by=run_after&limit=100"
RAISED = "SELECT user_id, rule, status FROM alert_log WHERE path = 'spark_batch' AND user_id >= 100 ORDER BY user_id"


def scheduled(shell: AirflowShell, *states: str) -> list[dict[str, Any]]:
    """Scheduled runs of fraud_batch in these states, the oldest first."""
    return [one for one in shell.api.call("GET", SCHEDULED)["dag_runs"] if one["state"] in states]


def spark_runs(shell: AirflowShell) -> bool:
    return any("org.apache.spark.deploy.SparkSubmit" in " ".join(one.cmdline()) for one in shell.members())


def test_a_scheduler_killed_in_mid_task_and_runs_on_top_of_one_another_leave_the_same_table(
    shell: AirflowShell,
) -> None:
    wanted = [(user, "spending", "RAISED") for user in range(100, 120)]
    shell.rows("mydb", PAYMENTS, [100, 119])
    run = shell.api.trigger("fraud_batch")
    wait_for(lambda: spark_runs(shell), "a Spark job")
    scheduler = process.running(shell.home, "airflow-scheduler")
    scheduler.kill()
    psutil.wait_procs([scheduler], timeout=10)
    shell.up()
    assert not spark_runs(shell), "what the killed one had started is gone"
    assert shell.finish("fraud_batch", run) == "success"
    tries = {one["task_id"]: one["try_number"] for one in shell.api.tasks("fraud_batch", run)}
    assert tries == {"judge": 2, "check": 1}
    assert shell.rows("alerts", RAISED) == wanted

    shell.api.clear("fraud_batch", run)
    more = [shell.api.trigger("fraud_batch") for _ in range(2)]
    assert [shell.finish("fraud_batch", one) for one in (run, *more)] == ["success"] * 3
    assert shell.rows("alerts", RAISED) == wanted


def test_down_in_mid_task_ends_it_and_the_next_up_tries_it_again(shell: AirflowShell) -> None:
    wanted = [(user, "spending", "RAISED") for user in range(100, 140)]
    shell.rows("mydb", PAYMENTS, [120, 139])
    run = shell.api.trigger("fraud_batch")
    wait_for(lambda: spark_runs(shell), "a Spark job")
    members = shell.members()
    assert shell.run("down").returncode == 0
    assert [one for one in members if alive(one)] == []
    shell.up()
    assert shell.finish("fraud_batch", run) == "success"
    assert shell.rows("alerts", RAISED) == wanted


def test_another_schedule_starts_airflow_anew_and_every_minute_is_kept_up(shell: AirflowShell) -> None:
    shell.environment["BATCH_SCHEDULE"] = EVERY_MINUTE
    assert "airflow: its settings changed, starting it anew" in shell.up()
    runs = wait_for(lambda: len(found := scheduled(shell, "success")) >= 3 and found, "three runs on end", 300)
    minutes = [datetime.fromisoformat(one["run_after"]) for one in runs[-3:]]
    assert [later - earlier for earlier, later in pairwise(minutes)] == [timedelta(minutes=1)] * 2


def late_raised(shell: AirflowShell) -> list[tuple[Any, ...]]:
    """Alerts of the users from 200 on."""
    return [row for row in shell.rows("alerts", RAISED) if row[0] >= 200]


def test_a_manual_run_on_top_of_a_scheduled_one_and_three_missed_intervals_leave_the_same_table(
    shell: AirflowShell,
) -> None:
    shell.environment["BATCH_SCHEDULE"] = EVERY_MINUTE
    shell.up()
    wait_for(lambda: scheduled(shell, "running"), "a scheduled run is under way", 120)
    shell.rows("mydb", PAYMENTS, [200, 219])
    assert shell.finish("fraud_batch", shell.api.trigger("fraud_batch")) == "success"
    assert late_raised(shell) == [(user, "spending", "RAISED") for user in range(200, 220)]

    scheduler = process.running(shell.home, "airflow-scheduler")
    scheduler.kill()
    psutil.wait_procs([scheduler], timeout=10)
    killed = datetime.now(tz=UTC)
    shell.rows("mydb", PAYMENTS, [220, 239])
    later = killed + timedelta(minutes=4)
    wait_for(lambda: datetime.now(tz=UTC) > later, "three intervals have passed without a scheduler", 300)
    shell.up()
    wanted = [(user, "spending", "RAISED") for user in range(200, 240)]
    wait_for(lambda: late_raised(shell) == wanted, "the next run has judged what was missed", 180)
    passed = [datetime.fromisoformat(one["run_after"]) for one in scheduled(shell, "success", "running", "queued")]
    assert sum(killed < one <= later for one in passed) <= 1, "only the last of the missed intervals runs"
    shell.environment["BATCH_SCHEDULE"] = NEVER
    shell.up()
    assert late_raised(shell) == wanted
