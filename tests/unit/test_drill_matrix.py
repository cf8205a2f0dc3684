"""The fault matrix: its registry, its verdicts, its table, its shards, and what is resumed."""

import ast
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lab.console import Progress
from lab.drills.equality import Found
from lab.drills.faults import Struck
from lab.drills.matrix import page, result, runner
from lab.drills.matrix.registry import MATRIX, chosen, shard
from lab.drills.matrix.result import Result, commit_p99_ratio
from lab.drills.matrix.scene import Check
from lab.drills.matrix.soaked import Fence, Sample, memory_of
from tests.unit.test_drill_verdict import agent, torture
from twinpath.errors import ConfigurationError
from twinpath.settings import ROOT


def found(**changed: Any) -> Found:
    one = torture(**changed).found
    assert one is not None
    return one


def drilled(name: str = "F06", seed: int = 7, **changed: Any) -> Result:
    good = Result(
        name=name,
        seed=seed,
        command=f"twinpath drill {name} --seed {seed}",
        run_id="ab",
        rate=300,
        writers={"insert": 900, "update": 80, "delete": 30},
        rows_in_fault=1_000,
        faults=[Struck("connect", acted=True, evidence="pid 1", recovery_s=8.0)],
        checks=[Check("I7", "WAL drains", True, "9, 99, 9 bytes")],
        found=found(),
        judged=True,
        server_stays=True,
        wants=["delivered twice"],
        recovery_limit_s=60.0,
        commit_p99_ratio=1.25,
    )
    return msgspec.structs.replace(good, **changed)


def test_the_registry_holds_each_fault_of_the_matrix_once_and_in_order() -> None:
    assert [one.name for one in MATRIX] == [f"F{number:02}" for number in range(1, 33)]


def test_each_fault_is_drilled_or_proved_by_tests_that_exist() -> None:
    for one in MATRIX:
        assert (one.act is None) == bool(one.proved_by), one.name
        for named in one.proved_by:
            path, _, test = named.partition("::")
            functions = ast.walk(ast.parse((ROOT / path).read_text()))
            assert test in {node.name for node in functions if isinstance(node, ast.FunctionDef)}, named


def test_all_has_as_many_seeds_as_the_matrix_wants_and_a_named_fault_has_one() -> None:
    seeds = Counter(drill.name for drill, _ in chosen(["all"], 7))
    assert seeds["F01"] == seeds["F06"] == seeds["F07"] == seeds["F10"] == seeds["F13"] == 5
    assert seeds["F11"] == seeds["F16"] == 1
    assert "F04" not in seeds, "a test proves it"
    assert "F32" not in seeds, "an hour of its own"
    assert Counter(drill.name for drill, _ in chosen(["all", "F32", "F06"], 7)) == seeds + Counter(["F32"])
    assert [(drill.name, seed) for drill, seed in chosen(["F06", "F01"], 3)] == [("F06", 3), ("F01", 3)]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_every_run_is_in_exactly_one_shard(count: int) -> None:
    runs = chosen(["all"], 7)
    shards = [shard(runs, number, count) for number in range(1, count + 1)]
    assert sorted(sum(shards, []), key=runs.index) == runs
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


def test_a_drill_in_which_everything_held_is_passed() -> None:
    one = drilled()
    assert (one.verdict, one.wrong(), one.untried()) == ("passed", [], [])


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"found": found(agents=[agent(), agent("velocity", missing=["x"])])}, "agent velocity differs"),
        ({"found": None, "unjudged": "the connector is stuck"}, "I1: never judged: the connector is stuck"),
        ({"checks": [Check("I10", "named within 30 s", False, "every hop holds")]}, "I10: named within 30 s"),
        ({"faults": [Struck("connect", acted=True, recovery_s=61.0)]}, "I9: connect was recovered from after 61.0 s"),
        ({"faults": [Struck("connect", acted=True, problem="still behind")]}, "not recovered from: still behind"),
        ({"writers": {"insert": 2_000, "lost_sessions": 2}}, "I6: 2 sessions"),
    ],
)
def test_whatever_does_not_hold_fails_the_drill_and_is_named(changed: dict[str, Any], words: str) -> None:
    one = drilled(**changed)
    assert one.verdict == "failed"
    assert any(words in why for why in one.wrong())


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"rows_in_fault": 999}, "999 rows were committed in the fault"),
        ({"faults": []}, "no fault was done"),
        ({"faults": [Struck("connect", acted=False, evidence="pid 1")]}, "connect did not act (pid 1)"),
        ({"stopped": "Connect had ended by itself"}, "stopped: Connect had ended by itself"),
        ({"found": found(delivered_twice=0)}, "nothing was delivered twice"),
        ({"wants": ["refused"], "found": found(agents=[agent(counters={"judged": 1_000, "duplicate": 5})])},
         "nothing was refused"),
    ],
)  # fmt: skip
def test_a_drill_that_tried_too_little_is_invalid_and_not_passed(changed: dict[str, Any], words: str) -> None:
    one = drilled(**changed)
    assert one.verdict == "invalid"
    assert any(words in why for why in one.untried())


def test_a_line_that_stays_broken_is_judged_by_its_checks_alone() -> None:
    broken = {"found": None, "judged": False, "wants": []}
    assert drilled("F16", **broken).verdict == "passed"
    assert drilled("F16", **broken, checks=[Check("I10", "named", False)]).verdict == "failed"


def test_sessions_may_be_lost_where_the_server_is_killed() -> None:
    assert drilled("F13", server_stays=False, writers={"insert": 2_000, "lost_sessions": 8}).verdict == "passed"


def test_the_p99_of_commits_is_that_in_the_fault_to_that_before() -> None:
    before = [(0.01 * number, 0.001) for number in range(400)]
    during = [(10.0 + 0.01 * number, 0.003) for number in range(400)]
    after = [(50.0, 9.0)]
    assert commit_p99_ratio([*before, *during, *after], 10.0, 20.0) == 3.0
    assert commit_p99_ratio([*before[:199], *during], 10.0, 20.0) is None, "too few"


def test_the_table_has_a_row_for_each_fault_over_all_its_seeds() -> None:
    slow = Struck("connect", acted=True, recovery_s=20.0)
    rows = page.table([drilled(seed=7), drilled(seed=8, faults=[slow], commit_p99_ratio=1.75)], whole=False)
    head, _, row = rows.splitlines()
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert dict(zip(page.COLUMNS, cells, strict=True)) == {
        "fault": "F06",
        "what": "Connect killed",
        "seeds": "7, 8",
        "rows committed": "2020",
        "of these in the fault": "2000",
        "delivered": "2200",
        "delivered twice": "10",
        "suppressed": "20 records, 8 alerts",
        "lost": "0",
        "extra": "0",
        "recovery s p50/max": "14.0 / 20.0",
        "commit p99 ratio": "1.50",
        "verdict": "passed",
    }
    assert head.count("|") == row.count("|")


def test_the_whole_table_names_the_test_that_proves_a_fault_and_the_seed_that_failed() -> None:
    broken = drilled(seed=8, checks=[Check("I7", "WAL drains", False)])
    rows = page.table([drilled(seed=7), broken, drilled(seed=9, rows_in_fault=0)], whole=True).splitlines()[2:]
    assert len(rows) == len(MATRIX)
    assert "proved by `tests/integration/test_instances.py::" in rows[3]
    assert rows[0].endswith("| not run |")
    assert rows[5].endswith("| failed (seed 8), invalid (seed 9), passed (seed 7) |")


def test_the_page_says_how_to_run_each_again_and_what_was_checked(tmp_path: Path) -> None:
    result.write(drilled(checks=[Check("I7", "WAL drains", False, "9, 99, 99 bytes")]), tmp_path)
    text = page.page(tmp_path)
    assert "- `twinpath drill F06 --seed 7` (records come twice, alerts do not): failed" in text
    assert "F06, seed 7, I7 does not hold: WAL drains: 9, 99, 99 bytes" in text


def test_the_committed_page_is_what_its_results_make() -> None:
    results = ROOT / "docs" / "results"
    assert (results / "drills.md").read_text() == page.page(results / "drills"), "twinpath drill table --into ..."


def test_a_drill_is_as_long_as_it_wants_to_be_unless_the_user_says_otherwise() -> None:
    ((fault, _), (soak, _)) = chosen(["F06", "F32"], 7)
    assert [runner.Options().seconds(one) for one in (fault, soak)] == [30.0, 3_600.0]
    assert [runner.Options(duration_s=180.0).seconds(one) for one in (fault, soak)] == [180.0, 180.0]


def test_a_result_is_read_back_as_it_was_and_something_else_is_refused(tmp_path: Path) -> None:
    fences = [Fence(1, 60.0, 4.5, rows=18_000, alerts={"spending": 6})]
    memory = [memory_of("spending", [Sample(0.0, 1, 60.0), Sample(10.0, 1, 61.0)])]
    one = drilled(commit_p99_ratio=None, fences=fences, memory=memory)
    path = result.write(one, tmp_path)
    assert result.read(path) == one
    path.write_text("{}")
    with pytest.raises(ConfigurationError, match="F06-seed7.json is no result of a drill"):
        result.read_all(tmp_path)


def test_resuming_reads_what_is_there_and_starts_nothing(tmp_path: Path) -> None:
    ours = [drilled("F06", 7), drilled("F01", 7, wants=[])]
    for one in ours:
        result.write(one, tmp_path)
    runs = chosen(["F06", "F01"], 7)
    assert runner.run_all(Progress(quiet=True), runs, tmp_path, runner.Options(), resume=True) == ours
