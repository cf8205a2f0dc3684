"""`twinpath compare` as a user runs it: the smallest one, and what it leaves."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lab.measure.lag import read
from twinpath.settings import ROOT

pytestmark = pytest.mark.e2e
TWINPATH = Path(sys.executable).with_name("twinpath")


@pytest.mark.timeout(420)
def test_a_tiny_comparison_proves_the_paths_equal_and_ends_with_the_path_of_its_page() -> None:
    before = set((ROOT / ".twinpath" / "private").glob("*"))
    command = [str(TWINPATH), "compare", "--profile", "tiny", "--duration", "16", "--interval", "4", "--seed", "5"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr
    page = Path(done.stdout.strip())
    assert "<strong>✔ Pass</strong>" in page.read_text()
    summary = json.loads(page.with_name("summary.json").read_text())
    assert summary["verdict"] == "pass"
    assert summary["faults"] == []
    assert summary["command"] == " ".join(["twinpath", *command[1:]])
    unexplained = {name: one["unexplained"] for name, one in summary["paths"].items()}
    batch = ("spark_batch", "spark_batch_full", "spark_batch_naive_id", "spark_batch_naive_time")
    assert unexplained == dict.fromkeys(("agent", "spark_stream", *batch), 0)
    assert summary["batch_scheduler"] == "loop"
    assert summary["batch_interval_s"] == 4
    runs = [one["kind"] for one in summary["airflow_runs"]]
    assert runs.count("manual") == 4
    assert runs.count("scheduled") >= 1
    agent, waiting = (summary["paths"][name]["latency_ms"]["p50"] for name in ("agent", "spark_batch"))
    assert 0 < agent < waiting, "the batch path waits for its run"
    looked = read(page.with_name("timeseries.csv"))
    assert len(looked) >= 16
    assert {path for one in looked for path, lag in one.lag_records.items() if lag is not None} == {
        "agent", "spark_stream",
    }  # fmt: skip
    assert max(one.wal_kept_bytes or 0 for one in looked) > 0
    assert set((ROOT / ".twinpath" / "private").glob("*")) == before, "nothing is left running"
