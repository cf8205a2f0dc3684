"""The DAGs as Airflow reads them: import, graph, schedule, params. Airflow runs in a process of its own."""

import json
import os
import subprocess
import sys
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from twinpath.settings import ROOT

pytestmark = pytest.mark.dags


def described(home: Path, folder: Path, **environment: str) -> dict[str, Any]:
    """What tests/dags/describe.py says of a folder of DAGs, on a machine in Berlin."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    own = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(folder),
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
        "BATCH_SCHEDULE": "*/10 * * * *",
        "TZ": "Europe/Berlin",
    }
    command = [sys.executable, "-m", "tests.dags.describe"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT, env=kept | own | environment
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return described(tmp_path_factory.mktemp("airflow"), ROOT / "dags")


def test_every_file_imports_without_an_error_and_is_read_the_same_each_time(found: dict[str, Any]) -> None:
    assert found["import_errors"] == {}
    assert found["stable"] == {"fraud_batch": True, "latency_comparison": True, "temperature_average": True}


def test_the_graphs_are_these(found: dict[str, Any]) -> None:
    assert {name: dag["graph"] for name, dag in found["dags"].items()} == {
        "fraud_batch": {"judge": ["check"], "check": []},
        "latency_comparison": {"compare": []},
        "temperature_average": {"average": []},
    }
    assert found["dags"]["fraud_batch"]["operators"]["judge"] == "SparkSubmitOperator"


def test_every_dag_says_what_it_is_for_whose_it_is_and_when_it_gives_up(found: dict[str, Any]) -> None:
    for name, dag in found["dags"].items():
        source = (ROOT / "dags" / f"{name}.py").read_text()
        assert dag["doc"].startswith("### ") and dag["doc"].splitlines()[0] in source
        assert dag["owners"] == ["twinpath"]
        assert dag["tags"]
        assert (dag["catchup"], dag["max_active_runs"]) == (False, 1)
        assert "catchup=False" in source, "explicit, whatever the default"
        measures = name == "latency_comparison"  # nothing that measures is begun again unasked
        assert all((0 if measures else 1) <= retries <= (0 if measures else 3) for retries in dag["retries"].values())
        assert all(0 < seconds <= (7200 if measures else 900) for seconds in dag["seconds"].values())
        assert dag["run_timeout"] is None, "it counts from the logical date of `airflow dags test`: a past one fails"
        assert len(dag["outlets"]) == 1


def test_params_have_types_bounds_and_titles(found: dict[str, Any]) -> None:
    assert found["dags"]["temperature_average"]["params"] == {}
    params = found["dags"]["fraud_batch"]["params"]
    assert {name: (one["value"], one["schema"]["type"]) for name, one in params.items()} == {
        "mode": ("safe", "string"),
        "read": ("partitioned", "string"),
        "partitions": (2, "integer"),
        "fetchsize": (10_000, "integer"),
    }
    compared = found["dags"]["latency_comparison"]["params"]
    assert compared["profile"]["schema"]["enum"] == ["tiny", "default", "stress"]
    assert all(one["schema"]["title"] for one in [*params.values(), *compared.values()])
    assert params["mode"]["schema"]["enum"] == ["safe", "full", "naive-id", "naive-time"]
    assert params["read"]["schema"]["enum"] == ["partitioned", "plain"]
    for one in params.values():
        assert one["schema"]["title"]
        assert "enum" in one["schema"] or {"minimum", "maximum"} <= set(one["schema"])


@pytest.mark.parametrize("clocks", ["march", "october"])
def test_windows_are_ten_minutes_on_end_when_the_clocks_change(found: dict[str, Any], clocks: str) -> None:
    assert found["zone"] == 7200, "the machine is in Berlin"
    windows = [(datetime.fromisoformat(start), datetime.fromisoformat(end)) for start, end in found[clocks]]
    day = {"march": "2026-03-29", "october": "2026-10-25"}[clocks]
    assert windows[0][0] == datetime.fromisoformat(f"{day}T00:40:00+00:00")
    assert windows[-1][1] == datetime.fromisoformat(f"{day}T03:40:00+00:00")
    assert {end - start for start, end in windows} == {timedelta(minutes=10)}
    assert all(one[1] == after[0] for one, after in pairwise(windows))


def test_after_an_outage_the_last_whole_window_is_next(found: dict[str, Any]) -> None:
    assert found["outage"] == ["2026-11-23T10:30:00+00:00", "2026-11-23T10:40:00+00:00"]


def test_a_run_by_hand_takes_the_last_whole_window(found: dict[str, Any]) -> None:
    assert found["by_hand"] == ["2026-11-23T10:30:00+00:00", "2026-11-23T10:40:00+00:00"]


def test_the_schedule_of_the_batch_is_a_setting(found: dict[str, Any], tmp_path: Path) -> None:
    assert found["dags"]["fraud_batch"]["schedule"] == "*/10 * * * *"
    every_minute = described(tmp_path, ROOT / "dags", BATCH_SCHEDULE="* * * * *")["dags"]
    assert every_minute["fraud_batch"]["schedule"] == "* * * * *"
    assert every_minute["temperature_average"]["schedule"] == "*/10 * * * *"
