"""The model of what both sides cost PostgreSQL: it finds known costs again, and says how far it is off."""

import math
import random

import msgspec
import numpy as np
import pytest

from lab import crossover
from lab.bench.cpu import Usage
from lab.crossover import Capture, Error, Load, Point, Polling, Side
from lab.experiments import capture_cost

CDC = Capture(idle=0.001, per_row=60e-6, per_wakeup=40e-6)
SAFE = Polling(per_poll=0.02, per_row_scanned=0.15e-6, per_row_returned=3e-6)
NAIVE = Polling(per_poll=0.015, per_row_scanned=0.0, per_row_returned=2e-6)
TRUE: dict[Side, Capture | Polling] = {"cdc": CDC, "safe": SAFE, "naive_id": NAIVE}


def points(noise: float = 0.0, rounds: int = 1, seed: int = 3) -> list[Point]:
    """The costs above at a grid of loads, each off by up to `noise` of itself."""
    chance = random.Random(seed)
    found = []
    for number in range(rounds):
        for side in crossover.SIDES:
            for rate in (0, 100, 500, 2000):
                for rows in (10_000, 100_000, 1_000_000) if side != "cdc" else (0,):
                    load = Load(rate, rows, 1.0 if number % 2 else 10.0)
                    cost = TRUE[side].cost(load) * (1 + chance.uniform(-noise, noise))
                    found.append(Point(side, f"{side} {rate} {rows}", load, cost, 1e-6))
    return found


def test_known_costs_are_found_again_from_exact_points() -> None:
    found = crossover.fit(points(rounds=2))
    assert found.cdc == Capture(pytest.approx(CDC.idle), pytest.approx(CDC.per_row), pytest.approx(CDC.per_wakeup))
    assert msgspec.structs.astuple(found.safe) == pytest.approx(msgspec.structs.astuple(SAFE))
    assert msgspec.structs.astuple(found.naive_id) == pytest.approx(msgspec.structs.astuple(NAIVE))
    assert found.naive_id.per_row_scanned == 0
    assert all(one.worst is not None and one.worst < 1e-6 for one in found.errors.values())


def test_known_costs_are_found_nearly_again_from_noisy_points() -> None:
    found = crossover.fit(points(noise=0.1, rounds=5))
    busy = Load(1000, 0, 1)
    assert found.cdc.cost(busy) == pytest.approx(CDC.cost(busy), rel=0.1)
    assert found.safe.per_row_scanned == pytest.approx(SAFE.per_row_scanned, rel=0.1)
    assert found.safe.per_poll == pytest.approx(SAFE.per_poll, rel=0.15)
    assert found.naive_id.per_poll == pytest.approx(NAIVE.per_poll, rel=0.15)
    for side in crossover.SIDES:
        one = found.errors[side]
        assert one.points >= 5
        assert one.median is not None and one.worst is not None
        assert 0.001 < one.median <= one.worst < 0.2


def test_every_fourth_load_and_every_scheduled_point_is_held_out_whole() -> None:
    load = Load(1, 1, 1)
    several = [Point("safe", f"group {number % 6}", load, 1.0, 0.1) for number in range(12)]
    by_clock = Point("safe", "group 0 by the clock", load, 1.0, 0.1, scheduled=True)
    kept, out = crossover.split([*several, by_clock])
    assert [one.group for one in out] == ["group 2", "group 2", "group 0 by the clock"]
    assert {one.group for one in kept} == {"group 0", "group 1", "group 3", "group 4", "group 5"}


def test_a_point_held_out_does_not_move_the_fit_and_shows_in_the_error() -> None:
    exact = points(rounds=2)
    wrong = Point("safe", "by the clock", Load(1000, 1e6, 1), 2 * SAFE.cost(Load(1000, 1e6, 1)), 1e-6, scheduled=True)
    found = crossover.fit([*exact, wrong])
    assert found.safe.per_row_scanned == pytest.approx(SAFE.per_row_scanned)
    assert found.errors["safe"].worst == pytest.approx(0.5)
    assert found.errors["safe"].median == pytest.approx(0, abs=1e-6)
    assert found.errors["naive_id"].worst == pytest.approx(0, abs=1e-6)


def test_the_error_of_a_point_below_its_resolution_is_a_share_of_the_resolution() -> None:
    point = Point("cdc", "nothing written", Load(0, 0, 1), -0.001, 0.01)
    assert crossover.error(lambda _: 0.004, [point]) == Error(1, pytest.approx(0.5), pytest.approx(0.5))
    assert crossover.error(lambda _: 0.004, []) == Error(0, None, None)


def test_no_cost_is_ever_negative() -> None:
    terms = np.array([[1.0, 1.0], [1.0, 2.0], [1.0, 3.0]])
    assert list(crossover.nonnegative(terms, np.array([0.9, 2.0, 3.1]))) == pytest.approx([0, 14.2 / 14])
    assert list(crossover.nonnegative(terms, np.array([-1.0, -2.0, -3.0]))) == [0, 0]
    assert list(crossover.nonnegative(np.zeros((2, 2)), np.array([1.0, 1.0]))) == [0, 0]


def test_columns_of_very_different_size_are_fitted_alike() -> None:
    terms = np.array([[1e-3, 1e6], [2e-3, 1e6], [1e-3, 3e6], [5e-3, 2e6]])
    assert list(crossover.nonnegative(terms, terms @ [7.0, 3e-9])) == pytest.approx([7.0, 3e-9])


def test_too_few_loads_for_the_costs_of_a_side_are_refused() -> None:
    few = [one for one in points() if one.side != "safe"] + [one for one in points() if one.side == "safe"][:2]
    with pytest.raises(ValueError, match="safe: found 2 groups of points to fit to, wanted 3 or more"):
        crossover.fit(few)
    with pytest.raises(ValueError, match="cdc: found 0 groups"):
        crossover.fit([])


@pytest.mark.parametrize("consumers", [1, 2, 5])
@pytest.mark.parametrize("rate", [1 / 60, 100, 2000])
def test_at_the_turning_interval_both_sides_cost_the_same_and_beyond_it_polls_cost_less(
    rate: float, consumers: int
) -> None:
    load = Load(rate, 100_000, 1.0, consumers)
    turning = crossover.turning_interval(CDC, SAFE, load)
    assert turning is not None
    at, later, sooner = (
        SAFE.cost(msgspec.structs.replace(load, interval_s=turning * factor)) for factor in (1, 1.1, 0.9)
    )
    assert at == pytest.approx(CDC.cost(load))
    assert later < CDC.cost(load) < sooner


def test_more_rows_and_more_consumers_turn_later_and_a_higher_rate_sooner() -> None:
    def turning(rate: float = 100, rows: float = 100_000, consumers: int = 1) -> float:
        found = crossover.turning_interval(CDC, SAFE, Load(rate, rows, 1.0, consumers))
        assert found is not None
        return found

    for grown in (
        [turning(rows=rows) for rows in (0, 1_000, 100_000, 1e7)],
        [turning(consumers=consumers) for consumers in (1, 2, 3, 10)],
        [turning(rate=rate) for rate in (5_000, 1_000, 100, 1, 1 / 60)],
    ):
        assert grown == sorted(grown)
        assert len(set(grown)) == len(grown)


def test_when_handing_out_the_rows_alone_costs_more_polls_cost_less_at_no_interval() -> None:
    many = math.ceil((CDC.per_row + CDC.per_wakeup) / SAFE.per_row_returned) + 1
    assert crossover.turning_interval(CDC, SAFE, Load(2000, 10_000, 1.0, many)) is None


def test_cdc_costs_less_from_the_turning_number_of_consumers_on() -> None:
    load = Load(1000, 10_000, 1.0)
    turning = crossover.turning_consumers(CDC, SAFE, load)
    assert turning == 4
    assert SAFE.cost(msgspec.structs.replace(load, consumers=turning)) > CDC.cost(load)
    assert SAFE.cost(msgspec.structs.replace(load, consumers=turning - 1)) <= CDC.cost(load)
    assert crossover.turning_consumers(CDC, Polling(0, 0, 0), load) is None


def test_the_seconds_of_a_run_are_found_again() -> None:
    true = Polling(0.8, 0.2e-6, 10e-6)
    samples = [(rows, new, true.once(rows, new)) for rows in (1e4, 1e6) for new in (100, 5000)]
    assert msgspec.structs.astuple(crossover.durations(samples)) == pytest.approx(msgspec.structs.astuple(true))


def test_few_rows_wake_the_sender_each_and_of_many_only_some_do() -> None:
    assert crossover.wakeups(0) == 0
    assert crossover.wakeups(1 / 60) == pytest.approx(1 / 60, rel=1e-4)
    assert crossover.wakeups(crossover.BUSY_AT) == crossover.BUSY_AT / 2
    assert crossover.wakeups(1e9) == pytest.approx(crossover.BUSY_AT, rel=1e-3)


def test_of_few_groups_none_is_held_out_but_those_by_the_clock() -> None:
    few = [one for one in points() if one.side != "cdc" or one.group != "cdc 2000 0"]
    found = crossover.fit(few)
    assert found.errors["cdc"] == Error(0, None, None)
    assert found.cdc.per_row == pytest.approx(CDC.per_row)


def spent(seconds: float, commits: int, server_s: float, sessions_s: float) -> capture_cost.Spent:
    return capture_cost.Spent(seconds, commits, server_s, sessions_s, Usage(wall_s=seconds))


def test_what_waking_costs_the_writers_is_taken_of_all_rates_together() -> None:
    pairs = [
        capture_cost.Pair(0, None, spent(10, 0, 0.1, 0.001)),
        capture_cost.Pair(100, spent(5, 500, 0.20, 0), spent(5, 500, 0.22, 0.05)),  # noise: less with a reader
        capture_cost.Pair(1000, spent(5, 5000, 0.50, 0), spent(5, 5000, 0.835, 0.25)),
    ]
    waiting, slow, fast = ((point, figures) for point, figures, _ in capture_cost.compared(pairs))
    woken_s = (0.22 + 0.835 - 0.05 - 0.25 - 0.20 - 0.50) / 5500
    assert waiting[0].cpu_s_per_s == pytest.approx(0.0001)
    assert slow[0].cpu_s_per_s == pytest.approx(0.01 + woken_s * 100)
    assert fast[0].cpu_s_per_s == pytest.approx(0.05 + woken_s * 1000)
    assert slow[1]["difference_cpu_us_per_row"] == pytest.approx(40)
    assert (waiting[0].group, fast[0].group) == ("nothing written", "1000 rows/s")


def test_writers_that_seem_to_pay_less_with_a_reader_pay_nothing() -> None:
    pairs = [capture_cost.Pair(100, spent(5, 500, 0.20, 0), spent(5, 500, 0.19, 0.05))]
    ((point, _, _),) = capture_cost.compared(pairs)
    assert point.cpu_s_per_s == pytest.approx(0.01)
