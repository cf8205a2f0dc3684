"""Prints what Airflow makes of `dags/`, as one JSON object: run as a program of its own.

Airflow's import takes seconds, reads the environment and warns: no test process imports it.
"""

import json
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.serialized_objects import DagSerialization, LazyDeserializedDAG
from airflow.timetables import interval
from airflow.timetables.base import DataInterval, TimeRestriction
from pendulum import DateTime, parse

OCTOBER, MARCH = "2026-10-25T00:40:00Z", "2026-03-29T00:40:00Z"  # clocks change at 01:00 UTC in Europe


def described(dag: Any) -> dict[str, Any]:
    """What the tests compare of one DAG."""
    return {
        "graph": {task.task_id: sorted(task.downstream_task_ids) for task in dag.tasks},
        "operators": {task.task_id: type(task).__name__ for task in dag.tasks},
        "owners": sorted({task.owner for task in dag.tasks}),
        "retries": {task.task_id: task.retries for task in dag.tasks},
        "seconds": {task.task_id: task.execution_timeout.total_seconds() for task in dag.tasks},
        "run_timeout": dag.dagrun_timeout,
        "tags": sorted(dag.tags),
        "doc": dag.doc_md,
        "catchup": dag.catchup,
        "max_active_runs": dag.max_active_runs,
        "params": {name: dag.params.get_param(name).dump() for name in dag.params},
        "outlets": {task.task_id: [asset.name for asset in task.outlets] for task in dag.tasks if task.outlets},
        "schedule": getattr(dag.timetable, "expression", None),  # None runs when somebody asks
    }


def following(timetable: Any, first: str, count: int) -> list[tuple[str, str]]:
    """The windows of `count` scheduled runs on end, from a start date on."""
    last, found = None, []
    for _ in range(count):
        restriction = TimeRestriction(earliest=parse(first), latest=None, catchup=True)
        info = timetable.next_dagrun_info(last_automated_data_interval=last, restriction=restriction)
        last = info.data_interval
        found.append((last.start.isoformat(), last.end.isoformat()))
    return found


def after_an_outage(timetable: Any) -> tuple[str, str]:
    """What is scheduled at 10:47:30 when the last run was that of [10:00, 10:10)."""
    last = DataInterval(parse("2026-11-23T10:00:00Z"), parse("2026-11-23T10:10:00Z"))
    with patch.object(interval, "utcnow", lambda: DateTime.fromisoformat("2026-11-23T10:47:30+00:00")):
        restriction = TimeRestriction(earliest=parse("2026-01-01T00:00:00Z"), latest=None, catchup=False)
        info = timetable.next_dagrun_info(last_automated_data_interval=last, restriction=restriction)
    return info.data_interval.start.isoformat(), info.data_interval.end.isoformat()


def by_hand(timetable: Any) -> tuple[str, str]:
    """The window of a run that somebody triggers at 10:47:30."""
    found = timetable.infer_manual_data_interval(run_after=parse("2026-11-23T10:47:30Z"))
    return found.start.isoformat(), found.end.isoformat()


def main() -> None:
    """One JSON object on stdout."""
    folder = Path(os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
    bag = DagBag(folder)
    as_stored = {name: DagSerialization.to_dict(dag) for name, dag in bag.dags.items()}
    again = {name: DagSerialization.to_dict(dag) for name, dag in DagBag(folder).dags.items()}
    timetable = DagSerialization.from_dict(as_stored["temperature_average"]).timetable
    found = {
        "import_errors": bag.import_errors,
        "dags": {name: described(dag) for name, dag in bag.dags.items()},
        "stable": {
            name: LazyDeserializedDAG(data=one).hash == LazyDeserializedDAG(data=again[name]).hash
            for name, one in as_stored.items()
        },
        "march": following(timetable, MARCH, 18),
        "october": following(timetable, OCTOBER, 18),
        "outage": after_an_outage(timetable),
        "by_hand": by_hand(timetable),
        "zone": datetime.fromisoformat("2026-07-01T00:00").astimezone().utcoffset().total_seconds(),
    }
    sys.stdout.write(json.dumps(found, default=str))


if __name__ == "__main__":
    main()
