"""### The average temperature of every ten minutes

Averages `office_db.temperature_readings` by sensor over the run's **data interval**, [start, end) in UTC, and writes
the result into `temperature_averages`. A window is a function of the readings alone, so a run can be repeated:

- **Late rows**: clear the run (or trigger one for the same logical date). The window is computed anew and replaced.
- **No readings**: a result, too. The run succeeds, its log and return value say so, and the table gets a row with
  `readings` 0.
- **Missed intervals** (Airflow was away): only the latest one runs by itself. For the others:
  `airflow backfill create --dag-id temperature_average --from-date ... --to-date ...`

Nothing here needs change data capture: one row a minute, read once in ten minutes, by plain SQL.
"""

import logging
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.postgres.hooks.postgres import PostgresHook
from airflow.sdk import DAG, Asset, CronDataIntervalTimetable, task

from twinpath.temperature_averages import store

AVERAGES = Asset(name="temperature_averages", uri="twinpath://office_db/temperature_averages")
log = logging.getLogger(__name__)

with DAG(
    dag_id="temperature_average",
    schedule=CronDataIntervalTimetable("*/10 * * * *", timezone="UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={
        "owner": "twinpath",
        "retries": 3,
        "retry_delay": timedelta(seconds=20),
        "execution_timeout": timedelta(minutes=1),
    },
    tags=["temperature", "sql"],
    doc_md=__doc__,
) as dag:

    @task(outlets=[AVERAGES])
    def average(data_interval_start: Any = None, data_interval_end: Any = None) -> dict[str, Any]:
        """Compute the window, store it, and return it."""
        if data_interval_start is None or data_interval_end is None:
            raise ValueError("this run has no data interval; trigger it with a logical date")
        # plain times: those of Airflow, pendulum's, lose a zone of the standard library when hours are taken off
        begin, end = (datetime.fromisoformat(bound.isoformat()) for bound in (data_interval_start, data_interval_end))
        window = f"[{begin.isoformat()}, {end.isoformat()})"
        with closing(PostgresHook("office_db").get_conn()) as session, session.cursor() as cursor:
            found = store(cursor, begin, end)
            session.commit()
        readings = sum(one.readings for one in found)
        if not readings:
            log.warning("no data in %s", window)
        for one in found:
            log.info("%s sensor %s: average %s of %s readings", window, one.sensor_id, one.average, one.readings)
        return {
            "window": window,
            "result": f"{readings} readings" if readings else "no data in this interval",
            "averages": {str(one.sensor_id): one.average for one in found if one.readings},
        }

    average()
