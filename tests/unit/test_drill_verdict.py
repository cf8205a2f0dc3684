"""What a drill makes of what it found: streams held against each other, lost transactions, the verdict."""

from typing import Any

import msgspec
import pytest

from lab.drills.equality import AgentFound, Found
from lab.drills.faults import Struck
from lab.drills.outcome import COLUMNS, Torture, table
from lab.drills.streams import Stream, StreamDifference, compare_streams, with_snapshots
from lab.measure.witness import Restart, committed_in_time
from twinpath.detection.model import Change, Op, Position, Transaction


def change(op: Op, tx_id: int, lsn: int, cents: int = 10_00, user: int = 7, xid: int = 100, row_lsn: int = 0) -> Change:
    row = Transaction(tx_id, user, cents, 1_000 * tx_id)
    before, after = (row, None) if op == "d" else (None, row)
    return Change(op, user, tx_id, Position(1, lsn, row_lsn), before, after, xid)


def stream(*changes: Change) -> Stream:
    one = Stream()
    for each in changes:
        one.add(each)
    return one


def test_a_change_delivered_again_at_its_position_counts_as_twice_and_differs_in_nothing() -> None:
    first, second = change("c", 1, 10), change("c", 2, 20)
    delivered = stream(first, second, first, second)
    assert (delivered.changes, delivered.twice) == (4, 2)
    assert compare_streams(stream(first, second), delivered) == StreamDifference([], [], [])


def test_positions_may_differ_between_what_was_written_and_what_was_delivered() -> None:
    assert compare_streams(stream(change("c", 1, 10)), stream(change("c", 1, 99, row_lsn=5))) == StreamDifference(
        [], [], []
    )


@pytest.mark.parametrize("wrong", [change("c", 2, 20, cents=1), change("c", 2, 20, xid=101), change("u", 2, 20)])
def test_a_change_that_came_with_other_content_is_lost_and_extra(wrong: Change) -> None:
    first, second = change("c", 1, 10), change("c", 2, 20)
    found = compare_streams(stream(first, second), stream(first, wrong))
    assert (len(found.lost), len(found.extra), found.disordered) == (1, 1, [])
    assert found.lost[0].startswith("user 7: Fact(xid=100, op='c', tx_id=2")


def test_a_lost_change_and_one_that_nobody_wrote_are_named() -> None:
    first, second = change("c", 1, 10), change("c", 2, 20, user=8)
    lost = compare_streams(stream(first, second), stream(first))
    assert (len(lost.lost), lost.extra, lost.disordered) == (1, [], [])
    extra = compare_streams(stream(first), stream(first, second))
    assert (extra.lost, len(extra.extra), extra.disordered) == ([], 1, [])


def test_a_user_whose_changes_came_in_another_order_is_named() -> None:
    first, second = change("c", 1, 10), change("c", 2, 20)
    assert compare_streams(stream(first, second), stream(second, first)) == StreamDifference([], [], [7])


def test_a_snapshot_shows_the_table_as_it_was_at_its_place_in_the_log() -> None:
    changes = [
        change("c", 3, 10),
        change("c", 1, 10),
        change("c", 2, 20),
        change("d", 2, 30),
        change("u", 1, 40, cents=99),
        change("c", 4, 60),
    ]
    told = list(with_snapshots(changes, [50]))
    assert [one.op for one in told] == ["c", "c", "c", "d", "u", "r", "r", "c"]
    assert [(one.tx_id, one.after and one.after.amount_cents) for one in told[5:7]] == [(1, 99), (3, 10_00)]
    assert {one.position for one in told[5:7]} == {Position(1, 49, 50)}
    assert [one.op for one in with_snapshots(changes[:1], [50])] == ["c", "r"]


def test_what_came_before_is_still_in_the_table_that_a_later_snapshot_reads() -> None:
    table: dict[int, Transaction] = {}
    assert [one.op for one in with_snapshots([change("c", 1, 10), change("c", 2, 20)], [], table=table)] == ["c", "c"]
    told = list(with_snapshots([change("d", 2, 30), change("c", 3, 60)], [50], table=table))
    assert [(one.op, one.tx_id) for one in told] == [("d", 2), ("r", 1), ("c", 3)]
    assert sorted(table) == [1, 3]


def test_what_was_found_equal_is_forgotten_and_known_when_it_comes_again() -> None:
    first, second = change("c", 1, 10), change("c", 2, 20)
    written, delivered = stream(first), stream(first)
    for one in (written, delivered):
        one.settle()
        one.add(second)
    delivered.add(first)
    assert compare_streams(written, delivered) == StreamDifference([], [], [])
    assert (delivered.changes, delivered.twice) == (3, 1)


def test_of_an_interrupted_snapshot_only_the_rows_that_arrived_are_told() -> None:
    changes = [change("c", number, 10) for number in (1, 2, 3)]
    told = list(with_snapshots(changes, [50, 60], {50: frozenset({1, 3})}))
    assert [(one.op, one.tx_id, one.position.row_lsn) for one in told[3:]] == [
        ("r", 1, 50), ("r", 3, 50), ("r", 1, 60), ("r", 2, 60), ("r", 3, 60)
    ]  # fmt: skip


def test_a_number_that_a_lost_server_gave_out_again_does_not_count_as_committed() -> None:
    restart = Restart(at_us=1_000, lsn=500)
    begun = {11: 900, 12: 900, 13: 900, 14: 1_100, 2**32 + 15: 1_100}
    commits = {11: 400, 12: 600, 14: 600, 15: 700}
    assert committed_in_time(begun, commits, [restart]) == {11, 14, 2**32 + 15}
    assert committed_in_time(begun, commits, [restart, Restart(2_000, 650)]) == {11, 14}


def struck(fault: str, recovery_s: float | None, *, acted: bool = True) -> Struck:
    return Struck(fault, at_s=5.0, acted=acted, evidence="pid 1", recovery_s=recovery_s)


def agent(rule: str = "spending", **changed: Any) -> AgentFound:
    good = AgentFound(
        rule=rule,
        version="1-ab",
        alerts=6,
        statuses={"RAISED": 3, "REVISED": 1, "RETRACTED": 2},
        counters={"judged": 1_000, "duplicate": 5, "alerts": 6, "alerts_refused": 2, "too_old": 0},
        missing=[],
        extra=[],
        missing_in_log=[],
        extra_in_log=[],
        users_out_of_commit_order=[],
        users_with_other_state=[],
        users_with_other_history=[],
        counters_of_replay={"judged": 1_000, "duplicate": 5},
        counters_of_log={"judged": 1_000},
        dead_letters=0,
    )
    return msgspec.structs.replace(good, **changed)


def torture(agents: list[AgentFound] | None = None, faults: list[Struck] | None = None, **changed: Any) -> Torture:
    found = Found(
        rows={"insert": 900, "update": 80, "delete": 30, "rolled_back": 70},
        changes_written=1_015,
        unknown=3,
        unknown_committed=1,
        numbers_reused=0,
        records=1_100,
        changes_delivered=1_100,
        delivered_twice=5,
        snapshot_rows=80,
        stream=StreamDifference([], [], []),
        agents=agents or [agent(), agent("velocity")],
    )
    if faults is None:
        faults = [struck("connect", 4.0), struck("connector", 2.0)]
    found = msgspec.structs.replace(found, **changed)
    return Torture("ab", "twinpath drill torture", 1, 10.0, 100, {}, found, 2, faults)


def test_a_run_in_which_nothing_differs_and_everything_acted_is_passed() -> None:
    one = torture()
    assert (one.verdict, one.unequal(), one.untried()) == ("passed", [], [])
    cells = [cell.strip() for cell in one.row().strip("|").split("|")]
    assert dict(zip(COLUMNS, cells, strict=True)) == {
        "seed": "1",
        "rows committed": "1010",
        "rolled back": "70",
        "unknown settled": "3 (1 committed)",
        "events delivered": "1100",
        "delivered twice": "5",
        "suppressed by position": "spending 5, velocity 5",
        "alerts": "spending 6, velocity 6",
        "alert inserts refused": "spending 2, velocity 2",
        "lost": "0",
        "extra": "0",
        "faults done": "connect 1, connector 1",
        "recovery s p50/max": "3.0 / 4.0",
        "of faults alone": "-",
        "verdict": "passed",
    }
    assert table([one.row()]).count("\n") == 2


def test_a_line_that_never_recovers_has_a_verdict_that_says_what_did_not() -> None:
    behind = "the line has not recovered after 120 s: agent spending: does not answer"
    faults = [struck("connect", 4.0), Struck("agent spending", at_s=9.0, acted=True, problem=behind)]
    late = torture(faults=faults)
    assert late.verdict == "invalid", "it was compared in the end, and nothing differs"
    assert f"agent spending was not recovered from: {behind}" in late.untried()
    never = msgspec.structs.replace(
        late, found=None, unjudged="agent-spending is not running", writers={"insert": 5_000}
    )
    assert never.verdict == "failed"
    assert never.unequal() == ["what was committed was never judged: agent-spending is not running"]
    assert never.untried() == [f"agent spending was not recovered from: {behind}"]
    cells = [cell.strip() for cell in never.row().strip("|").split("|")]
    shown = dict(zip(COLUMNS, cells, strict=True))
    assert (shown["rows committed"], shown["lost"], shown["verdict"]) == ("5000", "-", "failed")
    assert shown["faults done"] == "agent spending 1, connect 1"
    assert never.json()["found"] is None


def test_recovery_is_also_told_of_the_faults_that_met_no_other() -> None:
    faults = [
        Struck("connect", at_s=10.0, recovery_s=4.0),
        Struck("broker", at_s=12.0, recovery_s=9.0),
        Struck("agent spending", at_s=21.5, recovery_s=7.0),
        Struck("agent velocity", at_s=30.0, recovery_s=5.0),
    ]
    cells = torture(faults=faults).row().split(" | ")
    assert cells[-3:-1] == ["6.0 / 9.0", "6.0 / 7.0"]


@pytest.mark.parametrize(
    "changed",
    [
        {"missing": ["x"]},
        {"extra": ["x"]},
        {"missing_in_log": ["x"]},
        {"extra_in_log": ["x"]},
        {"users_out_of_commit_order": [7]},
        {"users_with_other_state": [7]},
        {"users_with_other_history": [7]},
        {"dead_letters": 1},
        {"counters": {"judged": 999, "duplicate": 5}},
        {"counters": {"judged": 1_000, "duplicate": 5, "conflict": 1}},
    ],
)
def test_any_difference_of_an_agent_fails_the_run(changed: dict[str, Any]) -> None:
    assert torture([agent(), agent("velocity", **changed)]).verdict == "failed"


def test_records_that_nobody_can_read_are_dead_letters_and_as_many_as_were_written() -> None:
    agents = [agent(dead_letters=9, unreadable=9), agent("velocity", dead_letters=9, unreadable=9)]
    assert torture(agents, unreadable=9, unreadable_wanted=9).verdict == "passed"
    assert torture(agents, unreadable=9, unreadable_wanted=8).verdict == "failed"
    assert torture([agent(dead_letters=8, unreadable=9)], unreadable=9, unreadable_wanted=9).verdict == "failed"


def test_a_change_that_an_agent_dropped_or_folded_twice_is_counted_as_lost_or_extra() -> None:
    dropped = torture([agent(counters={"judged": 999, "duplicate": 6}), agent("velocity")])
    assert (dropped.lost, dropped.extra, dropped.verdict) == (1, 0, "failed")
    twice = torture([agent(counters={"judged": 1_001, "duplicate": 4}), agent("velocity")])
    assert (twice.lost, twice.extra, twice.verdict) == (0, 1, "failed")
    moved = torture([agent(counters={"judged": 999, "corrected": 1, "duplicate": 5}), agent("velocity")])
    assert (moved.lost, moved.extra, moved.verdict) == (0, 0, "failed")


@pytest.mark.parametrize(
    "difference",
    [StreamDifference(["x"], [], []), StreamDifference([], ["x"], []), StreamDifference([], [], [7])],
)
def test_any_difference_of_the_topic_fails_the_run(difference: StreamDifference) -> None:
    assert torture(stream=difference).verdict == "failed"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"rows": {"insert": 999}}, "999 rows were committed"),
        ({"delivered_twice": 0}, "nothing was delivered twice"),
        ({"snapshot_rows": 0}, "second snapshot"),
        ({"agents": [agent(statuses={"RAISED": 3, "REVISED": 1})]}, "spending stored no alert RETRACTED"),
        ({"faults": [struck("connect", 4.0)]}, "1 of 2 faults"),
        ({"faults": [struck("broker", 4.0, acted=False)] * 2}, "broker did not act"),
        ({"faults": [struck("broker", None)] * 2}, "broker was not recovered from"),
    ],
)
def test_a_run_that_tried_too_little_is_invalid_not_passed(changed: dict[str, Any], words: str) -> None:
    one = torture(**changed)
    assert one.verdict == "invalid"
    assert any(words in why for why in one.untried())
