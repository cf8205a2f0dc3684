"""The velocity rule against the test vectors of its specification, with exact scores and reasons."""

import pytest

from tests.unit.building import (
    CORRECTED,
    DELETED,
    HOUR_US,
    NOON_US,
    SECOND_US,
    delete,
    facts,
    insert,
    inserts,
    raised,
    retracted,
    revised,
    update,
)
from twinpath.detection.model import Change
from twinpath.detection.replay import replay
from twinpath.detection.rules import RULES

VELOCITY = RULES["velocity"]
MINUTE_US = 60 * SECOND_US
BOTH = "6 payments within 60 s and 5,000.00 is above 4,000.00"


def alerts_of(changes: list[Change]) -> list[tuple[str, int, int, str]]:
    return facts(replay(VELOCITY, changes).alerts)


def small_then_high(known: int, amount: str = "5,000.00", apart_us: int = SECOND_US) -> list[Change]:
    """`known` payments of 5.00, `apart_us` apart, then one of `amount`."""
    return inserts([*["5.00"] * known, amount], apart_us=apart_us)


def timed(*seconds: float, amount: str = "5,000.00") -> list[Change]:
    """Payments in the order of the log, `seconds` after noon."""
    rows = [(tx_id, NOON_US + round(second * SECOND_US)) for tx_id, second in enumerate(seconds, 1)]
    return [insert(tx_id, tx_id, amount, us=us) for tx_id, us in rows]


def test_the_sixth_payment_within_a_minute_is_an_alert_if_it_is_high():
    assert alerts_of(small_then_high(5)) == [raised(6, 90, BOTH)]


def test_five_payments_within_a_minute_are_not_many():
    assert alerts_of(small_then_high(4)) == []


def test_exactly_four_thousand_is_not_high():
    assert alerts_of(small_then_high(5, "4,000.00")) == []


def test_one_cent_above_four_thousand_is_high():
    assert alerts_of(small_then_high(5, "4,000.01")) == [
        raised(6, 90, "6 payments within 60 s and 4,000.01 is above 4,000.00")
    ]


def test_many_payments_without_a_high_one_are_no_alert():
    assert alerts_of(inserts(["10.00"] * 30, apart_us=0)) == []


def test_high_payments_that_are_not_many_are_no_alert():
    assert alerts_of(inserts(["99,999,999.99"] * 30, apart_us=MINUTE_US)) == []


def test_of_six_rows_with_one_time_the_sixth_is_the_first_alert():
    assert alerts_of(inserts(["5,000.00"] * 7, apart_us=0)) == [
        raised(6, 90, BOTH),
        raised(7, 90, "7 payments within 60 s and 5,000.00 is above 4,000.00"),
    ]


def test_a_row_exactly_sixty_seconds_older_counts():
    assert alerts_of(timed(0, 1, 2, 3, 4, 60)) == [raised(6, 90, BOTH)]


def test_a_row_one_microsecond_more_than_sixty_seconds_older_does_not_count():
    assert alerts_of(timed(0, 1, 2, 3, 4, 60.000001)) == []


def test_zero_and_negative_amounts_are_payments_like_others():
    amounts = ["0.00", "-5.00", "0.00", "-99,999,999.99", "0.00", "5,000.00"]
    assert alerts_of(inserts(amounts, apart_us=0)) == [raised(6, 90, BOTH)]


def test_the_largest_amounts_are_written_out_and_a_cent_among_them_is_not_high():
    assert alerts_of(inserts([*["99,999,999.99"] * 6, "0.01"], apart_us=0)) == [
        raised(6, 90, "6 payments within 60 s and 99,999,999.99 is above 4,000.00")
    ]


@pytest.mark.parametrize(("known", "counted"), [(62, 63), (63, 64), (64, 64), (65, 64), (200, 64)])
def test_never_more_than_the_last_sixty_four_payments_are_counted(known, counted):
    assert alerts_of(small_then_high(known, apart_us=0)) == [
        raised(known + 1, 90, f"{counted} payments within 60 s and 5,000.00 is above 4,000.00")
    ]


def test_the_sixty_fifth_payment_drops_the_first():
    (state,) = replay(VELOCITY, small_then_high(64)).states.values()
    assert [entry.transaction.tx_id for entry in state.history.entries] == list(range(2, 66))


@pytest.mark.parametrize(("between", "expected"), [(58, [raised(64, 90, BOTH)]), (59, [])])
def test_the_last_payments_are_the_last_by_position_whatever_their_time(between, expected):
    early = inserts(["5.00"] * 5, apart_us=0)
    later = inserts(["5.00"] * between, first=6, us=NOON_US + HOUR_US)
    late = insert(6 + between, 6 + between, "5,000.00", us=NOON_US + SECOND_US)
    assert alerts_of([*early, *later, late]) == expected


def test_a_late_row_is_counted_in_its_own_window_over_the_rows_already_seen():
    # five rows around noon, one an hour later, then a late one of noon
    assert alerts_of(timed(0, 1, 2, 3, 4, 3600, 5)) == [raised(7, 90, BOTH)]


def test_a_late_row_does_not_count_rows_that_are_later_than_itself():
    assert alerts_of(timed(10, 11, 12, 13, 14, 9)) == []


def test_rows_after_a_late_one_still_count_the_rows_before_it():
    assert alerts_of(timed(100, 101, 102, 0, 103, 104, 105)) == [raised(7, 90, BOTH)]


def test_payments_are_counted_up_to_the_same_microsecond():
    assert alerts_of(timed(0, 0, 0, 0, 60, 60)) == [raised(6, 90, BOTH)]


def test_the_same_event_twice_has_one_effect():
    once = small_then_high(5)
    fold = replay(VELOCITY, [again for change in once for again in (change, change)])
    assert facts(fold.alerts) == [raised(6, 90, BOTH)]
    assert fold.states == replay(VELOCITY, once).states
    assert fold.counts == {"judged": 6, "duplicate": 6}


def test_the_alert_carries_what_it_was_judged_on():
    (alert,) = replay(VELOCITY, small_then_high(5)).alerts
    assert alert.features == {"payments_in_window": 6}


def test_an_update_of_its_amount_flips_an_alert_both_ways():
    us = NOON_US + 6 * SECOND_US
    changes = [
        *small_then_high(5),
        update(10, 6, "50.00", us=us),
        update(11, 6, "6,000.00", us=us),
        update(12, 6, "6,000.01", us=us),
    ]
    assert alerts_of(changes) == [
        raised(6, 90, BOTH),
        retracted(6, CORRECTED),
        raised(6, 90, "6 payments within 60 s and 6,000.00 is above 4,000.00"),
        revised(6, 90, "6 payments within 60 s and 6,000.01 is above 4,000.00"),
    ]


def test_a_changed_time_counts_again_over_the_payments_kept_before_it():
    changes = [
        *timed(0, 1, 2, 3, 4, 5, 6),
        update(10, 7, "5,000.00", us=NOON_US + 61 * SECOND_US),
        update(11, 7, "5,000.00", us=NOON_US + 62 * SECOND_US),
        update(12, 7, "5,000.00", us=NOON_US),
        update(13, 7, "5,000.00", us=NOON_US + 60 * SECOND_US),
    ]
    assert alerts_of(changes) == [
        raised(6, 90, BOTH),
        raised(7, 90, "7 payments within 60 s and 5,000.00 is above 4,000.00"),
        revised(7, 90, BOTH),
        retracted(7, CORRECTED),
        raised(7, 90, "7 payments within 60 s and 5,000.00 is above 4,000.00"),
    ]


def test_a_changed_time_does_not_count_payments_that_came_after_it_in_the_log():
    changes = [*timed(0, 1, 2, 3, 4, 5), update(10, 3, "5,000.00", us=NOON_US + 5 * SECOND_US)]
    assert alerts_of(changes) == [raised(6, 90, BOTH)]


def test_a_changed_amount_keeps_the_count_it_had_though_a_counted_payment_is_gone():
    changes = [*timed(0, 1, 2, 3, 4, 5), delete(10, 1), update(11, 6, "6,000.00", us=NOON_US + 5 * SECOND_US)]
    assert alerts_of(changes) == [
        raised(6, 90, BOTH),
        revised(6, 90, "6 payments within 60 s and 6,000.00 is above 4,000.00"),
    ]


def test_a_changed_time_counts_a_window_that_misses_the_deleted_payment():
    changes = [*timed(0, 1, 2, 3, 4, 5), delete(10, 1), update(11, 6, "5,000.00", us=NOON_US + 6 * SECOND_US)]
    assert alerts_of(changes) == [raised(6, 90, BOTH), retracted(6, CORRECTED)]


def test_a_payment_moved_in_time_is_counted_at_its_new_time_by_later_ones():
    out_of_order = update(5, 1, "5.00", us=NOON_US + 99 * SECOND_US)
    late = [insert(tx_id, tx_id, "5,000.00", us=NOON_US + 100 * SECOND_US) for tx_id in range(6, 10)]
    # in the window of 100 s lie the moved one (99 s) and those of 50 s and 51 s; the one of 2 s is older
    changes = [*timed(0, 2, 50, 51, amount="5.00"), out_of_order, *late]
    assert alerts_of(changes) == [
        raised(8, 90, BOTH),
        raised(9, 90, "7 payments within 60 s and 5,000.00 is above 4,000.00"),
    ]


def test_a_delete_retracts_and_the_payment_is_out_of_the_window():
    changes = [*timed(0, 1, 2, 3, 4, 5), delete(10, 6), insert(11, 11, "5,000.00", us=NOON_US + 6 * SECOND_US)]
    assert alerts_of(changes) == [raised(6, 90, BOTH), retracted(6, DELETED), raised(11, 90, BOTH)]


def test_no_clock_forgets_a_payment():
    years_later = insert(6, 6, "5.00", us=NOON_US + 100_000 * HOUR_US)
    late = insert(7, 7, "5,000.00", us=NOON_US + 5 * SECOND_US)
    assert alerts_of([*timed(0, 1, 2, 3, 4, amount="5.00"), years_later, late]) == [raised(7, 90, BOTH)]
