"""Each experiment in a tiny form on the shared stack: who asks the source for what, told by its own counters.

CPU means nothing at this length, and nothing here depends on it; counts of sessions, statements and rows do hold.
"""

from typing import Any

import pytest

from lab.experiments import bill, consumers, staleness
from lab.stack.stack import Stack
from tests.e2e.test_bench import COMMON, figures, left_nothing, written

__all__ = ["left_nothing"]
pytestmark = pytest.mark.e2e
TINY = {"rounds": 1, "rate": 200, "seconds": 2.0, "rows": 20_000, "interval": 1.0, "seed": 3}
COMMITS = 400


def spans(found: dict[str, Any], part: str) -> dict[str, dict[str, Any]]:
    """The figures of each variant; every row was written, and everything belongs to the source alone."""
    by_name = {one["variant"]: figures(found, part, one["variant"]) for one in found["rounds"]}
    for name, one in by_name.items():
        assert one["rows_written"] == (0 if name == bill.IDLE else COMMITS), name
        assert one["failed_commits"] == 0
        assert one["wal_bytes"] >= 0
        assert one["postgres_cpu_s"] >= -0.02
    return by_name


@pytest.mark.usefixtures("left_nothing")
def test_the_bill_tells_who_asks_the_source_and_who_reads_its_log(stack: Stack) -> None:
    parts = ("agents", "safe", "naive-id", "full")
    result, page, path = bill.measure(stack, parts=parts, **TINY, **COMMON)
    assert path.name == "experiment-bill.json"
    found = spans(written(result, page, path), bill.PART)
    idle, writers, agents = (found[name] for name in (bill.IDLE, bill.WRITERS, bill.AGENTS))
    assert (idle["statements"], idle["sessions"], idle["connections"], idle["slots"]) == (0, 0, 0, 0)
    assert (writers["statements"], writers["rows_returned"], writers["connections"]) == (COMMITS, COMMITS, 4)
    assert (writers["walsenders"], writers["slots"]) == (0, 0)
    assert (agents["walsenders"], agents["slots"], agents["sessions"]) == (1, 1, writers["sessions"])
    assert COMMITS <= agents["statements"] <= COMMITS + 4, "the connector asks whether its connection lives"
    assert "walsender_cpu_us_per_row" in agents
    safe, naive, full = (found[bill.MODES[mode]] for mode in ("safe", "naive-id", "full"))
    for one in (safe, naive, full):
        assert (one["walsenders"], one["slots"]) == (0, 0)
        assert one["polls"] >= 2
        assert one["statements"] >= COMMITS + 5 * one["polls"]
        assert one["sessions"] >= writers["sessions"] + 3 * one["polls"]
        assert one["poll_seconds_p50"] > 0
    assert (safe["missed_rows"], full["missed_rows"]) == (0, 0)
    assert 0 <= naive["missed_rows"] < COMMITS
    assert safe["rows_returned"] >= 2 * COMMITS, "each row is written, and sent once"
    assert full["rows_returned"] >= full["polls"] * TINY["rows"], "the whole table each time"
    assert safe["rows_scanned"] > safe["polls"] * TINY["rows"] > naive["rows_scanned"] > 0
    assert f"| {bill.AGENTS} | 1 |" in page


@pytest.mark.long
@pytest.mark.usefixtures("left_nothing")
def test_a_consumer_more_is_a_read_more_for_polling_and_nothing_for_the_log(stack: Stack) -> None:
    result, page, path = consumers.measure(stack, consumers=3, parts=consumers.PARTS, **TINY, **COMMON)
    assert path.name == "experiment-consumers.json"
    written_down = written(result, page, path)
    found = spans(written_down, consumers.PART)
    for number in (1, 2, 3):
        agents = found[consumers.variant("agents", number)]
        assert (agents["slots"], agents["walsenders"]) == (1, 1)
        assert COMMITS <= agents["statements"] <= COMMITS + 4
        polls = found[consumers.variant("polling", number)]
        assert (polls["slots"], polls["walsenders"], polls["missed_rows"]) == (0, 0, 0)
        assert polls["rows_returned"] >= COMMITS + number * COMMITS, "each job reads each row for itself"
        assert polls["statements"] >= COMMITS + 5 * number * polls["polls"]
    estimates = written_down["estimates"]
    for figure in ("slots", "walsenders", "connections"):
        assert estimates[f"consumers: agents, one more adds {figure}"]["median"] == 0
    assert estimates["consumers: polling, one more adds rows_returned_per_1000_rows"]["median"] >= 1_000
    assert {goal["id"] for goal in written_down["goals"]} == {"P11"}


@pytest.mark.long
@pytest.mark.usefixtures("left_nothing")
def test_agents_are_earlier_than_a_kept_session_for_the_same_payments(stack: Stack) -> None:
    options = {"rounds": 1, "rate": 200, "seconds": 8.0, "intervals": (1.0,), "seed": 3}
    result, page, path = staleness.measure(stack, parts=("loop",), **options, **COMMON)
    assert path.name == "experiment-staleness.json"
    loop = staleness.loop_of(1)
    late = [one.figures["latency_ms_p50"] for one in result.rounds if one.variant == loop]
    agents = [one.figures["latency_ms_p50"] for one in result.rounds if one.variant == staleness.beside(loop)]
    assert len(late) == len(agents) == 1
    assert all(0 < ours < theirs for ours, theirs in zip(agents, late, strict=True) if ours and theirs)
    assert [goal.id for goal in result.goals][:1] == ["P3"]
    written(result, page, path)
    assert f"| {loop} | 1 |" in page
