"""The rule that docs/adding-a-rule.md adds, at each of its bounds: what that page asks of a rule's test."""

from dataclasses import replace

from tests.added_rule import card_testing
from tests.unit.building import CORRECTED, DELETED, NOON_US, SECOND_US, change, facts, raised, retracted
from twinpath.detection.buckets import BucketCodec
from twinpath.detection.model import Change, Op, Transaction
from twinpath.detection.replay import replay
from twinpath.detection.rules import RULES, Rule

HOUR_US = 3600 * SECOND_US
RULE = Rule("card_testing", 1, "user_id", card_testing, card_testing.Parameters())
REASON = "600.00 after payments up to 5.00 at 3 merchants within 60 min"


def paid(
    number: int, cents: int, merchant: int | None, *, us: int = NOON_US, op: Op = "c", at: int | None = None
) -> Change:
    """A change of payment `number` at position `at`, which is `number` unless given."""
    return change(op, at or number, Transaction(number, 7, cents, us, merchant))


def card_tested(*merchants: int | None, cents: int = 500, us: int = NOON_US, large: int = 600_00) -> list[Change]:
    """A small payment at each merchant, then a large one at merchant 9 at noon."""
    small = [paid(number, cents, merchant, us=us) for number, merchant in enumerate(merchants, 1)]
    return [*small, paid(len(small) + 1, large, 9)]


def alerts(changes: list[Change], rule: Rule = RULE) -> list[tuple[str, int, int, str]]:
    return facts(replay(rule, changes).alerts)


def test_small_payments_at_three_merchants_and_then_a_large_one_are_an_alert():
    assert alerts(card_tested(1, 2, 3)) == [raised(4, 30, REASON)]
    assert alerts(card_tested(1, 2)) == alerts(card_tested(1, 2, 2)) == alerts(card_tested(1, 2, None)) == []


def test_amounts_at_the_bounds():
    assert alerts(card_tested(1, 2, 3, large=500_00)) == []
    assert len(alerts(card_tested(1, 2, 3, large=500_01))) == 1
    assert alerts(card_tested(1, 2, 3, cents=501)) == alerts(card_tested(1, 2, 3, cents=0)) == []
    assert len(alerts(card_tested(1, 2, 3, cents=1))) == 1


def test_payments_exactly_an_hour_older_count_older_or_later_ones_do_not():
    assert len(alerts(card_tested(1, 2, 3, us=NOON_US - HOUR_US))) == 1
    assert alerts(card_tested(1, 2, 3, us=NOON_US - HOUR_US - 1)) == alerts(card_tested(1, 2, 3, us=NOON_US + 1)) == []


def test_payments_past_the_history_are_forgotten():
    short = replace(RULE, parameters=card_testing.Parameters(history=3))
    between = [paid(4, 20_00, 5), paid(5, 600_00, 9)]
    assert alerts([*card_tested(1, 2, 3)[:3], *between], short) == []
    assert len(alerts(card_tested(1, 2, 3), short)) == 1


def test_the_same_event_twice_has_one_effect():
    once = card_tested(1, 2, 3)
    assert alerts([*once, once[-1]]) == alerts(once)


def test_a_correction_flips_the_alert_both_ways_and_a_delete_retracts_it():
    smaller = paid(4, 400_00, 9, op="u", at=5)
    assert alerts([*card_tested(1, 2, 3), smaller]) == [raised(4, 30, REASON), retracted(4, CORRECTED)]
    larger = paid(4, 600_00, 9, op="u", at=5)
    assert alerts([*card_tested(1, 2, 3, large=400_00), larger]) == [raised(4, 30, REASON)]
    assert alerts([*card_tested(1, 2, 3), paid(4, 0, None, op="d", at=5)]) == [
        raised(4, 30, REASON),
        retracted(4, DELETED),
    ]


def test_a_changed_time_counts_anew():
    later = paid(4, 600_00, 9, us=NOON_US + HOUR_US + 1, op="u", at=5)
    assert alerts([*card_tested(1, 2, 3), later]) == [raised(4, 30, REASON), retracted(4, CORRECTED)]


def test_a_snapshot_row_teaches_and_is_not_judged():
    known = [paid(number, 500, number, op="r", at=1) for number in (1, 2, 3)]
    assert alerts([*known, paid(4, 600_00, 9, op="r", at=1)]) == []
    assert alerts([*known, paid(4, 600_00, 9)]) == [raised(4, 30, REASON)]


def test_its_state_survives_a_checkpoint_like_that_of_our_rules():
    users = replay(RULE, card_tested(1, 2, 3)).states
    codec = BucketCodec(RULE)
    assert codec.decode(codec.encode(users)) == users
    assert "card_testing" not in RULES
