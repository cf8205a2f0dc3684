"""Snapshot rows teach a history: they are never judged and stand before every judged row."""

import pytest

from tests.unit.building import (
    NOON_US,
    SECOND_US,
    USER,
    at,
    delete,
    facts,
    insert,
    inserts,
    raised,
    snapshot_row,
    update,
)
from twinpath.detection.model import Change
from twinpath.detection.replay import Replay, replay
from twinpath.detection.rules import RULES, configured

SPENDING = RULES["spending"]
VELOCITY = RULES["velocity"]
SNAPSHOT = 1000


def snapshot(amounts: list[str], lsn: int = SNAPSHOT, first: int = 1) -> list[Change]:
    return [snapshot_row(lsn, tx_id, amount) for tx_id, amount in enumerate(amounts, first)]


def known(fold: Replay) -> list[tuple[int, int]]:
    """(tx_id, cents) of the history, from the oldest to the newest."""
    return [(entry.transaction.tx_id, entry.transaction.amount_cents) for entry in fold.states[USER].history.entries]


def ids(fold: Replay) -> list[int]:
    return [tx_id for tx_id, _ in known(fold)]


def test_snapshot_rows_are_never_judged():
    fold = replay(SPENDING, snapshot(["1.00", "1.00", "1.00", "9,000.00"]))
    assert fold.alerts == []
    assert fold.counts == {"taught": 4}


def test_a_payment_is_judged_on_what_the_snapshot_taught():
    fold = replay(SPENDING, [*snapshot(["100.00"] * 3), insert(2000, 4, "600.00")])
    assert facts(fold.alerts) == [raised(4, 60, "600.00 is 6.0 times this user's usual 100.00 (3 payments)")]


def test_taught_rows_count_in_the_window_of_a_payment():
    rows = [snapshot_row(SNAPSHOT, tx_id, "5.00", us=NOON_US + tx_id * SECOND_US) for tx_id in range(1, 6)]
    fold = replay(VELOCITY, [*rows, insert(2000, 6, "5,000.00", us=NOON_US + 30 * SECOND_US)])
    assert facts(fold.alerts) == [raised(6, 90, "6 payments within 60 s and 5,000.00 is above 4,000.00")]


def test_taught_rows_out_of_time_order_count_by_their_time():
    rows = [snapshot_row(SNAPSHOT, tx_id, "5.00", us=NOON_US) for tx_id in range(1, 6)]
    early = snapshot_row(SNAPSHOT, 9, "5.00", us=NOON_US - 600 * SECOND_US)
    fold = replay(VELOCITY, [*rows, early, insert(2000, 10, "5,000.00", us=NOON_US)])
    assert [alert.tx_id for alert in fold.alerts] == [10]


def test_the_last_fifty_rows_of_a_snapshot_are_kept():
    assert ids(replay(SPENDING, snapshot(["1.00"] * 60))) == list(range(11, 61))


def test_rows_taught_after_judged_ones_stand_before_them():
    assert ids(replay(SPENDING, [*inserts(["1.00"] * 3, first=101), *snapshot(["1.00"] * 3)])) == [
        1,
        2,
        3,
        101,
        102,
        103,
    ]


def test_a_full_history_of_judged_rows_has_no_room_for_taught_ones():
    judged = inserts(["1.00"] * 50, first=101)
    fold = replay(SPENDING, [*judged, *snapshot(["9.00"] * 3)])
    assert known(fold) == known(replay(SPENDING, judged))


def test_taught_rows_fall_out_before_judged_ones():
    judged = inserts(["1.00"] * 48, first=101)
    assert ids(replay(SPENDING, [*judged, *snapshot(["1.00"] * 5)])) == [4, 5, *range(101, 149)]
    more = inserts(["1.00"], first=2000)
    assert ids(replay(SPENDING, [*judged, *snapshot(["1.00"] * 5), *more])) == [5, *range(101, 149), 2000]


def test_a_row_of_a_newer_snapshot_first_clears_what_the_older_one_taught():
    fold = replay(SPENDING, [*snapshot(["1.00"] * 5), *snapshot(["2.00"] * 2, lsn=SNAPSHOT + 1, first=4)])
    assert known(fold) == [(4, 200), (5, 200)]


def test_a_newer_snapshot_leaves_judged_rows_and_their_alerts_alone():
    judged = [insert(2000, 4, "600.00"), insert(2001, 5, "90.00")]
    log = [*snapshot(["100.00"] * 3), *judged, *snapshot(["50.00", "50.00"], lsn=3000), snapshot_row(3000, 4, "7.00")]
    fold = replay(SPENDING, log)
    assert known(fold) == [(1, 5000), (2, 5000), (4, 60000), (5, 9000)]
    assert [alert.status for alert in fold.alerts] == ["RAISED"]
    again = replay(SPENDING, [*log, delete(4000, 4)])
    assert [alert.status for alert in again.alerts] == ["RAISED", "RETRACTED"]


def test_after_a_newer_snapshot_payments_are_judged_on_its_amounts():
    log = [*snapshot(["100.00"] * 3), *snapshot(["200.00"] * 3, lsn=3000), insert(4000, 9, "600.01")]
    assert facts(replay(SPENDING, log).alerts) == [
        raised(9, 30, "600.01 is 3.0 times this user's usual 200.00 (3 payments)")
    ]


def test_a_row_of_an_older_snapshot_is_a_duplicate():
    fold = replay(SPENDING, [*snapshot(["1.00"], lsn=3000), *snapshot(["2.00"] * 2, lsn=SNAPSHOT)])
    assert known(fold) == [(1, 100)]
    assert fold.counts == {"taught": 1, "duplicate": 2}


def test_a_snapshot_sent_again_teaches_each_row_once():
    rows = snapshot(["1.00"] * 60)
    fold = replay(SPENDING, [*rows, *rows[:30], *rows[3:]])
    assert fold.states == replay(SPENDING, rows).states


BEFORE_A_GAP = [*snapshot(["100.00"] * 3), insert(2000, 4, "600.00"), insert(2001, 5, "90.00")]
AFTER_IT = [snapshot_row(at(5, incarnation=2), *row) for row in ((3, "7.00"), (4, "600.00"), (6, "8.00"))]


def test_a_snapshot_of_a_later_source_replaces_all_that_was_remembered_of_a_user():
    fold = replay(SPENDING, [*BEFORE_A_GAP, *AFTER_IT])
    assert known(fold) == [(3, 700), (4, 60000), (6, 800)]
    assert [alert.status for alert in fold.alerts] == ["RAISED"], "it neither raises nor retracts"
    assert fold.counts == {"taught": 6, "judged": 2}


def test_a_user_who_is_in_no_snapshot_of_a_later_source_begins_with_nothing():
    fold = replay(SPENDING, [*BEFORE_A_GAP, insert(at(9, incarnation=2), 9, "600.00")])
    assert known(fold) == [(9, 60000)]
    assert [alert.tx_id for alert in fold.alerts] == [4]


def test_a_source_made_anew_is_forgotten_by_nobody_who_knew_no_other():
    log = [*AFTER_IT, insert(at(9, incarnation=2), 9, "1.00")]
    assert ids(replay(SPENDING, log)) == [3, 4, 6, 9]


@pytest.mark.parametrize(
    ("correction", "statuses", "kind"),
    [
        (update(at(9, incarnation=2), 4, "90.00"), ["RAISED", "RETRACTED"], "corrected"),
        (update(at(9, incarnation=2), 4, "700.00"), ["RAISED", "REVISED"], "corrected"),
        (update(at(9, incarnation=2), 4, "600.00"), ["RAISED"], "corrected"),
        (delete(at(9, incarnation=2), 4), ["RAISED", "RETRACTED"], "forgotten"),
        (update(at(9, incarnation=2), 6, "9.00"), ["RAISED"], "too_old"),
        (delete(at(9, incarnation=2), 6), ["RAISED"], "too_old"),
    ],
)
def test_a_row_taught_behind_a_gap_is_corrected_with_the_alert_that_stands_on_it(
    correction: Change, statuses: list[str], kind: str
):
    fold = replay(SPENDING, [*BEFORE_A_GAP, *AFTER_IT, correction])
    assert [alert.status for alert in fold.alerts] == statuses
    assert fold.counts[kind] == 1
    left = {3: 700, 4: 60000, 6: 800}
    if correction.after is None:
        del left[correction.tx_id]
    else:
        left[correction.tx_id] = correction.after.amount_cents
    assert known(fold) == list(left.items())


def test_a_snapshot_row_sent_again_after_streamed_changes_is_absorbed():
    log = [*snapshot(["1.00"] * 3), update(2000, 2, "5.00"), delete(2001, 3)]
    fold = replay(SPENDING, [*log, *snapshot(["1.00"] * 3)])
    assert known(fold) == [(1, 100), (2, 500)]
    assert fold.counts == {"taught": 3, "corrected": 1, "forgotten": 1, "duplicate": 3}


def test_a_snapshot_does_not_move_the_position_mark():
    # the change was committed before the snapshot was read, and its record comes after the snapshot's
    fold = replay(SPENDING, [*snapshot(["1.00"]), insert(900, 9, "1.00")])
    assert fold.counts == {"taught": 1, "judged": 1}
    assert fold.states[USER].mark == at(900)


@pytest.mark.parametrize("rule", [SPENDING, VELOCITY], ids=lambda rule: rule.name)
def test_an_update_or_delete_of_a_taught_row_only_corrects_the_history(rule):
    rows = snapshot(["100.00", "100.00", "100.00", "100.00"])
    changes = [update(2000, 4, "9,000.00", us=NOON_US + SECOND_US), delete(2001, 3), delete(2002, 4)]
    fold = replay(rule, [*rows, *changes])
    assert fold.alerts == []
    assert fold.counts == {"taught": 4, "corrected": 1, "forgotten": 2}
    assert ids(fold) == [1, 2]


def test_corrected_taught_rows_are_what_payments_are_judged_on():
    log = [*snapshot(["100.00"] * 4), update(2000, 1, "400.00"), delete(2001, 4), insert(2002, 9, "600.01")]
    assert facts(replay(SPENDING, log).alerts) == [
        raised(9, 30, "600.01 is 3.0 times this user's usual 200.00 (3 payments)")
    ]


def test_a_deleted_taught_row_does_not_let_judged_rows_be_cleared_as_taught():
    log = [*snapshot(["1.00"] * 3), insert(2000, 9, "2.00"), delete(2001, 2), *snapshot(["3.00"], lsn=3000)]
    assert known(replay(SPENDING, log)) == [(1, 300), (9, 200)]


def test_a_taught_row_that_is_inserted_again_is_judged_and_counted_as_a_conflict():
    fold = replay(SPENDING, [*snapshot(["100.00"] * 4), insert(2000, 4, "600.00")])
    assert fold.counts == {"taught": 4, "conflict": 1}
    assert facts(fold.alerts) == [raised(4, 60, "600.00 is 6.0 times this user's usual 100.00 (3 payments)")]


def test_the_bound_holds_for_taught_and_judged_rows_together():
    rule = configured("velocity", {"velocity": {"history": 4}})
    log = [*snapshot(["1.00"] * 3), *inserts(["1.00"] * 2, first=2000), *snapshot(["1.00"] * 3, lsn=3000, first=51)]
    assert ids(replay(rule, log)) == [52, 53, 2000, 2001]
