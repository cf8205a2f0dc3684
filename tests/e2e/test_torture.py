"""The torture as a user runs it: a slice with each fault once, and the whole in five seeds."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.console import Progress
from lab.drills import torture as drill

pytestmark = pytest.mark.e2e
TWINPATH = str(Path(sys.executable).with_name("twinpath"))


def torture(*options: str, timeout_s: float) -> dict[str, Any]:
    """Run it; returns the JSON of its run."""
    done = subprocess.run(
        [TWINPATH, "drill", "torture", *options], capture_output=True, text=True, timeout=timeout_s, check=False
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    *_, row, path = done.stdout.splitlines()
    assert row.endswith("| passed |")
    found: dict[str, Any] = json.loads(Path(path).read_text())
    return found


def exact(found: dict[str, Any]) -> dict[str, Any]:
    return {name: found[name] for name in ("verdict", "unequal", "untried", "lost", "extra")}


PASSED = {"verdict": "passed", "unequal": [], "untried": [], "lost": 0, "extra": 0}


@pytest.mark.timeout(300)
def test_awkward_writers_under_one_fault_of_each_kind_lose_and_invent_nothing() -> None:
    found = torture("--seed", "1", "--duration", "40", "--rate", "250", "--rounds", "1", timeout_s=280)
    assert exact(found) == PASSED
    names = sorted(one["fault"] for one in found["faults"])
    assert names == ["agent spending", "agent velocity", "broker", "connect", "connector", "postgres"]
    assert found["rows_committed"] > 5_000
    assert found["found"]["delivered_twice"] > 0
    assert found["found"]["snapshot_rows"] > 0
    assert found["writers"]["lost_sessions"] > 0
    for agent in found["found"]["agents"]:
        assert set(agent["statuses"]) == {"RAISED", "REVISED", "RETRACTED"}
        assert agent["counters"]["duplicate"] == found["found"]["delivered_twice"]


@pytest.mark.long
@pytest.mark.timeout(400)
def test_a_line_that_does_not_recover_in_time_ends_with_a_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drill, "RECOVERY_TIMEOUT_S", 0.0)
    result, path = drill.torture(Progress(quiet=True), rounds=1, seed=1, duration=10.0, rate=200)
    found = json.loads(path.read_text())
    assert (result.verdict, found["verdict"], found["unequal"]) == ("invalid", "invalid", [])
    assert len(found["faults"]) < 6, "the rest of the plan is left out"
    assert any("was not recovered from: the line has not recovered after 0 s" in why for why in found["untried"])


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5])
def test_awkward_writers_under_twelve_faults_lose_and_invent_nothing(seed: int) -> None:
    found = torture("--seed", str(seed), "--duration", "120", "--rate", "500", timeout_s=880)
    assert exact(found) == PASSED
    assert len(found["faults"]) == 12
    assert found["rows_committed"] > 30_000
