"""What each path saw of each class of operation, told from the path's own record."""

from typing import Any

import msgspec

from lab.measure.batch import BatchRule
from lab.report.losses import losses, seen_by_batch, seen_in_log
from lab.report.summary import build
from tests.unit.test_report import CLASSES, EQUAL, UPDATES, evidence, with_batch, with_stream

ALL = {
    "insert": 100, "update": 2, "middle update": 1, "delete": 1, "born and died": 1, "late commit": 2, "same stamp": 3,
    "rollback": 0, "truncate": 0,
}  # fmt: skip


def in_log(key_changes: int = 0, rows: frozenset[int] = frozenset(), **counters: int) -> dict[str, int]:
    (rule,) = evidence().compared.log_fed["agent"]
    counted = {"judged": 100 + key_changes, "corrected": 2, "forgotten": 1, **counters}
    return seen_in_log(msgspec.structs.replace(rule, counters=counted, rows=rows), CLASSES, key_changes)


def changed(found: dict[str, int]) -> dict[str, int]:
    return {name: value for name, value in found.items() if value != ALL[name]}


def test_a_path_that_counted_every_change_has_seen_every_class() -> None:
    assert in_log() == ALL
    assert in_log(corrected=0, forgotten=0, too_old=3) == ALL, "none was in the history, and all were counted"


def test_a_changed_user_is_one_row_and_one_update() -> None:
    assert in_log(key_changes=1, corrected=1, forgotten=2) == ALL


def test_of_a_lost_change_the_least_is_said_that_the_counters_allow() -> None:
    assert changed(in_log(corrected=1)) == {"update": 1, "middle update": 0, "born and died": 0}
    assert changed(in_log(corrected=0, forgotten=0, too_old=2)) == {
        "update": 1, "middle update": 0, "delete": 0, "born and died": 0,
    }  # fmt: skip


def test_of_a_lost_row_what_is_remembered_or_alerted_was_seen() -> None:
    assert changed(in_log(judged=99)) == {"insert": 99, "born and died": 0, "late commit": 1, "same stamp": 2}
    kept = frozenset({3, 4, 5, 6, 7})
    assert changed(in_log(judged=99, rows=kept)) == {"insert": 99, "born and died": 0}


def test_a_row_that_was_rolled_back_shows_by_its_id_and_by_the_count() -> None:
    assert in_log(rows=frozenset({1, 101}))["rollback"] == 1
    assert changed(in_log(judged=102)) == {"insert": 102, "rollback": 2}


def batch(judged: set[int], read: set[tuple[int, int, int]]) -> dict[str, int]:
    return seen_by_batch(BatchRule("spending", "1-x", 3, {}, 0, EQUAL, [], judged, [], [], read), CLASSES)


def test_a_batch_path_has_seen_the_ids_it_keeps_and_the_values_its_runs_read() -> None:
    assert changed(batch(set(range(100)) - {2}, {UPDATES[1]})) == {
        "insert": 99, "update": 1, "middle update": 0, "delete": 0, "born and died": 0,
    }  # fmt: skip
    assert batch({101, 102}, set())["rollback"] == 2
    assert batch(set(range(100)), set())["late commit"] == 2


def test_a_batch_path_that_keeps_only_what_is_there_sees_what_is_gone() -> None:
    found = batch(set(range(100)) - {2}, {(2, 800, 0)})
    assert (found["insert"], found["delete"]) == (100, 1)


def test_the_worst_of_the_rules_stands_in_the_table() -> None:
    run = evidence()
    (rule,) = run.compared.log_fed["agent"]
    short = msgspec.structs.replace(rule, rule="velocity", counters=rule.counters | {"judged": 98})
    run.compared.log_fed["agent"].append(short)
    assert losses(run)["insert"]["seen"] == {"agent": 98}


def test_a_class_that_a_paths_record_cannot_tell_apart_has_a_note_and_others_have_none() -> None:
    def notes(**changes: Any) -> list[str]:
        found = losses(with_stream(**changes))
        return [name for name, one in found.items() if "At least so many: what spark_stream counted" in one["note"]]

    assert notes() == []
    assert "update" in notes(counters={"judged": 100, "corrected": 2})
    assert "truncate" not in notes(counters={"judged": 100, "corrected": 2})


def test_every_class_stands_in_the_summary_with_every_path() -> None:
    found = build(with_batch(), {})["losses"]
    assert {name: one["done"] for name, one in found.items()} == ALL | {"rollback": 5}
    assert all(one["seen"].keys() == {"agent", "spark_batch"} for one in found.values())
    assert found["truncate"]["note"].startswith("None in this workload")
