"""What runs beside the pipeline when it was asked for: the Spark stream, Airflow and its DAGs."""

from collections.abc import Callable
from functools import partial

from lab.doctor.hop import Check, Finding, broken, holds
from lab.doctor.services import alive, well
from lab.doctor.view import View
from lab.stack.airflow import COMPONENTS
from lab.stack.airflow_api import HEALTH
from lab.stack.spark_stream import shown

WITH_STREAM = "twinpath up --with spark-stream"
WITH_AIRFLOW = "twinpath up --with airflow"


def _spark_stream(view: View) -> Finding:
    """Its queries run, and where each stands."""
    stream = view.stack.spark_stream()
    found = well(view, stream.name, stream.url(), stream.healthy, WITH_STREAM)
    if not found.ok:
        return found
    evidence = "; ".join(shown(one, view.ends) for one in stream.progress())
    return holds(evidence or "no query has begun")


def _airflow_health(view: View) -> Finding:
    """Every part says that it is healthy."""
    sick = view.stack.airflow.sick()
    if sick:
        return broken(f"not healthy: {', '.join(sick)}", WITH_AIRFLOW, f"the logs in {view.stack.home.logs} say why")
    return holds(f"{', '.join(HEALTH)} are healthy")


def _airflow_dags(view: View) -> Finding:
    """Every DAG file was read."""
    api = view.stack.airflow.api
    errors = [f"{file}: {error}" for file, error in sorted(api.import_errors().items())]
    if errors:
        return broken("; ".join(errors), WITH_AIRFLOW, "mend the file or the setting first; a file is read within 30 s")
    return holds(f"{', '.join(sorted(api.dags()))}; 0 import errors")


def _component(name: str) -> Check:
    look: Callable[[View], Finding] = partial(_alive_component, name)
    return Check(name, "its process is gone or halted", f"`{WITH_AIRFLOW}`", look, wanted=_has_airflow)


def _alive_component(name: str, view: View) -> Finding:
    return alive(view, name, WITH_AIRFLOW)


def _has_airflow(view: View) -> bool:
    return view.stack.airflow.started()


SPARK_STREAM = Check(
    "spark stream",
    "its process is gone or halted, or a query ended",
    f"`{WITH_STREAM}`",
    _spark_stream,
    needs=("alert store",),
    wanted=lambda view: view.stack.spark_stream().started(),
)
AIRFLOW = [
    *(_component(name) for name in COMPONENTS),
    Check(
        "airflow health",
        "a component runs and gives no sign of life",
        f"`{WITH_AIRFLOW}`; its log says why",
        _airflow_health,
        needs=("postgres",),
        wanted=_has_airflow,
    ),
    Check(
        "airflow DAGs",
        "a file cannot be imported; for `fraud_batch.py` often a `BATCH_SCHEDULE` that is no cron expression",
        f"mend it, then `{WITH_AIRFLOW}`",
        _airflow_dags,
        needs=("airflow health",),
        wanted=_has_airflow,
    ),
]
