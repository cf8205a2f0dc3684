"""The fold itself: positions and duplicates, corrections and deletes, inside and outside of the history."""

import pytest

from tests.unit.building import (
    CORRECTED,
    DELETED,
    HOUR_US,
    NOON_US,
    USER,
    at,
    delete,
    facts,
    insert,
    inserts,
    raised,
    retracted,
    revised,
    update,
)
from twinpath.detection.detector import empty, resolve, step
from twinpath.detection.fields import position
from twinpath.detection.model import Alert, Change, Position
from twinpath.detection.replay import Replay, current, replay
from twinpath.detection.rules import RULES

SPENDING = RULES["spending"]
OTHER = 8
SIX_TIMES = "600.00 is 6.0 times this user's usual 100.00 (3 payments)"
SEVEN_TIMES = "700.00 is 7.0 times this user's usual 100.00 (3 payments)"


def usual(user: int = USER, first: int = 1) -> list[Change]:
    """Three payments of 100.00 at positions first..first+2, with these ids."""
    return [insert(tx_id, tx_id, "100.00", user=user) for tx_id in range(first, first + 3)]


def flagged() -> list[Change]:
    """`usual`, then payment 4 of 600.00 at position 4: an alert."""
    return [*usual(), insert(4, 4, "600.00")]


def kinds(changes: list[Change]) -> list[str]:
    """The outcome kind of each change, all of one user, before anything is resolved."""
    state, found = empty(SPENDING), []
    for one in changes:
        state, outcome = step(SPENDING, state, one)
        found.append(outcome.kind)
    return found


def known(fold: Replay, user: int = USER) -> list[tuple[int, int]]:
    """(tx_id, cents) of the history, from the oldest to the newest."""
    return [(entry.transaction.tx_id, entry.transaction.amount_cents) for entry in fold.states[user].history.entries]


# Positions


def test_a_change_at_an_earlier_position_is_a_duplicate_whatever_its_operation():
    assert kinds([*flagged(), insert(3, 90, "1.00"), update(2, 4, "1.00"), delete(3, 4)])[4:] == ["duplicate"] * 3


def test_a_duplicate_changes_nothing():
    log = flagged()
    fold = replay(SPENDING, [*log, *log, update(3, 4, "1.00"), delete(1, 1)])
    assert fold.states == replay(SPENDING, log).states
    assert facts(fold.alerts) == [raised(4, 60, SIX_TIMES)]


def test_a_later_transaction_with_a_lower_row_lsn_is_new():
    # its first row was written before the other transaction's rows, and it committed after them
    assert kinds([insert(at(100, 180), 1, "1.00"), insert(at(200, 150), 2, "1.00")]) == ["judged", "judged"]


def test_an_earlier_transaction_with_a_higher_row_lsn_is_a_duplicate():
    assert kinds([insert(at(200, 150), 2, "1.00"), insert(at(100, 180), 1, "1.00")]) == ["judged", "duplicate"]


def test_within_one_transaction_the_row_lsn_decides():
    rows = [insert(at(100, row), row, "1.00") for row in (101, 102, 103)]
    assert kinds([*rows, *rows]) == ["judged"] * 3 + ["duplicate"] * 3


def test_a_later_incarnation_with_lower_numbers_is_new_and_an_earlier_one_is_a_duplicate():
    changes = [insert(at(900), 1, "1.00"), insert(at(5, incarnation=2), 2, "1.00"), insert(at(950), 3, "1.00")]
    assert kinds(changes) == ["judged", "judged", "duplicate"]


def test_the_first_transaction_of_a_recreated_connector_on_a_kept_topic_is_new_row_by_row():
    before = insert(position('["5000","5100"]', 1, "sequence"), 1, "1.00")
    first = [insert(position(f'[null,"{6000 + row}"]', 1, "sequence"), 2 + row, "1.00") for row in range(1000)]
    second = insert(position('["7100","7000"]', 1, "sequence"), 2000, "1.00")
    log = [before, *first, second]
    assert kinds(log) == ["judged"] * 1002
    assert kinds([*log, *first, second])[1002:] == ["duplicate"] * 1001


def test_rows_of_one_copy_share_a_position_and_are_all_judged():
    rows = [insert(at(261300816), tx_id, "100.00") for tx_id in (1, 2, 3)]
    fold = replay(SPENDING, [*rows, insert(at(261300816), 4, "600.00")])
    assert fold.counts == {"judged": 4}
    assert facts(fold.alerts) == [raised(4, 60, SIX_TIMES)]


def test_rows_of_one_position_that_are_sent_again_in_part_or_whole_are_duplicates():
    rows = [insert(at(9), tx_id, "100.00") for tx_id in (1, 2, 3)]
    assert kinds([rows[0], rows[1], rows[0], rows[1], rows[2], *rows]) == [
        *("judged", "judged", "duplicate", "duplicate", "judged"),
        *("duplicate", "duplicate", "duplicate"),
    ]


def test_another_operation_on_a_row_at_the_same_position_is_no_duplicate():
    assert kinds([insert(9, 1, "1.00"), update(9, 1, "2.00"), delete(9, 1), delete(9, 1)]) == [
        *("judged", "corrected", "forgotten", "duplicate"),
    ]


def test_the_set_of_seen_rows_is_emptied_when_the_mark_moves():
    rows = [insert(at(9), tx_id, "1.00") for tx_id in range(1, 6)]
    fold = replay(SPENDING, [*rows, insert(10, 6, "1.00")])
    assert fold.states[USER].mark == at(10)
    assert fold.states[USER].seen == [(6, "c")]
    assert kinds([*rows, insert(10, 6, "1.00"), *rows])[6:] == ["duplicate"] * 5


def test_the_mark_of_one_user_does_not_hide_the_changes_of_another():
    assert replay(SPENDING, [insert(9, 1, "1.00"), insert(5, 2, "1.00", user=OTHER)]).counts == {"judged": 2}


def test_a_user_whose_payments_are_all_deleted_keeps_the_mark():
    fold = replay(SPENDING, [insert(1, 1, "1.00"), delete(2, 1), insert(1, 1, "1.00")])
    assert known(fold) == []
    assert fold.counts == {"judged": 1, "forgotten": 1, "duplicate": 1}


# A changed user


def moved_to_other(amount: str = "600.00") -> list[Change]:
    """Payment 4 of 600.00 goes from USER to OTHER, as Debezium writes it: d and c at one position."""
    return [*flagged(), *usual(OTHER, 11), delete(20, 4), insert(20, 4, amount, user=OTHER)]


def test_a_changed_user_retracts_under_the_old_user_and_raises_under_the_new_one():
    alerts = replay(SPENDING, moved_to_other()).alerts
    assert [(alert.user_id, alert.status, alert.position, alert.reason) for alert in alerts] == [
        (USER, "RAISED", at(4), SIX_TIMES),
        (USER, "RETRACTED", at(20), DELETED),
        (OTHER, "RAISED", at(20), SIX_TIMES),
    ]


def test_after_a_changed_user_each_history_holds_what_is_its_own():
    fold = replay(SPENDING, moved_to_other())
    assert known(fold) == [(1, 10000), (2, 10000), (3, 10000)]
    assert known(fold, OTHER) == [(11, 10000), (12, 10000), (13, 10000), (4, 60000)]


def test_at_one_position_the_current_view_is_the_insert_under_the_new_user_in_either_order():
    fold = replay(SPENDING, moved_to_other())
    for alerts in (fold.alerts, fold.alerts[::-1]):
        standing = current(alerts)[4]
        assert (standing.user_id, standing.status, standing.op) == (OTHER, "RAISED", "c")
    assert fold.current() == current(fold.alerts)


def test_a_changed_user_whose_payment_is_usual_for_the_new_one_stays_retracted():
    fold = replay(SPENDING, moved_to_other("300.00"))
    assert (fold.current()[4].user_id, fold.current()[4].status) == (USER, "RETRACTED")


def test_the_current_view_compares_positions_as_numbers():
    fold = replay(SPENDING, [*flagged(), update(at(99, 5), 4, "700.00"), update(at(100, 4), 4, "800.00")])
    for alerts in (fold.alerts, fold.alerts[::-1]):
        assert current(alerts)[4].position == Position(1, 100, 4)


# Corrections inside the history


def test_each_update_appends_what_it_moves_and_nothing_when_nothing_moved():
    updates = ["600.00", "700.00", "700.00", "70.00", "60.00", "600.00"]
    log = [*flagged(), *(update(10 + index, 4, amount) for index, amount in enumerate(updates))]
    fold = replay(SPENDING, log)
    assert facts(fold.alerts) == [
        raised(4, 60, SIX_TIMES),
        revised(4, 70, SEVEN_TIMES),
        retracted(4, CORRECTED),
        raised(4, 60, SIX_TIMES),
    ]
    assert [alert.position for alert in fold.alerts] == [at(4), at(11), at(13), at(15)]
    assert fold.counts == {"judged": 4, "corrected": 6}


def test_an_update_of_a_payment_that_was_no_alert_can_raise_one():
    log = [*usual(), insert(4, 4, "60.00"), update(5, 4, "600.00")]
    assert facts(replay(SPENDING, log).alerts) == [raised(4, 60, SIX_TIMES)]


def test_an_update_puts_the_new_values_at_the_same_place():
    assert known(replay(SPENDING, [*flagged(), update(9, 2, "1.00")])) == [(1, 10000), (2, 100), (3, 10000), (4, 60000)]


def test_later_payments_are_not_judged_again():
    log = [*inserts(["200.00", "200.00", "200.00", "600.00"]), update(10, 1, "1.00"), delete(11, 2)]
    assert replay(SPENDING, log).alerts == []


def test_a_corrected_payment_is_judged_with_the_prior_it_had():
    log = [*inserts(["200.00", "200.00", "200.00", "600.00", "9.00"]), update(10, 1, "1.00"), delete(11, 2)]
    assert facts(replay(SPENDING, [*log, update(12, 4, "600.01")]).alerts) == [
        raised(4, 30, "600.01 is 3.0 times this user's usual 200.00 (3 payments)")
    ]


def test_corrected_amounts_are_what_later_payments_are_judged_on():
    log = [*inserts(["200.00", "200.00", "200.00", "600.00"]), update(10, 1, "100.00"), insert(11, 11, "900.00")]
    assert facts(replay(SPENDING, log).alerts) == [
        raised(11, 32, "900.00 is 3.2 times this user's usual 275.00 (4 payments)")
    ]


def test_a_delete_retracts_what_stood_and_the_row_is_out_of_the_history():
    fold = replay(SPENDING, [*flagged(), delete(9, 4)])
    assert facts(fold.alerts)[1:] == [retracted(4, DELETED)]
    assert fold.alerts[1].features == {"payments": 3, "total_cents": 30000}
    assert known(fold) == [(1, 10000), (2, 10000), (3, 10000)]


@pytest.mark.parametrize("before", [[], [update(8, 4, "60.00")]])
def test_a_delete_of_what_does_not_stand_only_forgets(before):
    log = [*flagged(), *before] if before else [*usual(), insert(4, 4, "60.00")]
    fold = replay(SPENDING, [*log, delete(9, 4)])
    assert [alert.position for alert in fold.alerts] == ([at(4), at(8)] if before else [])
    assert fold.counts["forgotten"] == 1


def test_a_row_inserted_again_inside_the_history_replaces_it_and_counts_as_a_conflict():
    fold = replay(SPENDING, [*flagged(), insert(9, 2, "110.00")])
    assert sorted(known(fold)) == [(1, 10000), (2, 11000), (3, 10000), (4, 60000)]
    assert fold.counts == {"judged": 4, "conflict": 1}


def test_a_conflict_is_judged_without_the_entry_it_replaces_and_moves_its_alert():
    changes = [insert(9, 4, "600.00"), insert(10, 4, "700.00"), insert(11, 4, "90.00"), insert(12, 4, "700.00")]
    fold = replay(SPENDING, [*flagged(), *changes])
    assert facts(fold.alerts) == [
        raised(4, 60, SIX_TIMES),
        revised(4, 70, SEVEN_TIMES),
        retracted(4, CORRECTED),
        raised(4, 70, SEVEN_TIMES),
    ]
    assert fold.counts == {"judged": 4, "conflict": 4}


def test_an_id_that_was_deleted_and_comes_again_is_no_conflict():
    assert kinds([*flagged(), delete(9, 4), insert(10, 4, "600.00")])[4:] == ["forgotten", "judged"]


def test_an_id_lower_than_all_known_ones_is_new_and_is_found_later():
    assert kinds([insert(1, 50, "1.00"), insert(2, -3, "1.00"), update(3, -3, "2.00"), insert(4, 50, "1.00")]) == [
        *("judged", "judged", "corrected", "conflict"),
    ]


# Outside of the history


def fell_out() -> list[Change]:
    """`flagged`, then fifty payments of 100.00: payment 4 is no longer in the history."""
    return [*flagged(), *inserts(["100.00"] * 50, first=101)]


def last_outcome(changes: list[Change]) -> tuple[str, Alert | None]:
    state = empty(SPENDING)
    for one in changes:
        state, outcome = step(SPENDING, state, one)
    return outcome.kind, outcome.alert


def test_the_fiftieth_payment_before_is_still_inside_and_the_fifty_first_is_outside():
    log = [*flagged(), *inserts(["100.00"] * 49, first=101)]
    assert kinds([*log, update(900, 4, "700.00")])[-1] == "corrected"
    assert kinds([*fell_out(), update(900, 4, "700.00")])[-1] == "too_old"


def test_an_update_outside_of_the_history_is_left_to_what_stands():
    kind, alert = last_outcome([*fell_out(), update(900, 4, "700.00")])
    assert alert is not None
    assert (kind, alert.status, alert.tx_id, alert.position) == ("too_old", "REVISE_IF_STANDING", 4, at(900))
    assert alert.transaction is not None
    assert alert.transaction.amount_cents == 70000


def test_a_delete_outside_of_the_history_is_left_to_what_stands():
    kind, alert = last_outcome([*fell_out(), delete(900, 4)])
    assert alert is not None
    assert (kind, alert.status, alert.tx_id, alert.position) == ("too_old", "RETRACT_IF_STANDING", 4, at(900))


@pytest.mark.parametrize(
    ("change", "left", "kind"),
    [
        (update(900, 4, "700.00"), [revised(4, 70, SEVEN_TIMES)], "corrected"),
        (update(900, 4, "60.00"), [retracted(4, CORRECTED)], "corrected"),
        (update(900, 4, "600.00"), [], "corrected"),
        (delete(900, 4), [retracted(4, DELETED)], "forgotten"),
        (update(900, 1, "700.00"), [], "too_old"),
        (delete(900, 1), [], "too_old"),
        (update(900, 77, "700.00"), [], "too_old"),
    ],
)
def test_what_stands_decides_over_a_change_outside_of_the_history(change, left, kind):
    fold = replay(SPENDING, [*fell_out(), change])
    assert facts(fold.alerts) == [raised(4, 60, SIX_TIMES), *left]
    assert fold.counts == {"judged": 54, kind: 1}


def test_outside_of_the_history_the_last_standing_counts_and_keeps_its_features():
    changes = [update(900, 4, "700.00"), update(901, 4, "700.00"), delete(902, 4), update(903, 4, "800.00")]
    fold = replay(SPENDING, [*fell_out(), *changes, delete(904, 4)])
    assert facts(fold.alerts)[1:] == [revised(4, 70, SEVEN_TIMES), retracted(4, DELETED)]
    assert [alert.features for alert in fold.alerts] == [{"payments": 3, "total_cents": 30000}] * 3
    assert fold.counts == {"judged": 54, "corrected": 2, "forgotten": 1, "too_old": 2}


def test_a_change_outside_of_the_history_leaves_the_history_alone():
    fold = replay(SPENDING, [*fell_out(), update(900, 4, "9.00"), delete(901, 3)])
    assert known(fold) == known(replay(SPENDING, fell_out()))


def conditional(change: Change) -> Alert:
    alert = last_outcome([*fell_out(), change])[1]
    assert alert is not None
    return alert


def test_resolve_gives_nothing_when_nothing_stands_or_it_is_retracted_already():
    first, gone = replay(SPENDING, [*flagged(), delete(9, 4)]).alerts
    for change in (update(900, 4, "700.00"), delete(900, 4)):
        assert resolve(SPENDING, conditional(change), None) is None
        assert resolve(SPENDING, conditional(change), gone) is None
        assert resolve(SPENDING, conditional(change), first) is not None


def test_resolve_takes_position_and_user_of_the_change_and_features_of_what_stands():
    standing = replay(SPENDING, flagged()).alerts[0]
    alert = resolve(SPENDING, conditional(update(900, 4, "700.00", us=NOON_US + HOUR_US)), standing)
    assert alert is not None
    assert (alert.status, alert.score, alert.reason) == ("REVISED", 70, SEVEN_TIMES)
    assert (alert.user_id, alert.tx_id, alert.position, alert.op) == (USER, 4, at(900), "u")
    assert alert.features == standing.features
