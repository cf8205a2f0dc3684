"""The soak: its plan and its fences as functions of the seed, what a fence finds wrong, and the slope of a memory."""

import threading
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from lab.drills.matrix import nemesis, soaked
from lab.drills.matrix.links import LINKS
from lab.drills.matrix.nemesis import MENACES, Blow
from lab.drills.matrix.soaked import Sample, memory_of, slope_per_hour, wrong_at
from lab.drills.proxy import CUTS
from tests.unit.test_drill_verdict import agent, torture

RULES = ["spending", "velocity"]
HOUR_S = 3_600.0


def plan(seed: int, duration_s: float = HOUR_S) -> list[Blow]:
    return nemesis.plan(seed, duration_s, nemesis.fences(duration_s), RULES, LINKS)


def test_an_hour_is_fenced_each_five_minutes_and_a_short_run_three_times() -> None:
    assert nemesis.fences(HOUR_S) == [300.0 * number for number in range(1, 13)]
    assert nemesis.fences(180.0) == [60.0, 120.0, 180.0]
    assert nemesis.fences(1_000.0) == [250.0, 500.0, 750.0, 1_000.0]


def test_the_seed_alone_gives_the_plan() -> None:
    assert plan(3) == plan(3)
    assert len({tuple(plan(seed)) for seed in range(20)}) == 20


@pytest.mark.parametrize("seed", range(10))
def test_a_fault_comes_each_20_to_40_seconds_from_the_first_to_the_end(seed: int) -> None:
    times = [0.0, *(one.at_s for one in plan(seed))]
    assert all(19.9 <= later - former <= 40.1 for former, later in pairwise(times))
    assert HOUR_S - 40.1 < times[-1] < HOUR_S


def test_each_kind_is_drawn_as_often_as_its_weight_says() -> None:
    assert sum(one.weight for one in MENACES) == 100
    drawn = Counter(one.kind for seed in range(100) for one in plan(seed))
    total = drawn.total()
    assert total > 10_000
    for menace in MENACES:
        assert drawn[menace.kind] / total == pytest.approx(menace.weight / 100, abs=0.01), menace.kind


def test_what_is_held_is_held_within_its_bounds_and_aims_at_something_that_is_there() -> None:
    blows = [one for seed in range(20) for one in plan(seed)]
    bounds = {one.kind: one.hold_s for one in MENACES}
    for one in blows:
        least, most = bounds[one.kind]
        assert least <= one.hold_s <= most
        wanted = {"agent": RULES, "link": LINKS}.get(one.kind.split()[0], [""])
        assert one.target in wanted
        assert (one.how in CUTS) == (one.kind == "link cut")
    assert {one.target for one in blows} == {*RULES, *LINKS, ""}
    assert {one.how for one in blows} == {*CUTS, None}


def test_some_faults_strike_a_line_that_still_recovers_and_none_does_so_before_a_fence() -> None:
    patient = Counter(one.patient for seed in range(20) for one in plan(seed))
    assert 0.15 < patient[False] / patient.total() < 0.35
    for seed in range(20):
        blows = plan(seed)
        for fence_s in nemesis.fences(HOUR_S):
            assert [one for one in blows if one.at_s < fence_s][-1].patient


def test_a_fence_holds_when_all_was_judged_nothing_differs_and_nothing_is_stored_twice() -> None:
    equal = torture().found
    unequal = torture([agent(), agent("velocity", missing=["x"])]).found
    assert wrong_at(equal, "", 0) == []
    assert wrong_at(unequal, "", 0) == ["agent velocity differs", "lost 1, extra 0"]
    assert wrong_at(equal, "", 2) == ["2 alerts are stored twice"]
    assert wrong_at(None, "the connector is stuck", 0) == ["never judged: the connector is stuck"]


def samples(rss_mb: Callable[[float], float], minutes: int = 60) -> list[Sample]:
    return [Sample(10.0 * number, 1, rss_mb(10.0 * number)) for number in range(6 * minutes + 1)]


def test_the_slope_is_what_an_hour_adds_and_leaves_the_warm_up_out() -> None:
    assert slope_per_hour(samples(lambda at_s: 60 + at_s / 360)) == 10.0
    assert slope_per_hour(samples(lambda _: 60.0)) == 0.0
    assert slope_per_hour(samples(lambda at_s: 20.0 if at_s < 700 else 60.0)) == 0.0, "it grew in the first 20 %"
    assert slope_per_hour(samples(lambda at_s: 60 + at_s / 360, minutes=3)) == 10.0


def test_too_few_samples_have_no_slope() -> None:
    assert slope_per_hour([]) is None
    assert slope_per_hour([Sample(5.0, 1, 60.0)]) is None


def test_the_memory_of_an_agent_counts_its_lives_and_keeps_its_peak() -> None:
    found = memory_of("spending", [Sample(0.0, 1, 60.0), Sample(10.0, 1, 80.0), Sample(20.0, 2, 50.0)])
    assert (found.lives, found.samples, found.seconds, found.median_mb, found.peak_mb) == (2, 3, 20.0, 60.0, 80.0)


def test_a_process_is_watched_while_it_lives_and_one_that_is_down_leaves_no_sample(tmp_path: Path) -> None:
    ours = psutil.Process()
    seconds = iter(range(1, 1_000_000))
    third = threading.Event()

    def now_s() -> float:
        second = float(next(seconds))
        if second >= 3:
            third.set()
        return second

    with soaked.watched({"spending": lambda: ours, "velocity": lambda: None}, now_s, every_s=0.01) as found:
        assert third.wait(10)
    assert found["velocity"] == []
    assert {one.pid for one in found["spending"]} == {ours.pid}
    assert all(one.rss_mb > 1 for one in found["spending"])
    soaked.write(found, tmp_path / "memory.csv")
    head, first, *_ = (tmp_path / "memory.csv").read_text().splitlines()
    assert (head, first) == ("rule,at_s,pid,rss_mb", f"spending,1.0,{ours.pid},{found['spending'][0].rss_mb}")
