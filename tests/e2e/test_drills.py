"""Faults of the matrix as a user runs them: a slice of what the torture does not do, and the whole in shards."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.drills.matrix.registry import chosen, shard

pytestmark = pytest.mark.e2e
TWINPATH = str(Path(sys.executable).with_name("twinpath"))
SHARDS = 40


def drill(folder: Path, *options: str, timeout_s: float) -> dict[str, dict[str, Any]]:
    """Run faults; returns the JSON of each by its file's name."""
    command = [TWINPATH, "drill", *options, "--into", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    *_, row, path = done.stdout.splitlines()
    assert row.endswith("| passed |")
    assert Path(path) == folder
    return {one.stem: json.loads(one.read_text()) for one in sorted(folder.glob("*.json"))}


def passed(found: dict[str, dict[str, Any]]) -> None:
    for name, one in found.items():
        assert (one["verdict"], one["wrong"], one["untried"]) == ("passed", [], []), name
        assert one["rows_in_fault"] >= 1_000
        assert all(fault["acted"] for fault in one["faults"])


@pytest.mark.timeout(300)
def test_an_agent_that_dies_in_its_commit_and_a_storm_of_unreadable_records_change_no_alert(tmp_path: Path) -> None:
    found = drill(tmp_path, "F02", "F25", "--seed", "1", "--rounds", "2", "--duration", "1", timeout_s=280)
    assert list(found) == ["F02-seed1", "F25-seed1"]
    passed(found)
    died, stormed = found.values()
    assert sum(agent["counters"]["alerts_refused"] for agent in died["found"]["agents"]) > 0
    assert [agent["dead_letters"] for agent in stormed["found"]["agents"]] == [400, 400]


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("number", range(1, SHARDS + 1))
def test_every_fault_of_the_matrix_holds_in_every_seed(number: int, tmp_path: Path) -> None:
    wanted = [f"{one.name}-seed{seed}" for one, seed in shard(chosen(["all"], 7), number, SHARDS)]
    found = drill(tmp_path, "all", "--seed", "7", "--shard", f"{number}/{SHARDS}", timeout_s=880)
    assert sorted(found) == sorted(wanted)
    passed(found)
