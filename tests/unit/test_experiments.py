"""What the experiments compute: cost per row, cost beside writing, lines through numbers of consumers, verdicts."""

import time
from concurrent.futures import Future
from pathlib import Path

import pytest

from lab.bench.cpu import Usage
from lab.bench.result import Result
from lab.bench.statistics import slope
from lab.experiments import bill, consumers
from lab.experiments.pipeline import MOST, rules_of
from lab.experiments.polling import follow
from lab.experiments.span import Load, Spent, figures, put_over
from lab.measure.counters import Counters
from lab.stack.agents import Agents
from lab.stack.credentials import Credentials
from lab.stack.home import Home
from twinpath.settings import Settings

CALM = Usage(wall_s=10.0)
P8_LOAD = Load(rate=1_000, seconds=10, rows=1_000_000, seed=7)


def result(name: str) -> Result:
    return Result(name, "abc123", "a test", 7, {}, kind="experiment")


def billed(*rounds: dict[str, float]) -> Result:
    """CPU in us per row of each phase, round by round."""
    one = result("bill")
    for number, phases in enumerate(rounds, 1):
        for phase, cpu_us in phases.items():
            one.add(bill.PART, phase, number, {"postgres_cpu_us_per_row": cpu_us}, CALM)
    put_over(one, bill.PART, bill.WRITERS)
    return one


def consumed(*rounds: dict[str, list[float]], figure: str = "postgres_cpu_us_per_row") -> Result:
    """One figure for 0, 1, 2 ... consumers of each side (the first of `agents` is that of the writers alone)."""
    one = result("consumers")
    for number, sides in enumerate(rounds, 1):
        for side, values in sides.items():
            for count, value in enumerate(values):
                if count or side == "agents":
                    name = consumers.variant(side if count else "", count)
                    one.add(consumers.PART, name, number, {"consumers": count, figure: value}, CALM)
    return one


def test_a_slope_is_that_of_least_squares() -> None:
    assert slope([1, 2, 3, 4], [5.0, 5.0, 5.0, 5.0]) == 0.0
    assert slope([1, 2, 3, 4], [10.0, 30.0, 50.0, 70.0]) == 20.0
    assert slope([1, 2, 3, 4], [1.0, 3.0, 2.0, 4.0]) == pytest.approx(0.8)
    with pytest.raises(ValueError, match="found 1 values at 1 places"):
        slope([2], [1.0])
    with pytest.raises(ValueError, match="found 3 values at 2 places"):
        slope([1, 2], [1.0, 2.0, 3.0])


def test_a_span_tells_what_each_row_cost_and_1000_of_them() -> None:
    usage = Usage(wall_s=10.0, cpu_s={"postgres": 0.7, "walsender": 0.05, "postgres-2": 0.25, "lab": 0.2})
    counters = Counters(statements=2_600, rows_returned=2_500, sessions=25, wal_bytes=500_000, connections=6, slots=1)
    found = figures(Spent(2_500, 0, usage, counters))
    assert (found["rows_written"], found["postgres_cpu_s"], found["statements"]) == (2_500, 0.5, 2_600)
    assert "lab_cpu_s" not in found, "what it cost to ask is no part of the bill"
    assert (found["postgres_cpu_us_per_row"], found["walsender_cpu_us_per_row"]) == (200.0, 20.0)
    assert (found["statements_per_1000_rows"], found["rows_returned_per_1000_rows"]) == (1_040.0, 1_000.0)
    assert (found["sessions_per_1000_rows"], found["wal_bytes_per_1000_rows"]) == (10.0, 200_000.0)
    assert (found["connections"], found["slots"]) == (6, 1), "the most at a time is no matter of rows"
    assert "connections_per_1000_rows" not in found


def test_a_span_without_a_writer_has_no_cost_of_a_row() -> None:
    found = figures(Spent(usage=Usage(wall_s=10.0, cpu_s={"postgres": 0.01})))
    assert found["postgres_cpu_s"] == 0.01
    assert not [name for name in found if name.endswith(("_per_row", "_per_1000_rows"))]


def test_counters_grow_but_the_most_at_a_time_is_as_it_is() -> None:
    before = Counters(statements=10, wal_bytes=100, connections=9, walsenders=9, slots=9)
    after = Counters(statements=15, wal_bytes=350, connections=4, walsenders=1, slots=1)
    assert after.since(before) == Counters(statements=5, wal_bytes=250, connections=4, walsenders=1, slots=1)


def test_reading_costs_what_comes_on_top_of_writing_in_the_same_round() -> None:
    one = billed({bill.WRITERS: 100.0, bill.AGENTS: 130.0, bill.IDLE: 1.0}, {bill.AGENTS: 500.0, bill.WRITERS: 450.0})
    assert one.values(bill.PART, bill.AGENTS, bill.OVER) == [30.0, 50.0]
    assert one.values(bill.PART, bill.WRITERS, bill.OVER) == []


def test_p8_is_judged_by_the_worse_end_of_paired_ratios() -> None:
    safe = bill.MODES["safe"]
    one = billed(
        *({bill.WRITERS: 100.0, bill.AGENTS: 100.0 + agents, safe: 300.0} for agents in (40.0, 60.0, 80.0, 90.0, 120.0))
    )
    bill.judge(one, bill.Plan(P8_LOAD, 1.0, 5))
    (goal,) = one.goals
    assert (goal.id, goal.measured.median, goal.worse_end, goal.ok) == ("P8", 0.4, 0.6, False)
    assert goal.measured.rounds == [0.2, 0.3, 0.4, 0.45, 0.6]


@pytest.mark.parametrize(
    ("load", "interval_s"),
    [
        (P8_LOAD._replace(rate=999), 1.0),
        (P8_LOAD._replace(rows=999_000), 1.0),
        (P8_LOAD, 1.5),
    ],
)
def test_p8_is_not_judged_of_another_load(load: Load, interval_s: float) -> None:
    one = billed({bill.WRITERS: 100.0, bill.AGENTS: 120.0, bill.MODES["safe"]: 300.0})
    bill.judge(one, bill.Plan(load, interval_s, 1))
    assert one.goals == []
    assert one.estimates[f"bill: {bill.AGENTS} / {bill.MODES['safe']}, {bill.OVER}"].median == 0.1
    assert any("P8 is not judged" in note for note in one.notes)


def test_no_ratio_is_given_when_reading_cost_less_than_the_noise() -> None:
    one = billed({bill.WRITERS: 100.0, bill.AGENTS: 120.0, bill.MODES["safe"]: 95.0})
    bill.judge(one, bill.Plan(P8_LOAD, 1.0, 1))
    assert one.goals == []
    assert any(note.startswith(f"{bill.MODES['safe']}: reading cost less") for note in one.notes)


def test_an_agent_more_may_cost_a_twentieth_of_what_writing_costs() -> None:
    steady = {"agents": [100.0, 130.0, 131.0, 129.0, 130.0], "polling": [100.0, 150.0, 200.0, 250.0, 300.0]}
    one = consumed(*[steady] * 5)
    consumers.judge(one, consumers.Plan(P8_LOAD, 4, 1.0, 5))
    (goal,) = one.goals
    assert (goal.id, goal.target, goal.ok) == ("P11", 0.05, True)
    assert goal.measured.median == pytest.approx(-0.002)
    assert one.estimates["consumers: polling, one more adds postgres_cpu_us_per_row"].median == 50.0


def test_a_noisy_slope_of_cpu_is_missed_though_its_interval_holds_0() -> None:
    up, down = {"agents": [100.0, 120.0, 130.0, 140.0]}, {"agents": [100.0, 140.0, 130.0, 120.0]}
    one = consumed(up, down, up, down, up)
    consumers.judge(one, consumers.Plan(P8_LOAD, 3, 1.0, 5, ("agents",)))
    (goal,) = one.goals
    assert goal.measured.low < 0 < goal.measured.high
    assert (goal.worse_end, goal.ok) == (0.1, False)


@pytest.mark.parametrize("figure", consumers.ALLOWED)
def test_an_agent_more_takes_nothing_else_of_the_source(figure: str) -> None:
    one = consumed({"agents": [0.0, 1.0, 1.0, 1.0, 1.0]}, figure=figure)
    consumers.judge(one, consumers.Plan(P8_LOAD, 4, 1.0, 1, ("agents",)))
    assert [(goal.id, goal.worse_end, goal.ok) for goal in one.goals] == [("P11", 0.0, True)]
    one = consumed({"agents": [0.0, 2.0, 4.0, 6.0, 8.0]}, figure=figure)
    consumers.judge(one, consumers.Plan(P8_LOAD, 4, 1.0, 1, ("agents",)))
    assert [(goal.id, goal.worse_end, goal.ok) for goal in one.goals] == [("P11", 2.0, False)]


def test_one_consumer_alone_has_no_slope() -> None:
    one = consumed({"agents": [100.0, 130.0], "polling": [100.0, 150.0]})
    consumers.judge(one, consumers.Plan(P8_LOAD, 1, 1.0, 1))
    assert (one.goals, one.estimates) == ([], {})


def test_consumers_fold_every_rule_before_a_further_group_begins() -> None:
    assert [[rules_of(place, number) for place in (0, 1)] for number in range(1, MOST + 1)] == [
        [("spending",), ()],
        [("spending", "velocity"), ()],
        [("spending", "velocity"), ("spending",)],
        [("spending", "velocity"), ("spending", "velocity")],
    ]


def test_a_further_group_has_names_of_its_own_and_no_other_database_or_topic(tmp_path: Path) -> None:
    first = Settings(_env_file=None, run_id="r1")
    second = first.model_copy(update={"consumer_group": "second"})
    assert (first.group("velocity"), second.group("velocity")) == (
        "twinpath-velocity_r1",
        "twinpath-velocity-second_r1",
    )
    home = Home(tmp_path / "home")
    home.make()
    names = [Agents(home, one, Credentials(home, one)).name("velocity", 2) for one in (first, second)]
    assert names == ["agent-velocity-2_r1", "agent-velocity-second-2_r1"]
    same = ("source_database", "topic", "slot", "publication")
    assert [getattr(first, name) for name in same] == [getattr(second, name) for name in same]


def test_looks_are_taken_at_the_moments_set_and_once_more_when_the_writer_has_ended() -> None:
    writing: Future[None] = Future()
    began, looked = time.monotonic(), []

    def look() -> None:
        looked.append(time.monotonic() - began)
        if len(looked) == 1:
            time.sleep(0.25)  # over two moments
        if len(looked) == 2:
            writing.set_result(None)

    follow(writing, look, 0.1)
    first, second, last = looked
    assert first >= 0.1
    assert second >= 0.4, "the moments 0.2 and 0.3 were passed over"
    assert last < second + 0.1, "the last look waits for no moment"


def test_a_writer_that_has_failed_ends_the_looking() -> None:
    writing: Future[None] = Future()
    writing.set_exception(RuntimeError("pgbench"))
    looked: list[int] = []
    follow(writing, lambda: looked.append(1), 60.0)
    assert looked == [1]


def test_the_result_is_written_as_an_experiment(tmp_path: Path) -> None:
    one = billed({bill.WRITERS: 100.0, bill.AGENTS: 130.0})
    path = one.finish(tmp_path, private=True, warm=True)
    assert path.name == "experiment-bill.json"
    assert one.markdown(bill.tables(one)).startswith("# experiment bill abc123\n")
