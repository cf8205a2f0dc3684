"""The torture of the batch modes as a user runs it: a short form, and the whole with holds of up to 60 s."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.e2e
TWINPATH = str(Path(sys.executable).with_name("twinpath"))


def drill(*options: str, timeout_s: float) -> dict[str, Any]:
    """Run it; returns the JSON of its run."""
    done = subprocess.run(
        [TWINPATH, "drill", "batch", *options], capture_output=True, text=True, timeout=timeout_s, check=False
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    *_, row, path = done.stdout.splitlines()
    assert row.endswith("| passed |")
    found: dict[str, Any] = json.loads(Path(path).read_text())
    causes = [json.loads(line) for line in Path(path).with_name("causes.jsonl").read_text().splitlines()]
    differing = sum(rule["differing"] for one in found["found"]["modes"] for rule in one["rules"])
    assert len(causes) == differing > 0
    assert {one["cause"] for one in causes if one["path"] in ("spark_batch", "spark_batch_full")} <= {"a", "b", "c"}
    assert all(one["evidence"] for one in causes)
    return found


def exact(found: dict[str, Any]) -> dict[str, Any]:
    return {name: found[name] for name in ("verdict", "unequal", "untried", "unexplained")}


PASSED = {
    "verdict": "passed",
    "unequal": [],
    "untried": [],
    "unexplained": {"safe": 0, "full": 0, "naive-id": 0, "naive-time": 0},
}


@pytest.mark.timeout(300)
def test_watermarks_miss_rows_safe_misses_none_and_every_difference_has_its_cause() -> None:
    found = drill("--seed", "1", "--duration", "16", "--rate", "150", "--rounds", "2", timeout_s=280)
    assert exact(found) == PASSED
    assert found["missed"]["safe"] == found["missed"]["full"] == 0
    assert found["missed"]["naive-id"] > 0
    assert found["missed"]["naive-time"] > 0
    ran = {(one["mode"], one["how"]) for one in found["ran"]}
    assert ran >= {("safe", "spark-submit"), ("safe", "session"), ("full", "session"), ("naive-id", "session")}


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_with_holds_of_up_to_a_minute_it_is_the_same(seed: int) -> None:
    found = drill("--seed", str(seed), "--duration", "160", "--rate", "300", "--rounds", "5", timeout_s=880)
    assert exact(found) == PASSED
    assert found["found"]["held_s"][0] > 30
    assert found["rows_committed"] > 20_000
