"""### Fraud alerts by batch: Spark over JDBC

`judge` submits `spark_jobs/fraud_batch.py` with the rules of the agents; `check` compares what it read with what was
visible, and fails the run when a row was left out. Each run goes on from where the last one stood, so that a missed
or repeated run loses nothing and writes nothing twice.

Form of *Trigger*: `mode` says which rows are read (`safe` loses none; the others are what people usually write, each
with a path of its own in the alert log), `read` how (one query, or `partitions` queries of `fetchsize` rows a fetch).
The schedule is the setting `BATCH_SCHEDULE`. Connections: `twinpath_source`, `twinpath_alerts`, `spark_local`.
"""

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.configuration import AIRFLOW_HOME
from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.providers.postgres.hooks.postgres import PostgresHook
from airflow.sdk import DAG, Asset, Connection, CronDataIntervalTimetable, Param, task
from airflow.sdk.log import mask_secret
from psycopg2.extensions import make_dsn

from twinpath.batch_summary import DEAD_LETTERS, report, summary_file
from twinpath.settings import ROOT, load_settings

ALERTS = Asset(name="alerts_spark_batch", uri="twinpath://alerts/alert_log/spark_batch")
JARS = Path(os.environ.get("JARS_DIR") or ROOT / ".twinpath" / "jars") / "spark"


def arguments(context: Any, jinja_env: Any) -> Sequence[str]:
    """The job's command line: the params of the run, and its interval when it has one."""
    params, summary = context["params"], summary_file(Path(AIRFLOW_HOME), context["run_id"])
    summary.parent.mkdir(exist_ok=True)
    summary.unlink(missing_ok=True)  # of an earlier attempt
    given = ["--summary", str(summary), "--count-visible"]
    for name in ("mode", "read", "partitions", "fetchsize"):
        given += [f"--{name}", str(params[name])]
    if params["mode"] == "naive-time" and context.get("data_interval_start"):
        given += ["--interval-start", context["data_interval_start"].isoformat()]
        given += ["--interval-end", context["data_interval_end"].isoformat()]
    return given


def connections(context: Any, jinja_env: Any) -> dict[str, str]:
    """SOURCE_DSN and ALERTS_DSN for the job, from Airflow's connections; masked wherever they would be shown."""
    return {"SOURCE_DSN": dsn("twinpath_source"), "ALERTS_DSN": dsn("twinpath_alerts")}


def dsn(conn_id: str) -> str:
    """A connection as libpq takes it."""
    found = Connection.get(conn_id)
    parts = {"host": found.host, "port": found.port, "user": found.login, "password": found.password}
    text: str = make_dsn(dbname=found.schema, **parts, **found.extra_dejson)
    mask_secret(text)
    return text


with DAG(
    dag_id="fraud_batch",
    schedule=CronDataIntervalTimetable(load_settings().batch_schedule, timezone="UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={
        "owner": "twinpath",
        "retries": 2,
        "retry_delay": timedelta(seconds=10),
        "execution_timeout": timedelta(minutes=12),
    },
    params={
        "mode": Param("safe", type="string", enum=["safe", "full", "naive-id", "naive-time"], title="Which rows"),
        "read": Param("partitioned", type="string", enum=["partitioned", "plain"], title="How they are read"),
        "partitions": Param(2, type="integer", minimum=1, maximum=64, title="JDBC queries at a time"),
        "fetchsize": Param(10_000, type="integer", minimum=1, maximum=1_000_000, title="Rows of one fetch"),
    },
    tags=["fraud", "spark", "jdbc"],
    doc_md=__doc__,
) as dag:
    judge = SparkSubmitOperator(
        task_id="judge",
        application=str(ROOT / "spark_jobs" / "fraud_batch.py"),
        application_args=arguments,
        conn_id="spark_local",
        env_vars=connections,
        jars=",".join(str(path) for path in sorted(JARS.glob("postgresql-*.jar"))),
        name="fraud_batch",
    )

    @task(outlets=[ALERTS], retries=1)
    def check(run_id: Any = None, params: Any = None) -> dict[str, Any]:
        """Fail when a visible row was left out; return rows and alerts of the run."""
        letters = PostgresHook("twinpath_alerts").get_records(DEAD_LETTERS)
        return report(summary_file(Path(AIRFLOW_HOME), run_id), params["mode"], letters)

    judge >> check()
