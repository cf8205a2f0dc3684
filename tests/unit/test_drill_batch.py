"""What the batch drill makes of what it found, and the work that a watermark cannot follow."""

from collections.abc import Sequence
from itertools import islice
from typing import Any

import msgspec
import pytest

from lab.drills.batch_equality import Found, ModeFound, RuleFound
from lab.drills.batch_outcome import COLUMNS, BatchTorture, Ran, table
from lab.drills.held_work import REVERSED, HeldWork, ReversedWork
from lab.drills.work import Script, Work
from lab.measure.batch_evidence import PATHS
from lab.measure.causes import Explained

UNEXPLAINED = Explained(4, "missing", "RAISED", 900, "?", None, "nothing allowed happened")


def rule(name: str = "spending", **changed: Any) -> RuleFound:
    good = RuleFound(name, alerts=9, differing=3, causes={"a": 1, "b": 2}, unexplained=[], examples=[])
    return msgspec.structs.replace(good, **changed)


def mode(name: str, **changed: Any) -> ModeFound:
    path = next(path for path, one in PATHS.items() if one == name)
    missed = 5 if name.startswith("naive") else 0
    good = ModeFound(name, path, 3, 2, 1_000 - missed, missed, [1] * missed, 0, 0, [rule(), rule("velocity")])
    return msgspec.structs.replace(good, **changed)


def torture(modes: Sequence[ModeFound] | None = None, **changed: Any) -> BatchTorture:
    found = Found(
        rows={"insert": 1_100, "update": 50, "delete": 10, "rolled_back": 90},
        late=40,
        held_s=[9.5, 1.2],
        inverted_stamps=1,
        equal_stamps=0,
        table_differs=[],
        modes=list(modes or [mode(one) for one in PATHS.values()]),
    )
    found = msgspec.structs.replace(found, **changed)
    ran = [Ran("safe", "spark-submit", 9.0, False, 10, 0, {"whole": 9.0})]
    return BatchTorture("ab", "twinpath drill batch", 1, 25.0, 200, 10.0, {}, 3, ran, found)


def with_mode(name: str, **changed: Any) -> BatchTorture:
    return torture([mode(one, **(changed if one == name else {})) for one in PATHS.values()])


def test_a_run_in_which_only_watermarks_miss_rows_and_everything_has_a_cause_is_passed() -> None:
    one = torture()
    assert (one.verdict, one.unequal(), one.untried()) == ("passed", [], [])
    cells = [cell.strip() for cell in one.rows()[0].strip("|").split("|")]
    assert dict(zip(COLUMNS, cells, strict=True)) == {
        "seed": "1",
        "rows committed": "1160",
        "rolled back": "90",
        "held (longest s)": "2 (9.5)",
        "late ids": "40",
        "mode": "safe",
        "runs": "3, 1 discarded",
        "beside open ones": "2",
        "rows judged": "1000",
        "rows missed": "0",
        "alerts": "spending 9, velocity 9",
        "differing": "6",
        "missed": "0",
        "a": "2",
        "b": "4",
        "c": "0",
        "d": "0",
        "unexplained": "0",
        "verdict": "passed",
    }
    assert table(one.rows()).count("\n") == 1 + len(PATHS)
    assert one.json()["missed"] == {"safe": 0, "full": 0, "naive-id": 5, "naive-time": 5}


@pytest.mark.parametrize(
    ("name", "changed", "words"),
    [
        ("safe", {"missed": 1, "missed_ids": [7]}, "safe missed 1 rows, among them [7]"),
        ("full", {"missed": 1, "missed_ids": [7]}, "full missed 1 rows"),
        ("safe", {"rules": [rule(unexplained=[UNEXPLAINED])]}, "safe: 1 alerts differ and nothing explains it"),
        ("naive-id", {"rules": [rule(), rule(unexplained=[UNEXPLAINED] * 2)]}, "naive-id: 2 alerts differ"),
        ("naive-time", {"dead_letters": 3}, "naive-time could not read 3 rows"),
    ],
)
def test_a_lost_row_or_a_difference_without_a_cause_fails_the_run(name: str, changed: Any, words: str) -> None:
    one = with_mode(name, **changed)
    assert one.verdict == "failed"
    assert any(words in wrong for wrong in one.unequal())


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (torture(rows={"insert": 999, "rolled_back": 1}), "999 rows were committed"),
        (torture(table_differs=[4]), "the table is not what the operation log ends with: rows [4]"),
        (torture(held_s=[]), "no transaction was held"),
        (torture(late=0), "no row committed behind a higher id"),
        (with_mode("safe", runs=2), "safe: 2 runs were merged, wanted 3"),
        (with_mode("full", runs_beside_open=0), "full: no run met an open transaction"),
        (with_mode("safe", unseen=2), "safe: no run could see 2 rows"),
        (with_mode("naive-id", missed=0), "naive-id missed nothing"),
        (with_mode("full", rules=[rule(alerts=0)]), "full: a rule raised no alert"),
    ],
)
def test_a_run_that_tried_too_little_is_invalid_not_passed(one: BatchTorture, words: str) -> None:
    assert one.verdict == "invalid"
    assert any(words in why for why in one.untried())


def scripts(work: Work, count: int) -> list[Script]:
    return list(islice(work.scripts(), count))


def test_holders_hold_for_a_second_or_more_correct_only_their_own_rows_and_start_again_at_once() -> None:
    found = scripts(HeldWork(1, 8, 15, 60_000_000), 300)
    assert 1_000_000 <= min(one.hold_us for one in found) < 2_000_000
    assert 50_000_000 < max(one.hold_us for one in found) <= 60_000_000
    assert {action.target for one in found for action in one.actions} == {None}
    assert {one.outcome for one in found} == {"commit", "rollback"}
    assert all(two.at_us > one.at_us + one.hold_us for one, two in zip(found, found[1:], strict=False))
    assert any(action.kind == "rollback_to_savepoint" for one in found for action in one.actions)


def test_the_reversed_begin_in_one_order_and_end_in_the_other_before_the_next_group_begins() -> None:
    works = [scripts(ReversedWork(1, 12 + place, 15, place), 20) for place in range(REVERSED)]
    for number, group in enumerate(zip(*works, strict=True)):
        begins = [one.at_us for one in group]
        ends = [one.at_us + one.hold_us for one in group]
        assert begins == sorted(begins)
        assert ends == sorted(ends, reverse=True)
        assert min(ends) > max(begins)
        assert len({action.rows[0].user_id for one in group for action in one.actions}) == 1
        if number + 1 < len(works[0]):
            assert max(ends) < works[0][number + 1].at_us


def test_no_two_writers_of_a_drill_share_a_key() -> None:
    works = [Work(1, 0, 25.0, 15), HeldWork(1, 8, 15, 10_000_000), *(ReversedWork(1, 12 + n, 15, n) for n in range(3))]
    keys = [row.key for one in works for script in scripts(one, 50) for action in script.actions for row in action.rows]
    assert len(keys) == len(set(keys)) > 200
