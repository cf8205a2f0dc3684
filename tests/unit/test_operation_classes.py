"""Classes of operations from a hand-made log, and what a batch path's runs read of them."""

from lab.measure.batch_evidence import Written
from lab.measure.batch_input import BatchInput, BatchRun, Mode
from lab.measure.operation_classes import Classes, classify
from lab.operations import LoggedRow, Operation


def row(tx_id: int, us: int = 0, cents: int = 100) -> LoggedRow:
    return LoggedRow(tx_id, 7, cents, us or tx_id)


def write(op: str, xid: int, tx_id: int, *, us: int = 0, outcome: str = "committed", sequence: int = 0) -> Operation:
    before = None if op == "insert" else row(tx_id, us)
    after = None if op == "delete" else row(tx_id, us, 100 + xid)
    return Operation(0, 0, xid, sequence, op, outcome, tx_id, before, after)  # type: ignore[arg-type]


LOG = [
    write("insert", 1, 1),
    write("insert", 2, 2),  # held open: commits after 3
    write("insert", 3, 3),
    write("insert", 4, 4, outcome="rolled_back"),
    write("update", 5, 1),
    write("update", 6, 1),
    write("update", 7, 1),
    write("delete", 8, 3),
    write("insert", 9, 5, us=3),  # the stamp of 3
]
COMMITS = {1: 10, 3: 20, 2: 30, 5: 40, 6: 50, 7: 60, 8: 70, 9: 80}


def of(*looks: BatchRun, log: list[Operation] = LOG) -> Classes:
    return classify(Written(log, COMMITS, {}, {}), looks)


def look(number: int, xmax: int) -> BatchRun:
    return BatchRun(number, xmax, xmax)


def test_each_class_holds_its_rows_and_values() -> None:
    found = of()
    assert found == Classes(
        inserts=frozenset({1, 2, 3, 5}),
        updates=frozenset({(1, 40, 0), (1, 50, 0), (1, 60, 0)}),
        middle_updates=frozenset({(1, 40, 0), (1, 50, 0)}),
        deletes=frozenset({3}),
        born_and_died=frozenset({3}),
        late_commits=frozenset({2}),
        same_stamps=frozenset({3, 5}),
        rolled_back=frozenset({4}),
        rolled_back_writes=1,
    )


def test_a_run_in_between_makes_a_value_or_a_row_none_that_came_and_went() -> None:
    found = of(look(1, 6))
    assert found.middle_updates == {(1, 50, 0)}
    assert found.born_and_died == set()
    assert of(look(1, 3), look(2, 9)).born_and_died == {3}


def test_an_unknown_outcome_counts_as_it_was_settled() -> None:
    log = [write("insert", 1, 1, outcome="unknown"), write("insert", 2, 2, outcome="unknown")]
    found = classify(Written(log, {1: 10}, {}, {1: True, 2: False}), [])
    assert (found.inserts, found.rolled_back) == ({1}, {2})


def test_rows_of_one_transaction_are_not_late_among_themselves() -> None:
    log = [write("insert", 1, tx_id, sequence=tx_id) for tx_id in (1, 2, 3)]
    assert classify(Written(log, {1: 10}, {}, {}), []).late_commits == set()


def read(mode: Mode, judged: set[int], *looks: BatchRun) -> set[tuple[int, int, int]]:
    return BatchInput(LOG, COMMITS, {}, looks, mode).values_read(judged)


def test_the_runs_of_safe_read_the_last_value_before_each() -> None:
    assert read("safe", {1, 2, 3, 5}, look(1, 6), look(2, 10)) == {
        (1, 40, 0), (1, 60, 0), (2, 30, 0), (3, 20, 0), (5, 80, 0),
    }  # fmt: skip


def test_what_a_path_does_not_keep_as_judged_counts_as_not_read() -> None:
    assert read("safe", {1, 2, 3}, look(1, 10)) == {(1, 60, 0), (2, 30, 0)}


def test_full_has_read_the_rows_that_its_last_run_no_longer_finds() -> None:
    assert (3, 20, 0) in read("full", {1, 2, 5}, look(1, 6), look(2, 10))
