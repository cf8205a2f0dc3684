"""The plan of faults and the work of the writers: pure functions of the seed."""

from collections import Counter
from itertools import islice, pairwise

import pytest

from lab.drills.plan import Fault, plan
from lab.drills.work import BUSY_USERS, STRANGE_USERS, Action, Script, Work

RULES = ["spending", "velocity"]
EVERYTHING = {
    Fault("connect"): 3,
    Fault("agent", "spending"): 3,
    Fault("agent", "velocity"): 3,
    Fault("broker"): 1,
    Fault("postgres"): 1,
    Fault("connector"): 1,
}


def scripts(seed: int, writer: int, count: int, rate: float = 100.0) -> list[Script]:
    return list(islice(Work(seed, writer, rate).scripts(), count))


def actions(found: list[Script]) -> list[Action]:
    return [action for script in found for action in script.actions]


@pytest.mark.parametrize("seed", range(20))
def test_the_whole_plan_strikes_each_thing_as_often_as_promised_and_evenly_spread(seed: int) -> None:
    planned = plan(seed, 130.0, RULES, 3)
    assert Counter(one.fault for one in planned) == EVERYTHING
    assert [one.at_s for one in planned] == [10.0 * number for number in range(1, 13)]
    assert {one.fault.kind for one in planned if one.down_s} <= {"postgres"}
    assert all(0 <= one.down_s <= 3.0 for one in planned)


def test_some_faults_strike_a_line_that_may_still_be_recovering() -> None:
    patient = Counter(one.patient for seed in range(50) for one in plan(seed, 60.0, RULES, 3))
    assert patient.total() == 600
    assert 100 < patient[False] < 250


def test_one_round_strikes_each_thing_once() -> None:
    planned = plan(1, 42.0, RULES, 1)
    assert Counter(one.fault for one in planned) == dict.fromkeys(EVERYTHING, 1)
    assert [one.at_s for one in planned] == [6.0, 12.0, 18.0, 24.0, 30.0, 36.0]


def test_the_seed_gives_the_order_of_the_faults() -> None:
    orders = [tuple(one.fault for one in plan(seed, 60.0, RULES, 3)) for seed in range(10)]
    assert orders == [tuple(one.fault for one in plan(seed, 60.0, RULES, 3)) for seed in range(10)]
    assert len(set(orders)) > 5


def test_nothing_is_struck_twice_in_a_row_while_there_is_another_choice() -> None:
    for seed in range(200):
        planned = [one.fault for one in plan(seed, 60.0, RULES, 3)]
        for place, (one, two) in enumerate(pairwise(planned), 1):
            assert one != two or set(planned[place:]) == {one}


def test_the_same_seed_and_writer_give_the_same_work_and_others_do_not() -> None:
    assert scripts(1, 0, 50) == scripts(1, 0, 50)
    assert scripts(1, 0, 50) != scripts(2, 0, 50)
    assert [one.actions for one in scripts(1, 0, 50)] != [one.actions for one in scripts(1, 1, 50)]


def test_the_work_is_due_at_the_rate_of_rows_that_was_asked_for() -> None:
    found = scripts(3, 0, 2_000, rate=50.0)
    without_rows = {"savepoint", "rollback_to_savepoint", "release", "pause"}
    rows = sum(len(one.rows) or one.kind not in without_rows for one in actions(found[:-1]))
    assert found[0].at_us == 0
    assert found[-1].at_us == pytest.approx(rows / 50.0 * 1_000_000)


def test_no_two_writers_share_a_key() -> None:
    keys = [row.key for writer in range(8) for one in actions(scripts(1, writer, 100)) for row in one.rows]
    assert len(keys) == len(set(keys)) > 1_000


def test_everything_awkward_is_in_the_work() -> None:
    found = scripts(1, 0, 1_000)
    every = actions(found)
    assert Counter(one.outcome for one in found)["rollback"] > 30
    held = [one.hold_us for one in found if one.hold_us]
    assert len(held) > 10
    assert 200_000 <= min(held) < max(held) <= 4_000_000
    kinds = Counter(one.kind for one in every)
    assert {kind for kind, count in kinds.items() if count > 20} == {
        *("insert", "copy", "amount", "time", "user", "delete", "delete_own", "amount_own", "user_own"),
        *("savepoint", "rollback_to_savepoint", "release", "pause"),
    }
    assert {one.target.among for one in every if one.target} == {"recent", "old", "loud"}
    users = Counter(row.user_id for one in every for row in one.rows)
    assert set(users) > {*BUSY_USERS, *STRANGE_USERS}
    assert sum(users[user] for user in BUSY_USERS) > 0.8 * users.total()
    assert min(users) == -(2**31)
    amounts = [row.amount_cents for one in every for row in one.rows]
    assert sum(cents > 4_000_00 for cents in amounts) > 100
    assert min(amounts) < 0
    copied = [one.rows for one in every if one.kind == "copy"]
    assert any(len(rows) >= 40 and len({row.user_id for row in rows}) == 1 for rows in copied)


def test_each_savepoint_ends_once_rolled_back_or_released_before_the_next_one() -> None:
    marks = ("savepoint", "rollback_to_savepoint", "release")
    for script in scripts(5, 2, 500):
        found = [one.kind for one in script.actions if one.kind in marks]
        assert found in ([], ["savepoint", "rollback_to_savepoint", "savepoint", "release"])
