"""`make demo` as the README says it: a small one, in another time zone and locale, with both kills and both sides."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.documented import commands_of
from twinpath.settings import ROOT

pytestmark = pytest.mark.e2e
KNOBS = {"RATE": "150", "DURATION": "24", "SEED": "3"}
ELSEWHERE = {"TZ": "Asia/Kolkata", "LANG": "C", "LC_ALL": "C", "RUN_ID": "stray"}
OF_MAKE = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}  # this may run under `make test`
STABLE_KEYS = {
    "schema_version",
    "run_id",
    "seed",
    "verdict",
    "goals",
    "workload",
    "paths",
    "agreement",
    "losses",
    "temperature",
    "environment",
}
STABLE_PATH_KEYS = {
    "rows_seen",
    "alerts",
    "missing",
    "extra",
    "explained",
    "unexplained",
    "duplicates_suppressed",
    "dead_letters",
    "cpu_s",
    "peak_rss_mb",
    "latency_ms",
    "rules",
}


def check_losses_and_money(summary: dict[str, Any]) -> None:
    losses = summary["losses"]
    assert losses["rollback"]["seen"] == dict.fromkeys(summary["paths"], 0)
    for name in ("insert", "update", "middle update", "delete", "born and died", "late commit", "same stamp"):
        done, seen = losses[name]["done"], losses[name]["seen"]
        assert done > 0, name
        assert [seen[path] for path in ("agent", "spark_stream")] == [done, done], name
    assert [losses[name]["seen"]["spark_batch"] for name in ("middle update", "delete", "born and died")] == [0, 0, 0]
    money = summary["money"]["paths"]
    assert money.keys() == summary["paths"].keys()
    left = [money["agent"]["left_at_once_cents"], *(money[path]["left_cents"] for path in ("agent", "spark_batch"))]
    assert 0 < left[0] <= left[1] <= left[2]


@pytest.mark.timeout(600)
def test_the_demo_proves_every_path_equal_to_the_oracles_although_two_processes_are_killed() -> None:
    kept = {name: value for name, value in os.environ.items() if name not in OF_MAKE}
    before = set((ROOT / ".twinpath" / "private").glob("*"))
    command = ["bash", "-ec", commands_of("demo")]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=540, env=kept | KNOBS | ELSEWHERE, check=False
    )
    assert done.returncode == 0, done.stderr
    path = Path(done.stdout.strip())
    assert path.name == "report.html"
    assert "<strong>✔ Pass</strong>" in path.read_text()
    assert "pass" in path.with_name("summary.md").read_text().partition("\n")[0]
    for words in ("killed agent spending", "killed connect", "first alert", "connect: stopped"):
        assert words in done.stderr
    summary = json.loads(path.with_name("summary.json").read_text())
    assert summary.keys() >= STABLE_KEYS
    found = summary["paths"]["agent"]
    assert found.keys() >= STABLE_PATH_KEYS
    stream = summary["paths"]["spark_stream"]
    assert stream.keys() >= STABLE_PATH_KEYS
    for one in (found, stream):
        zeros = {name: one[name] for name in ("missing", "extra", "unexplained", "dead_letters")}
        assert zeros == {"missing": 0, "extra": 0, "unexplained": 0, "dead_letters": 0}
    same = ("rows_seen", "alerts")
    assert [stream[name] for name in same] == [found[name] for name in same]
    assert stream["cpu_s"] > found["cpu_s"], "a Java machine and its workers are counted"
    assert stream["latency_ms"]["p50"] > 0
    assert found["duplicates_suppressed"] > 0
    assert found["rows_seen"] == summary["workload"]["rows_inserted"] > 3000
    assert found["alerts"] > 5
    assert found["cpu_s"] > 0
    assert 50 < found["peak_rss_mb"] < 600
    assert found["rules"].keys() == {"spending", "velocity"}
    assert found["latency_ms"]["n"] > 0
    assert found["latency_ms"]["p50"] > 0
    check_losses_and_money(summary)
    batch = summary["paths"]["spark_batch"]
    assert batch.keys() >= STABLE_PATH_KEYS
    assert (batch["rows_missed"], batch["unexplained"], batch["dead_letters"]) == (0, 0, 0)
    assert batch["rows_seen"] > 0.95 * found["rows_seen"], "all but what was deleted before a run came"
    assert batch["alerts"] > 0
    assert batch["latency_ms"]["p50"] > found["latency_ms"]["p50"]
    assert batch["cpu_s"] > 1
    assert summary["paths"]["spark_batch_naive_id"]["unexplained"] == 0
    runs = summary["airflow_runs"]
    assert {run["kind"] for run in runs} == {"scheduled", "manual"}
    assert sum(run["alerts_written"] for run in runs if run["path"] == "spark_batch") == batch["alerts"]
    windows = summary["temperature"]["windows"]
    assert [window["readings"] for window in windows] == [10, 10, 10, 10, 10, 0, 10, 10, 0, 0, 10, 10]
    assert [goal["id"] for goal in summary["goals"] if not goal["ok"]] == []
    assert {path.name for path in path.parent.iterdir()} >= {"operations.jsonl", "labels.jsonl"}
    left = set((ROOT / ".twinpath" / "private").glob("*")) - before
    assert left == set()
    ours = [
        one
        for one in psutil.process_iter(["environ"])
        if (one.info["environ"] or {}).get("RUN_ID") == summary["run_id"]
    ]
    assert ours == []
