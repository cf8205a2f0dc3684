"""Faults of the matrix as a user runs them: a slice of what the torture does not do, and the whole in shards."""

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from lab.console import Progress
from lab.drills.faults import at_work
from lab.drills.matrix import runner
from lab.drills.matrix.registry import chosen, shard
from lab.drills.matrix.scene import Scene
from lab.drills.matrix.soak import soak

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
def test_everything_holds_at_each_fence_of_three_minutes_of_the_soak(tmp_path: Path) -> None:
    found = drill(tmp_path, "F32", "--seed", "7", "--duration", "180", timeout_s=880)
    assert list(found) == ["F32-seed7"]
    passed(found)
    (soak,) = found.values()
    assert [one["number"] for one in soak["fences"]] == [1, 2, 3]
    for one in soak["fences"]:
        assert (one["lost"], one["extra"], one["stored_twice"], one["wrong"]) == (0, 0, 0, [])
    assert len({one["rows"] for one in soak["fences"]}) == 3, "the load goes on behind a fence"
    assert {one["rule"] for one in soak["memory"]} == {"spending", "velocity"}
    assert all(one["samples"] > 10 for one in soak["memory"])


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_soak_ends_at_the_fence_that_finds_an_alert_gone(tmp_path: Path) -> None:
    def tampered(scene: Scene) -> None:
        at_work(lambda: remove_an_alert(scene), "an alert was stored, and removed")
        soak(scene)

    ((one, seed),) = chosen(["F32"], 7)
    runs = [(one._replace(act=tampered), seed)]
    (found,) = runner.run_all(Progress(quiet=True), runs, tmp_path, runner.Options(duration_s=30.0))
    assert found.verdict == "failed"
    assert found.found is not None and found.found.lost > 0
    assert [(fence.number, fence.lost) for fence in found.fences] == [(1, found.found.lost)]
    assert found.stopped.startswith("fence 1 does not hold: agent ")
    assert found.stopped.endswith("; seed 7, blows since the fence before: none")


def remove_an_alert(scene: Scene) -> int:
    """By the superuser, for nobody else may; how many were removed."""
    with closing(scene.stack.postgres.connect(scene.line.settings.alerts_database)) as session:
        cursor = session.cursor()
        cursor.execute("DELETE FROM alert_log WHERE ctid = (SELECT min(ctid) FROM alert_log)")
        return int(cursor.rowcount)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("number", range(1, SHARDS + 1))
def test_every_fault_of_the_matrix_holds_in_every_seed(number: int, tmp_path: Path) -> None:
    wanted = [f"{one.name}-seed{seed}" for one, seed in shard(chosen(["all"], 7), number, SHARDS)]
    found = drill(tmp_path, "all", "--seed", "7", "--shard", f"{number}/{SHARDS}", timeout_s=880)
    assert sorted(found) == sorted(wanted)
    passed(found)
