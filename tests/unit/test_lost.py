"""What a gap destroyed: rows of the log before it beside rows of the snapshot after it."""

import msgspec

from lab.stack.lost import Difference, Lost, difference, rows_of_log, rows_of_snapshot, said
from tests.unit.building import delete, insert, snapshot_row, update


def test_rows_that_were_inserted_changed_and_deleted_within_the_gap_are_told_apart() -> None:
    log = [insert(1, 1, "1.00"), insert(2, 2, "2.00"), insert(3, 3, "3.00"), update(4, 1, "4.00"), insert(5, 4, "5.00")]
    table = {1: "4.00", 2: "9.00", 4: "5.00", 5: "1.00"}
    rows, newest = rows_of_snapshot([snapshot_row(900, tx_id, amount) for tx_id, amount in table.items()])
    assert newest == 900
    assert difference(rows_of_log(log), rows) == Difference(never_judged={5}, changed={2}, vanished={3})


def test_a_row_that_the_log_deleted_is_not_one_that_vanished() -> None:
    assert rows_of_log([insert(1, 1, "1.00"), delete(2, 1)]) == {}


def test_a_row_that_changed_its_user_is_one_row_whichever_partition_is_read_first() -> None:
    moved = [insert(9, 1, "1.00", user=8)]
    left = [insert(1, 1, "1.00"), delete(9, 1)]
    assert rows_of_log([*moved, *left]) == rows_of_log([*left, *moved])
    assert [user for user, _ in rows_of_log([*moved, *left]).values()] == [8]


def test_a_row_that_has_another_user_now_was_changed() -> None:
    now, _ = rows_of_snapshot([snapshot_row(900, 1, "1.00", user=8)])
    assert difference(rows_of_log([insert(1, 1, "1.00")]), now) == Difference(set(), {1}, set())


def test_of_an_interrupted_snapshot_and_the_next_one_the_next_one_counts() -> None:
    first = [snapshot_row(900, 1, "1.00"), snapshot_row(900, 2, "1.00")]
    second = [snapshot_row(950, 2, "1.00"), insert(960, 3, "1.00")]
    rows, newest = rows_of_snapshot([*first, *second, *first[:1]])
    assert (set(rows), newest) == ({2}, 950)


def test_an_empty_table_has_no_snapshot() -> None:
    assert rows_of_snapshot([insert(960, 3, "1.00")]) == ({}, None)


def test_what_was_lost_is_said_in_words_and_as_json_by_stable_keys() -> None:
    lost = Lost(["slot ours begins at 0/9"], 2, False, "0/5", "0/A", 40, 7, 2, 1, 3)
    assert said(lost) == [
        "gap: slot ours begins at 0/9",
        "changes from 0/5 to 0/A are not in the log; it goes on as source 2",
        "40 rows were read from the table and taught; 7 of them were never judged",
        "2 rows were changed and 1 are gone without the log; on these 3 alerts stand as they were raised",
        "changes of which the table shows nothing any more are in none of these figures",
    ]
    unsure = msgspec.structs.replace(lost, at_most=True, topic_made_anew=True, read_up_to=None, goes_on_from=None)
    assert said(unsure)[1].startswith("changes from the first change to now are not in the log")
    assert "made anew" in said(unsure)[2]
    assert "at most 7 of them" in said(unsure)[3]
    assert list(msgspec.to_builtins(lost)) == [
        *("reasons", "incarnation", "topic_made_anew", "read_up_to", "goes_on_from", "rows"),
        *("never_judged", "changed", "vanished", "standing_alerts", "at_most"),
    ]
