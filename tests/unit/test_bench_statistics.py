"""What a bench computes from its rounds: percentiles, paired ratios, intervals, verdicts."""

import msgspec
import pytest

from lab.bench.goals import judged
from lab.bench.rounds import in_turn
from lab.bench.statistics import Estimate, estimate, percentiles, ratios


def test_percentiles_come_from_the_raw_samples_and_need_enough_of_them() -> None:
    assert percentiles([]) == {"n": 0, "p50": None, "p90": None, "p99": None, "p99.9": None, "max": None}
    assert percentiles([3.0, 1.0, 2.0]) == {
        "n": 3, "p50": 2.0, "p90": 2.8, "p99": None, "p99.9": None, "max": 3.0,
    }  # fmt: skip
    assert percentiles([float(one) for one in range(999)])["p99"] is None
    assert percentiles([float(one) for one in range(1001)])["p99"] == 990.0
    assert percentiles([float(one) for one in range(9_999)])["p99.9"] is None
    assert percentiles([float(one) for one in range(10_001)])["p99.9"] == 9_990.0


def test_ratios_are_taken_within_each_round() -> None:
    assert ratios([10.0, 30.0], [5.0, 10.0]) == [2.0, 3.0]
    with pytest.raises(ValueError, match="found 2 and 1 rounds"):
        ratios([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="found 0 and 0"):
        ratios([], [])


def test_a_machine_that_slows_down_does_not_move_a_paired_ratio() -> None:
    slow = [1.0, 9.0, 2.0, 4.0, 3.0]
    found = estimate(ratios([10 * one for one in slow], slow), seed=1)
    assert (found.median, found.low, found.high) == (10.0, 10.0, 10.0)


def test_the_interval_is_that_of_the_median_and_holds_it() -> None:
    found = estimate([10.0, 11.0, 12.0, 13.0, 14.0], seed=7)
    assert (found.median, found.low, found.high) == (12.0, 10.0, 14.0)
    assert found.rounds == [10.0, 11.0, 12.0, 13.0, 14.0]
    many = estimate([float(one) for one in range(1, 102)], seed=7)
    assert many.median == 51.0
    assert 30 < many.low < 45, "101 rounds bind the median more tightly than their range"
    assert 57 < many.high < 72


def test_the_same_seed_gives_the_same_interval() -> None:
    rounds = [3.0, 1.0, 4.0, 1.5, 9.0, 2.6]
    assert estimate(rounds, seed=3) == estimate(rounds, seed=3)


def test_one_round_is_its_own_interval_and_none_is_refused() -> None:
    assert estimate([4.0], seed=1) == Estimate(4.0, 4.0, 4.0, [4.0])
    with pytest.raises(ValueError, match="found no round"):
        estimate([], seed=1)


@pytest.mark.parametrize(
    ("direction", "target", "worse", "ok"),
    [
        ("at least", 20.0, 18.0, False),  # the median of 25 alone would pass
        ("at least", 18.0, 18.0, True),
        ("at most", 30.0, 32.0, False),  # likewise
        ("at most", 32.0, 32.0, True),
    ],
)
def test_a_goal_passes_on_the_worse_end_of_its_interval(direction, target, worse, ok) -> None:
    goal = judged("P0", "a figure", direction, target, "x", Estimate(25.0, 18.0, 32.0, [18.0, 25.0, 32.0]))
    assert (goal.worse_end, goal.ok) == (worse, ok)
    assert goal.short_by == (0.0 if ok else abs(worse - target) / target)
    assert msgspec.to_builtins(goal)["measured"]["rounds"] == [18.0, 25.0, 32.0]


def test_each_second_round_runs_backwards() -> None:
    assert list(in_turn("ABC", 3)) == [
        (1, "A"), (1, "B"), (1, "C"),
        (2, "C"), (2, "B"), (2, "A"),
        (3, "A"), (3, "B"), (3, "C"),
    ]  # fmt: skip
