"""`twinpath simulate` as a user runs it: seeds in numbers, a seed that fails, and its replay."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e
TWINPATH = str(Path(sys.executable).with_name("twinpath"))
NEVER_CALM = """from streaming.simulation import scheduler

scheduler.CALM_TURNS = 0
"""


def simulate(*options: str, timeout_s: float = 280, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [TWINPATH, "simulate", *options]
    ours = os.environ | environment
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False, env=ours)


def held(*options: str, timeout_s: float = 280) -> dict[str, int]:
    """Figures of seeds that all hold."""
    done = simulate(*options, "--json", timeout_s=timeout_s)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    found: dict[str, int] = json.loads(done.stdout)
    assert (found["failures"], found["failed"]) == (0, [])
    return found


@pytest.mark.timeout(300)
def test_agents_hold_in_two_thousand_seeds_of_crashes_resends_and_zombies() -> None:
    found = held("--seeds", "2000", "--from", "2000")
    assert found["seeds"] == 2_000
    assert found["steps"] > 2_000 * 400
    assert min(found[name] for name in ("crashes", "zombies", "resends", "rebalances", "store_failures")) > 2_000


@pytest.mark.long
@pytest.mark.timeout(1_200)
def test_agents_hold_in_ten_thousand_seeds() -> None:
    assert held("--seeds", "10000", "--from", "10000", timeout_s=1_180)["seeds"] == 10_000


def test_seeds_come_to_the_same_however_many_run_and_whatever_the_environment_says() -> None:
    alone, first, second = (simulate("--seed", seed, "--json") for seed in ("4711", "4711", "4712"))
    assert alone.stdout == first.stdout
    other = simulate("--seed", "4711", "--json", LIVE_USERS="7", PYTHONHASHSEED="1", STATE_BUCKETS="x")
    assert other.stdout == first.stdout
    steps = [json.loads(one.stdout)["steps"] for one in (first, second)]
    assert held("--seeds", "2", "--from", "4711")["steps"] == sum(steps)


def test_a_seed_that_fails_is_named_with_the_command_that_replays_it(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(NEVER_CALM)
    planted = {"PYTHONPATH": str(tmp_path)}
    done = simulate("--seeds", "30", "--from", "7", "--quiet", **planted)
    *failed, figures = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (1, "")
    assert failed[0].startswith("seed 7 (velocity): every record is folded: not after 0 turns of calm")
    assert failed[0].endswith("(replay it: twinpath simulate --seed 7)")
    assert len(failed) == 20, "enough failed"
    assert figures.startswith("seeds 20, steps ")
    assert ", failures 20 (from 7, " in figures
    again = simulate("--seed", "7", **planted)
    first, *_, last = again.stdout.splitlines()
    assert again.returncode == 1
    assert first.startswith("    0  rule velocity, ")
    assert last == failed[0]


def test_a_seed_that_holds_shows_what_happened_call_by_call() -> None:
    done = simulate("--seed", "4711")
    *calls, last = done.stdout.splitlines()
    assert done.returncode == 0
    assert last == "seed 4711 (spending): held (replay it: twinpath simulate --seed 4711)"
    text = "\n".join(calls)
    for said in ("started 0", "0 log.poll", "store.write, committed", "said up to record ", "killed "):
        assert said in text


def test_one_seed_and_several_at_a_time_are_refused() -> None:
    done = simulate("--seed", "7", "--seeds", "2")
    assert done.returncode == 2
    assert "found --seed beside --seeds or --from, wanted one seed" in done.stderr
