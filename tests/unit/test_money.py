"""Money that left before the alert: hand-made episodes, hand-made delays."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from lab.measure.labels import labelled_payments, read_payments
from lab.measure.latency import Sample
from lab.measure.money import DAY_S, DELAYS_S, Money, Payment, left_cents, money
from lab.operations import LoggedRow, Operation
from lab.report.money import (
    delay_columns,
    first_alert_rows,
    left_rows,
    long,
    markdown_lines,
    quality_rows,
    rule_rows,
    said,
    scenario_rows,
)
from lab.report.words import cents, percent
from twinpath.detection.workload import Label
from twinpath.errors import ConfigurationError

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
SECOND_US = 1_000_000
HOUR_S = 3_600


def paid(tx_id: int, user: int, cents: int, at_s: float, scenario: str = "ordinary", episode: int = 0) -> Payment:
    return Payment(tx_id, user, cents, round(at_s * SECOND_US), scenario, episode)


def alert(tx_id: int, late_s: float, rule: str = "spending") -> Sample:
    return Sample(rule, NOON, late_s * 1000, (None,) * 5, tx_id)


BURST = [paid(number, 7, 200_000, 1_000 + 4 * number, "stolen_card_burst", 1) for number in range(1, 9)]
DRIFT = [paid(10 + number, 8, 60_000, 6 * HOUR_S * number, "takeover_drift", 2) for number in range(4)]
HONEST = [paid(100 + number, 9 + number % 3, 1_000, number * HOUR_S) for number in range(48)]
PAYMENTS = [*BURST, *DRIFT, *HONEST]


def found(samples: list[Sample], payments: list[Payment] = PAYMENTS) -> Money:
    result = money(payments, {"agent": samples}, 60.0)
    assert result is not None
    return result


def test_an_alert_stops_what_the_same_user_pays_later_in_the_episode() -> None:
    assert left_cents(BURST, {6: 0.02}) == 6 * 200_000
    assert left_cents(BURST, {6: 3.9}) == 6 * 200_000
    assert left_cents(BURST, {6: 4.0}) == 7 * 200_000, "at the very moment of the alert a payment still leaves"
    assert left_cents(BURST, {6: 60.0}) == 8 * 200_000
    assert left_cents(DRIFT, {10: 60.0}) == 60_000, "a slow fraud is stopped by a slow path as well"
    assert left_cents(DRIFT, {10: DAY_S}) == 4 * 60_000
    assert left_cents(BURST, {}) == 8 * 200_000


def test_the_alert_that_is_there_first_counts_and_not_that_of_the_first_payment() -> None:
    assert left_cents(BURST, {2: 100.0, 4: 0.0}) == 4 * 200_000


def test_an_alert_stops_neither_other_users_of_the_episode_nor_other_episodes() -> None:
    one, other = (paid(number, number, 100, number, "compromised_merchant", 5) for number in (1, 2))
    again = paid(3, 1, 100, 3, "card_testing", 6)
    assert left_cents([one, other, again], {1: 0.0}) == 300


def test_equal_times_leave_together() -> None:
    same = [paid(number, 7, 100, 5, "stolen_card_burst", 1) for number in range(3)]
    assert left_cents(same, {0: 0.0}) == 300


def test_the_figures_of_a_path_are_those_of_its_alerts() -> None:
    one = found(
        [alert(6, 0.02, "velocity"), alert(7, 0.02, "velocity"), alert(7, 9.0), alert(10, 0.5), alert(100, 1.0)]
    )
    path = one.paths["agent"]
    assert (one.payments, one.fraud_payments, one.episodes, one.prevalence) == (60, 12, 2, 0.2)
    assert one.fraud_cents == 8 * 200_000 + 4 * 60_000
    good = path.quality
    assert (good.payments_alerted, good.precision, good.transaction_recall) == (4, 0.75, 0.25)
    assert good.value_recall == pytest.approx(460_000 / 1_840_000)
    assert (good.false_positive_rate, good.users_with_false_alert, good.episode_recall) == (1 / 48, 1, 1.0)
    assert good.alerts_per_day == pytest.approx(5 / (47 / 24))
    assert (path.left_at_once_cents, path.left_cents) == (1_260_000, 1_260_000)
    assert {each.delay_s: each.cents for each in path.left_after} == {
        0.5: 1_260_000, 10.0: 1_660_000, 60.0: 1_660_000, 600.0: 1_660_000, 3_600.0: 1_660_000, 86_400.0: 1_840_000,
    }  # fmt: skip
    assert path.rules["velocity"].transaction_recall == 2 / 12
    assert path.rules["spending"].precision == pytest.approx(2 / 3)


def test_the_first_alert_of_an_episode_has_a_number_and_seconds() -> None:
    path = found([alert(6, 0.5), alert(8, 0.5)]).paths["agent"]
    burst, drift = path.scenarios["stolen_card_burst"], path.scenarios["takeover_drift"]
    assert (burst.episodes, burst.found, burst.payment_of_alert, burst.seconds_to_alert) == (1, 1, 6, 20.5)
    assert (drift.episodes, drift.found, drift.payment_of_alert, drift.seconds_to_alert) == (1, 0, None, None)
    assert drift.left_cents == drift.cents == 240_000


def test_money_left_grows_with_the_delay_and_ends_at_all_of_it() -> None:
    path = found([alert(6, 0.0), alert(10, 0.0)]).paths["agent"]
    left = [path.left_at_once_cents, *(each.cents for each in path.left_after)]
    assert left == sorted(left)
    assert left[-1] == found([]).paths["agent"].left_cents == 1_840_000
    assert [each.delay_s for each in path.left_after] == list(DELAYS_S)


def test_the_curve_is_that_of_the_first_path_and_passes_through_its_fixed_delays() -> None:
    one = found([alert(6, 0.0), alert(10, 0.0)])
    curve = {each.delay_s: each.cents for each in one.curve}
    assert curve[10.0] == next(each.cents for each in one.paths["agent"].left_after if each.delay_s == 10.0)
    assert list(curve.values()) == sorted(curve.values())


def test_a_stamp_that_goes_backwards_stops_no_payment_that_was_committed() -> None:
    assert found([alert(6, -5.0)]).paths["agent"].scenarios["stolen_card_burst"].left_cents == 6 * 200_000


def test_a_path_without_alerts_loses_everything_and_has_no_precision() -> None:
    path = found([]).paths["agent"]
    assert (path.quality.precision, path.quality.transaction_recall, path.rules) == (None, 0.0, {})


def test_a_load_without_planted_fraud_has_no_figures_of_money() -> None:
    assert money(HONEST, {"agent": []}, 60.0) is None
    assert money([], {"agent": []}, 60.0) is None
    assert markdown_lines({"money": None}) == markdown_lines({}) == []


def test_the_days_are_those_of_the_load_and_so_is_how_fast_they_pass() -> None:
    one = found([])
    assert one.days == pytest.approx(47 / 24)
    assert one.compression == pytest.approx(47 * HOUR_S / 60)


def test_delays_are_named_as_people_say_them() -> None:
    assert delay_columns() == [f"all after {name}" for name in ("0.5 s", "10 s", "60 s", "10 min", "1 h", "24 h")]
    assert [long(seconds) for seconds in (0.02, 287, 9_720, 259_200)] == ["20 ms", "4 min 47 s", "2.7 h", "3.0 days"]


def test_words_and_rows_say_what_the_figures_say() -> None:
    one = money(PAYMENTS, {"agent": [alert(6, 0.02), alert(10, 0.02)], "spark_batch": [alert(6, 45.0)]}, 60.0)
    assert one is not None
    assert said(one) == (
        "Of 18,400.00 in 12 payments of planted fraud this share had left before the first alert: agent 68.5 % and "
        "spark_batch 100.0 %; had every alert come at once it would be 68.5 %."
    )
    assert left_rows(one)[1][:3] == ["spark_batch", "18,400.00", "14,400.00"]
    quality = {row[0]: row[1:] for row in quality_rows(one)}
    assert quality["precision"] == ["100.0 %", "100.0 %"]
    assert quality["found of the fraud's money"] == ["14.1 %", "10.9 %"]
    assert rule_rows(one)["spending"] == quality_rows(one)
    assert scenario_rows(one)[0] == ["stolen_card_burst", "1", "16,000.00", "12,000.00", "16,000.00"]
    assert first_alert_rows(one) == [
        ["stolen_card_burst", "1 of 1: payment 6, 20.0 s", "1 of 1: payment 6, 65.0 s"],
        ["takeover_drift", "1 of 1: payment 1, 20 ms", "0 of 1"],
    ]
    page = "\n".join(markdown_lines({"money": msgspec.to_builtins(one)}))
    assert "| takeover_drift | 1 | 2,400.00 | 600.00 | 2,400.00 |" in page
    assert "| takeover_drift | 1 of 1: payment 1, 20 ms | 0 of 1 |" in page


def inserted(tx_id: int, key: int | None, outcome: str = "committed", op: str = "insert") -> Operation:
    row = LoggedRow(tx_id, 7, 500, 99)
    return Operation(0, 0, 1, 0, op, outcome, tx_id, None, row, key)  # type: ignore[arg-type]


def test_labels_lead_by_the_generators_key_to_committed_rows_as_they_were_inserted() -> None:
    labels = [Label(1, "trip", 4, False), Label(2, "card_testing", 5, True), Label(3, "ordinary", 0, False)]
    operations = [inserted(31, 1), inserted(32, 2), inserted(33, 3, "unknown"), inserted(32, None, op="update")]
    assert labelled_payments(labels, operations, {31, 32}) == [
        Payment(31, 7, 500, 99, "trip", 0), Payment(32, 7, 500, 99, "card_testing", 5),
    ]  # fmt: skip


def test_a_file_of_labels_that_breaks_off_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "operations.jsonl").write_text("")
    (tmp_path / "labels.jsonl").write_text('{"key":1,"scenario":"trip","episode":4,"fraud":false}\n{"key":2,')
    with pytest.raises(ConfigurationError, match=r"labels\.jsonl line 2 is no label"):
        read_payments(tmp_path, set())


def test_money_and_shares_are_written_in_full() -> None:
    assert [cents(amount) for amount in (0, 5, 123_405, -1_250)] == ["0.00", "0.05", "1,234.05", "-12.50"]
    assert [percent(share) for share in (None, 0.0, 0.0006, 0.0075, 0.353, 1.0)] == [
        "-", "0.0 %", "0.06 %", "0.75 %", "35.3 %", "100.0 %",
    ]  # fmt: skip
