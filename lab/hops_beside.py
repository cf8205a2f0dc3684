"""Hops of what runs beside the pipeline when it was asked for: the Spark stream, Airflow."""

from lab.hop import Hop
from lab.measure.fence import end_offsets
from lab.stack import process
from lab.stack.airflow_api import HEALTH
from lab.stack.spark_stream import shown
from lab.stack.stack import Stack


def spark_stream(stack: Stack) -> Hop:
    """Its queries run, and where each stands."""
    stream = stack.spark_stream()
    name, mend = "spark stream", "twinpath up --with spark-stream"
    if not stream.running():
        return Hop(name, False, f"its process is gone; {process.tail(stack.home, stream.name, 3)}", mend)
    if not stream.healthy():
        log = process.log_of(stack.home, stream.name)
        return Hop(name, False, f"runs, but {stream.url()}/healthz is not ok", f"read {log}")
    ends = end_offsets(stack.settings)
    evidence = [shown(one, ends) for one in stream.progress()]
    return Hop(name, True, "; ".join(evidence) or "no query has begun")


def airflow_health(stack: Stack) -> Hop:
    """Every part says that it is healthy."""
    sick = stack.airflow.sick()
    evidence = f"not healthy: {', '.join(sick)}" if sick else f"{', '.join(HEALTH)} are healthy"
    return Hop("airflow health", not sick, evidence, "twinpath up --with airflow; its logs say why")


def airflow_dags(stack: Stack) -> Hop:
    """Every DAG file was read."""
    api = stack.airflow.api
    errors = [f"{file}: {error}" for file, error in sorted(api.import_errors().items())]
    evidence = "; ".join(errors) or f"{', '.join(sorted(api.dags()))}; 0 import errors"
    return Hop("airflow DAGs", not errors, evidence, "mend the file; it is read again within 30 s")
