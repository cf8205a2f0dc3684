"""The spending rule against the test vectors of its specification, with exact scores and reasons."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.building import (
    CORRECTED,
    DELETED,
    cents,
    delete,
    facts,
    inserts,
    raised,
    retracted,
    revised,
    update,
)
from twinpath.detection.money import money
from twinpath.detection.replay import replay
from twinpath.detection.rules import RULES

SPENDING = RULES["spending"]
USUAL = ["100.00", "100.00", "100.00"]


def alerts_of(*amounts: str) -> list[tuple[str, int, int, str]]:
    return facts(replay(SPENDING, inserts(amounts)).alerts)


def test_the_reason_says_the_amount_the_ratio_the_usual_amount_and_how_many_payments_it_comes_from():
    priors = ["152.20"] * 50
    assert alerts_of(*priors, "640.00") == [
        raised(51, 42, "640.00 is 4.2 times this user's usual 152.20 (50 payments)")
    ]


def test_three_times_the_mean_and_no_more_is_no_alert():
    assert alerts_of("166.70", "166.70", "166.70", "500.10") == []


def test_one_cent_above_three_times_the_mean_is_an_alert():
    assert alerts_of("166.70", "166.70", "166.70", "500.11") == [
        raised(4, 30, "500.11 is 3.0 times this user's usual 166.70 (3 payments)")
    ]


def test_a_mean_that_is_no_whole_cent_is_compared_without_rounding():
    assert alerts_of("333.33", "333.33", "333.34", "1,000.00") == []


def test_one_cent_above_an_uneven_mean_is_an_alert():
    assert alerts_of("333.33", "333.33", "333.34", "1,000.01") == [
        raised(4, 30, "1,000.01 is 3.0 times this user's usual 333.33 (3 payments)")
    ]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(16_667, 9_999_999), min_size=2, max_size=12))
def test_any_amount_is_compared_exactly_at_three_times_any_mean(known):
    last = -sum(known) % (len(known) + 1) + 16_667 * (len(known) + 1)  # makes the mean a whole number of cents
    limit = 3 * (sum(known) + last) // (len(known) + 1)
    priors = [money(amount) for amount in (*known, last)]
    alerts = alerts_of(*priors, money(limit), money(limit + 1))
    assert all(tx_id != len(priors) + 1 for _, tx_id, *_ in alerts)
    assert alerts_of(*priors, money(limit + 1))[-1][:3] == ("RAISED", len(priors) + 1, 30)


def test_the_usual_amount_in_the_reason_is_rounded_half_up():
    assert alerts_of("10.00", "10.00", "10.01", "10.01", "600.00") == [
        raised(5, 599, "600.00 is 59.9 times this user's usual 10.01 (4 payments)")
    ]


@pytest.mark.parametrize("known", [0, 1, 2])
def test_with_fewer_than_three_known_payments_nothing_is_an_alert(known):
    assert alerts_of(*["1.00"] * known, "99,999,999.99") == []


def test_with_three_known_payments_the_fourth_is_judged():
    assert alerts_of("1.00", "1.00", "1.00", "600.00") == [
        raised(4, 6000, "600.00 is 600.0 times this user's usual 1.00 (3 payments)")
    ]


def test_exactly_five_hundred_is_no_alert_however_unusual():
    assert alerts_of("1.00", "1.00", "1.00", "500.00") == []


def test_one_cent_above_five_hundred_is_an_alert_if_unusual():
    assert alerts_of("1.00", "1.00", "1.00", "500.01") == [
        raised(4, 5000, "500.01 is 500.0 times this user's usual 1.00 (3 payments)")
    ]


def test_with_forty_nine_payments_after_it_the_first_still_counts():
    assert alerts_of("10,000.00", *["100.00"] * 49, "500.01") == []


def test_the_fifty_first_prior_drops_the_first():
    assert alerts_of("10,000.00", *["100.00"] * 50, "500.01") == [
        raised(52, 50, "500.01 is 5.0 times this user's usual 100.00 (50 payments)")
    ]


def test_the_largest_amounts_do_not_overflow_and_a_cent_after_them_is_usual():
    assert alerts_of(*["99,999,999.99"] * 50, "0.01") == []


def test_the_largest_amount_after_cents_has_an_exact_score():
    assert alerts_of(*["0.01"] * 50, "99,999,999.99") == [
        raised(51, 99_999_999_990, "99,999,999.99 is 9999999999.0 times this user's usual 0.01 (50 payments)")
    ]


def test_zero_amounts_are_learned_and_a_total_of_zero_scores_zero():
    assert alerts_of("0.00", "0.00", "0.00", "500.01") == [
        raised(4, 0, "500.01 is far above this user's usual 0.00 (3 payments)")
    ]


def test_negative_amounts_are_learned_as_they_are():
    assert alerts_of("-100.00", "100.00", "300.00", "500.00", "600.01") == [
        raised(5, 30, "600.01 is 3.0 times this user's usual 200.00 (4 payments)")
    ]


def test_a_negative_total_scores_zero_and_the_condition_holds_literally():
    assert alerts_of("-100.00", "-100.00", "-100.00", "500.01") == [
        raised(4, 0, "500.01 is far above this user's usual -100.00 (3 payments)")
    ]


def test_a_negative_amount_is_never_an_alert():
    assert alerts_of("-100.00", "-100.00", "-100.00", "-1.00") == []


def test_a_flagged_amount_is_learned_too():
    assert alerts_of(*USUAL, "600.00", "600.00") == [
        raised(4, 60, "600.00 is 6.0 times this user's usual 100.00 (3 payments)")
    ]


def test_a_payment_is_judged_before_it_is_learned():
    # with 600.00 in its own mean it would be 600 * 4 against 3 * 840: no alert
    assert alerts_of("80.00", "80.00", "80.00", "600.00") == [
        raised(4, 75, "600.00 is 7.5 times this user's usual 80.00 (3 payments)")
    ]


def test_the_same_event_twice_has_one_effect():
    once = [*inserts([*USUAL, "600.00"])]
    twice = [again for change in once for again in (change, change)]
    fold, oracle = replay(SPENDING, twice), replay(SPENDING, once)
    assert fold.alerts == oracle.alerts
    assert fold.states == oracle.states
    assert fold.counts == {"judged": 4, "duplicate": 4}


def test_the_alert_carries_what_it_was_judged_on():
    (alert,) = replay(SPENDING, inserts([*USUAL, "600.00"])).alerts
    assert alert.features == {"payments": 3, "total_cents": 30_000}
    assert (alert.rule, alert.rule_version) == ("spending", SPENDING.version)


def test_an_update_of_its_amount_flips_an_alert_both_ways():
    log = [*inserts([*USUAL, "600.00"]), update(10, 4, "60.00"), update(11, 4, "700.00"), update(12, 4, "800.00")]
    assert facts(replay(SPENDING, log).alerts) == [
        raised(4, 60, "600.00 is 6.0 times this user's usual 100.00 (3 payments)"),
        retracted(4, CORRECTED),
        raised(4, 70, "700.00 is 7.0 times this user's usual 100.00 (3 payments)"),
        revised(4, 80, "800.00 is 8.0 times this user's usual 100.00 (3 payments)"),
    ]


def test_an_updated_amount_counts_with_its_new_value_for_later_payments():
    log = [*inserts(["200.00"] * 3), update(10, 1, "100.00"), *inserts(["500.01"], first=11)]
    assert facts(replay(SPENDING, log).alerts) == [
        raised(11, 30, "500.01 is 3.0 times this user's usual 166.67 (3 payments)")
    ]


def test_a_delete_retracts_and_the_payment_is_out_of_the_history():
    log = [*inserts([*USUAL, "600.00"]), delete(10, 4), *inserts(["600.00"], first=11)]
    assert facts(replay(SPENDING, log).alerts) == [
        raised(4, 60, "600.00 is 6.0 times this user's usual 100.00 (3 payments)"),
        retracted(4, DELETED),
        raised(11, 60, "600.00 is 6.0 times this user's usual 100.00 (3 payments)"),
    ]


def test_a_deleted_payment_makes_room_in_the_history_but_does_not_bring_an_older_one_back():
    log = [*inserts(["1.00", *["100.00"] * 50]), delete(60, 51), *inserts(["900.00"], first=61)]
    assert facts(replay(SPENDING, log).alerts) == [
        raised(61, 90, "900.00 is 9.0 times this user's usual 100.00 (49 payments)")
    ]


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0, "0.00"), (5, "0.05"), (-5, "-0.05"), (123456, "1,234.56"), (-123456, "-1,234.56"), (10**10, "100,000,000.00")],
)
def test_money_is_written_with_two_digits_after_the_point(amount, text):
    assert money(amount) == text
    assert cents(text) == amount
