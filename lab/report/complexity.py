"""What each path asks one to run, counted from the code of this checkout: programs, ports, jars."""

from collections.abc import Collection, Mapping
from pathlib import Path

from lab.report.model import Count
from lab.stack.airflow import COMPONENTS as AIRFLOW
from twinpath.detection.rules import RULES

LOCK = Path(__file__).parents[1] / "stack" / "jars" / "jars.lock"
LOG = ("kafka", "connect")
PROGRAMS = {
    "agent": (*LOG, *(f"agent {rule}" for rule in RULES)),
    "spark_stream": (*LOG, "spark-stream"),
    "spark_batch": tuple(AIRFLOW),
}
PORTS = {"agent": 3 + len(RULES), "spark_stream": 5, "spark_batch": 1}  # Kafka has two; metrics and UIs included
JARS = {
    "agent": ("broker", "connect", "debezium"),
    "spark_stream": ("broker", "connect", "debezium", "spark"),
    "spark_batch": ("spark",),
}


def complexity(paths: Collection[str]) -> dict[str, dict[str, Count]]:
    """By path, besides PostgreSQL: what runs all the time, and what was downloaded for it. Python packages are not in
    it: one environment serves all paths."""
    sizes = jar_sizes(LOCK.read_text())
    return {path: _counted(path, sizes) for path in PROGRAMS if path in paths}


def _counted(path: str, sizes: Mapping[str, list[int]]) -> dict[str, Count]:
    jars = [size for group in JARS[path] for size in sizes[group]]
    return {
        "processes": len(PROGRAMS[path]),
        "programs": ", ".join(PROGRAMS[path]),
        "ports": PORTS[path],
        "jars": len(jars),
        "jars_mb": round(sum(jars) / 1e6, 1),
    }


def jar_sizes(lock: str) -> dict[str, list[int]]:
    """Bytes of each jar by class path."""
    found: dict[str, list[int]] = {}
    for line in lock.splitlines():
        if line and not line.startswith("#"):
            _, size, name = line.split()
            found.setdefault(name.partition("/")[0], []).append(int(size))
    return found
