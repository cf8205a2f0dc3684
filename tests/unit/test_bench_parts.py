"""The parts of a bench that need no service: what counts of a drain, what is written, what a result says."""

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from lab.bench import agent, capture, latency, outage
from lab.bench.connectors import NEEDED, differing, ours, stock, turned
from lab.bench.cpu import Usage, tree
from lab.bench.drain import Look, counted, histogram, rates, stalls
from lab.bench.envelopes import Stream, records
from lab.bench.reading import looking, measure
from lab.bench.result import Result, flat, per_event, shown
from lab.bench.watching import Look as TopicLook
from lab.bench.watching import drained
from lab.stack.home import Home
from twinpath.detection.detector import empty, step
from twinpath.detection.rules import RULES
from twinpath.detection.usual import usual_change
from twinpath.settings import load_settings

CALM = Usage(wall_s=10.0, cpu_s={"connect": 0.5}, foreign=0.01)
STREAM = Stream(events=3_000, users=40, in_turn=True, alert_share=0.01, seed=5)


def test_synthetic_envelopes_are_what_our_connector_writes_and_their_positions_rise() -> None:
    settings = load_settings()
    format_ = settings.envelope()
    written = list(records(STREAM, settings))
    changes = [usual_change(key, value, 1, format_) for _, key, value in written]
    assert [one.tx_id for one in changes] == list(range(1, 3_001))
    assert [one.user_id for one in changes[:41]] == [*range(1000, 1040), 1000]
    positions = [one.position for one in changes]
    assert positions == sorted(set(positions))
    assert {round(len(value), -2) for _, _, value in written} == {600}


def test_the_same_seed_writes_the_same_bytes_and_some_payments_call_for_alerts() -> None:
    settings = load_settings()
    assert list(records(STREAM, settings)) == list(records(STREAM, settings))
    rule = RULES["spending"]
    states = {user: empty(rule) for user in range(1000, 1040)}
    kinds = []
    for user, key, value in records(STREAM, settings):
        _, outcome = step(rule, states[user], usual_change(key, value, 1, settings.envelope()))
        kinds.append(outcome.alert is not None)
    assert 10 < sum(kinds) < 40, "about a hundredth of 3,000"


def test_a_drain_counts_from_the_warm_up_on_and_only_while_the_partitions_are_shared_evenly() -> None:
    looks = [
        Look(1.0, 0, 0.5, [0, 0]),
        Look(2.0, 300, 1.0, [2, 0]),
        Look(3.0, 500, 1.5, [1, 1]),
        Look(4.0, 900, 2.0, [1, 1]),
        Look(5.0, 1000, 2.5, [1, 1]),
    ]
    found = counted(looks, skip=200)
    assert found == looks[2:]
    assert rates(found) == {
        "events": 500, "events_per_s": 250, "events_per_cpu_s": 500, "cpu_us_per_event": 2000.0,
    }  # fmt: skip
    assert counted(looks, skip=600) == looks[3:]


def test_a_drain_that_is_over_before_it_could_be_looked_at_counts_whole() -> None:
    looks = [Look(1.0, 0, 0.5, [0]), Look(2.0, 0, 0.7, [2]), Look(3.0, 1000, 1.0, [2])]
    assert counted(looks, skip=100) == looks[1:]


def test_the_first_records_of_a_resumed_connector_are_left_out() -> None:
    looks = [
        TopicLook(10.0, 10, {"connect": 5.0, "walsender": 0.001}),
        TopicLook(10.5, 40, {"connect": 5.4, "walsender": 0.003}),
        TopicLook(11.0, 110, {"connect": 5.5, "walsender": 0.004}),
        TopicLook(12.0, 1010, {"connect": 5.509, "walsender": 0.00505}),
    ]
    assert drained(looks) == {
        "events": 900,
        "events_per_s": 900,
        "connect_cpu_us_per_event": 10.0,
        "walsender_cpu_us_per_event": 5.0,
    }
    assert drained(looks[:1]) == {"events": 0, "events_per_s": None}


def test_stalls_are_read_from_the_histogram() -> None:
    name = "twinpath_agent_checkpoint_stall_seconds"
    metrics = {f"{name}_count": 12.0, f'{name}_bucket{{le="0.005"}}': 9.0, f'{name}_bucket{{le="+Inf"}}': 12.0}
    assert stalls([metrics, metrics]) == {"stalled_turns": 24.0, "stalls_over_5_ms": 6.0}
    assert histogram(metrics) == {"0.005": 9.0, "+Inf": 12.0}
    assert stalls([{}]) == {"stalled_turns": 0, "stalls_over_5_ms": 0}


class Message:
    """A message of confluent-kafka."""

    def __init__(self, key: bytes, value: bytes) -> None:
        self._key, self._value = key, value

    def key(self) -> bytes:
        return self._key

    def value(self) -> bytes:
        return self._value


def test_a_bare_loop_counts_what_it_reads_after_the_skipped_part() -> None:
    settings = load_settings()
    all_ = [Message(key, value) for _, key, value in records(STREAM, settings)]
    batches = [all_[begin : begin + 500] for begin in range(0, 3_000, 500)]
    for what in ("fetch", "typed", "decode"):
        found = measure(iter(batches), looking("confluent", what, settings), events=2_700, skip=800)
        assert found["events"] == 2_000, "batches of 500: counted from 1,000 to 3,000"
        assert found["wall_s"] > 0


def test_stock_keeps_only_what_it_cannot_start_without() -> None:
    settings = load_settings()
    home = Home(Path("/nowhere"))
    assert set(stock(home, settings)) == set(NEEDED)
    assert differing(stock(home, settings)) == {}
    mine = ours(home, settings)
    assert differing(mine)["poll.interval.ms"] == "5"
    changed = turned({"poll.interval.ms": "20"})(home, settings)
    assert {name for name in mine if mine[name] != changed[name]} == {"poll.interval.ms"}


def fast_and_slow() -> Result:
    """Five rounds of a machine that slows down: ours 10 times as fast as stock in each."""
    result = Result("latency", "abc", "twinpath bench latency", 7, {})
    for number, ms in enumerate((1.0, 8.0, 2.0, 4.0, 3.0), 1):
        for name, factor in (("ours", 1), ("stock", 10)):
            figures = {"consumer_ms_p50": ms * factor, "consumer_ms_p99": None if number == 3 else ms}
            result.add("topic", name, number, figures, CALM)
    return result


def test_ratios_are_computed_from_the_rounds_in_their_order() -> None:
    result = fast_and_slow()
    result.rounds.sort(key=lambda one: -one.number if one.variant == "ours" else one.number)
    found = result.ratio("topic", "consumer_ms_p50", "stock", "ours")
    assert (found.median, found.low, found.high, found.rounds) == (10.0, 10.0, 10.0, [10.0] * 5)
    assert result.estimates["topic: stock / ours, consumer_ms_p50"] == found


def test_a_figure_that_one_round_lacks_is_not_estimated() -> None:
    result = fast_and_slow()
    assert result.estimated("topic", "ours", "consumer_ms_p99") is None
    assert result.ratio("topic", "consumer_ms_p99", "stock", "ours") is None
    assert result.estimated("topic", "ours", "no such figure") is None
    assert result.estimates == {}


def test_goals_of_latency_are_judged_by_their_worse_end() -> None:
    result = fast_and_slow()
    latency.judge(result, 1000)
    assert [(goal.id, goal.text, goal.ok, goal.worse_end) for goal in result.goals] == [
        ("P1", "commit -> topic p50: stock / ours", False, 10.0),
        ("P1", "commit -> topic p50 at 1000/s", True, 8.0),
    ]
    assert "MISSED by 50%" in result.markdown(latency.tables(result))


def test_the_writers_latency_is_held_against_the_larger_of_two_allowances() -> None:
    result = Result("capture", "abc", "twinpath bench capture", 7, {})
    for number, (base, live) in enumerate(((1.0, 2.9), (16.0, 19.0)), 1):  # allowed: 3 ms, 20 ms
        for name, p99 in (("nobody", base), ("pipeline", live)):
            result.add("writers", name, number, {"open_commit_ms_p99": p99, "failed_commits": 0}, CALM)
    capture.judge(result)
    found = {goal.text: (goal.ok, goal.measured.rounds) for goal in result.goals}
    share = "commit p99 at 60 % of the highest rate, pipeline: share of what is allowed"
    assert found[share] == (True, [0.966667, 0.95])
    assert found["failed commits, pipeline"] == (True, [0.0, 0.0])


def test_commits_beside_dead_consumers_are_held_against_commits_that_nobody_reads() -> None:
    result = Result("outage", "abc", "twinpath bench outage", 7, {})
    for number, (base, dead) in enumerate(((2.0, 1.8), (4.0, 6.6)), 1):  # allowed: 4 ms, 6 ms
        for name, p99 in ((outage.NOBODY, base), (outage.DEAD, dead)):
            result.add(outage.PART, name, number, {outage.P99: p99, "failed_commits": 0}, CALM)
    outage.judge(result)
    assert [(goal.id, goal.text, goal.ok, goal.measured.rounds) for goal in result.goals] == [
        ("I6", "commit p99, all consumers dead: share of what is allowed", False, [0.45, 1.1]),
        ("I6", "failed commits, all consumers dead", True, [0.0, 0.0]),
    ]
    ratio = result.estimates["outage: all consumers dead / nobody reads, no slot, commit_ms_p99"]
    assert ratio.rounds == [0.9, 1.65]


def test_goals_of_the_agent_are_held_against_its_own_limits() -> None:
    result = Result("agent", "abc", "twinpath bench agent", 7, {})
    speeds = {"typed": 500_000, "decode": 150_000, "agent": 100_000, "two agents": 190_000}
    for name, speed in speeds.items():
        figures = {"events_per_s": speed, "events_per_cpu_s": speed}
        result.add("speed", f"{name}, confluent", 1, figures, CALM)
    for number in (1, 2):
        result.add("memory", "full histories", number, {"users": 9000, "peak_mb": 140.0}, CALM)
    agent.judge(result, ("confluent",))
    assert [(goal.id, goal.text, goal.ok, goal.worse_end) for goal in result.goals] == [
        ("P5", "one agent / fetch and typed", False, 0.2),
        ("P5", "one agent / fetch and decode", True, 0.666667),
        ("P5", "two agents on two partitions", False, 190_000),
        ("P12", "peak memory of an agent, 9,000 users, full histories", True, 140.0),
    ]


def test_a_result_says_what_keeps_it_from_being_published(tmp_path: Path) -> None:
    result = fast_and_slow()
    result.add("alerts", "agent", 1, {"alert_ms_p50": 1.0}, Usage(wall_s=10.0, foreign=0.2))
    path = result.finish(tmp_path, private=False, warm=False)
    assert path.name == "bench-latency.json"
    written = json.loads(path.read_text())
    assert written["not_publishable"] == [
        "fewer than 5 rounds: alerts",
        "1 of 11 rounds disturbed by foreign processes",
        "warmed up for less than 60 s or 1,000,000 events",
        "measured on a stack that serves others too",
    ]
    assert [one["disturbed"] for one in written["rounds"]] == [False] * 10 + [True]
    assert written["machine"]["jars"].keys() == {"broker", "connect", "debezium"}
    calm = fast_and_slow()
    calm.finish(tmp_path, private=True, warm=True)
    assert calm.not_publishable == []


def test_a_table_has_a_row_for_each_variant_and_the_median_of_its_rounds() -> None:
    lines = fast_and_slow().table("topic", {"p50 ms": "consumer_ms_p50", "p99 ms": "consumer_ms_p99"})
    assert lines[1:] == [
        "| topic | rounds | p50 ms | p99 ms |",
        "|---|---:|---:|---:|",
        "| ours | 5 | 3 | - |",
        "| stock | 5 | 30 | - |",
    ]
    assert fast_and_slow().table("alerts", {"p50 ms": "alert_ms_p50"}) == []


def test_figures_carry_their_names() -> None:
    assert flat("late_ms", {"n": 2, "p50": 1.0}) == {"late_ms_n": 2, "late_ms_p50": 1.0}
    assert per_event(CALM, 1000) == {"connect_cpu_us_per_event": 500.0}
    assert [shown(one) for one in (0.12345, 12.345, 123_456.7)] == ["0.123", "12.3", "123,457"]


def test_what_a_child_used_counts_as_ours_after_it_has_ended() -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    before = tree(psutil.Process())
    subprocess.run([sys.executable, "-c", burn], check=True)
    assert tree(psutil.Process()) - before > 0.25


@pytest.mark.parametrize("foreign", [0.04, 0.06])
def test_more_than_five_percent_of_a_core_by_others_disturbs(foreign: float) -> None:
    assert Usage(wall_s=1.0, foreign=foreign).disturbed == (foreign > 0.05)
