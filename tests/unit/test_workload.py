"""The generated load: its shape, its determinism, and that what it promises can be executed."""

import tracemalloc
from collections import Counter
from collections.abc import Iterator
from itertools import islice, pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinpath.detection.corrections import QUICK_US
from twinpath.detection.model import Change, Position, Transaction
from twinpath.detection.population import FIRST_USER, Population
from twinpath.detection.replay import replay
from twinpath.detection.rules import RULES
from twinpath.detection.scenarios import FRAUD, LOOK_ALIKES
from twinpath.detection.workload import (
    MARGIN_US,
    Label,
    Row,
    Unit,
    Workload,
    compression,
    labelled_units,
    labels,
    units,
)

LONG = Workload("labelled", seed=7, rate=500, duration_s=60)
DEMO = Workload("labelled", seed=1, rate=100, duration_s=20)
FIRST_ROW_OF_SEED_1 = Row(1, 1051, 1879, "discover", 80, 1_767_572_401_920_968)


@pytest.fixture(scope="module")
def long_run() -> list[Unit]:
    return list(units(LONG))


@pytest.fixture(scope="module")
def long_labels() -> list[Label]:
    return list(labels(LONG))


def offered(unit: Unit) -> list[Row]:
    """All rows that a unit inserts, whatever becomes of them."""
    return [row for step in unit.steps if step.kind == "insert" for row in step.rows]


def kept(unit: Unit) -> list[Row]:
    """The rows that are there after a unit's end, by PostgreSQL's meaning of the statements."""
    rows: list[Row] = []
    savepoint = 0
    for step in unit.steps:
        if step.kind == "insert":
            rows += step.rows
        elif step.kind == "savepoint":
            savepoint = len(rows)
        elif step.kind == "rollback_to_savepoint":
            rows = rows[:savepoint]
    return rows if unit.outcome == "commit" else []


def change_log(run: list[Unit]) -> Iterator[Change]:
    """The inserts of a run in order of COMMIT, as the detector would read them."""
    lsn = 0
    for unit in sorted(run, key=lambda unit: unit.at_us + unit.hold_us):
        for row in kept(unit):
            lsn += 1
            after = Transaction(row.key, row.user_id, row.amount_cents, row.created_us, row.merchant_id)
            yield Change("c", row.user_id, row.key, Position(0, lsn, lsn), after=after)


def run_of(seed: int, rate: int, duration_s: float) -> list[Unit]:
    return list(units(Workload("labelled", seed, rate, duration_s)))


@pytest.mark.parametrize("profile", ["labelled", "uniform"])
def test_the_same_seed_gives_the_same_units_and_labels_and_another_seed_does_not(profile: str) -> None:
    def fingerprint(seed: int) -> bytes:
        return msgspec.json.encode(list(labelled_units(msgspec.convert(
            {"profile": profile, "seed": seed, "rate": 300, "duration_s": 10}, Workload
        ))))  # fmt: skip

    assert fingerprint(3) == fingerprint(3)
    assert fingerprint(3) != fingerprint(4)


def test_a_known_seed_still_gives_the_row_that_earlier_reports_were_made_from() -> None:
    first = next(units(DEMO))
    assert first == Unit(0, first.steps, "commit")
    assert first.steps[0].rows == (FIRST_ROW_OF_SEED_1,)


def test_rows_are_offered_at_the_rate_and_units_come_in_order_of_time(long_run: list[Unit]) -> None:
    assert all(a.at_us <= b.at_us for a, b in pairwise(long_run))
    rows = 0
    for unit in long_run:
        if offered(unit):
            assert unit.at_us == rows * 1_000_000 // LONG.rate
            rows += len(offered(unit))
    assert rows == LONG.total_rows == 30_000
    assert all(unit.at_us + unit.hold_us <= 60_000_000 for unit in long_run)


def test_keys_count_every_offered_row_in_order(long_run: list[Unit]) -> None:
    assert [row.key for unit in long_run for row in offered(unit)] == list(range(1, 30_001))


def test_each_committed_row_has_one_label_and_no_other_row_has_any(
    long_run: list[Unit], long_labels: list[Label]
) -> None:
    assert [label.key for label in long_labels] == [row.key for unit in long_run for row in kept(unit)]


@pytest.mark.parametrize(("prevalence", "share"), [("default", 0.01), ("realistic", 0.0025), ("rare", 0.0006)])
def test_the_share_of_fraud_is_the_one_asked_for(prevalence: str, share: float) -> None:
    w = msgspec.structs.replace(LONG, prevalence=prevalence, rate=2000)
    found = [label.fraud for label in labels(w)]
    assert sum(found) / len(found) == pytest.approx(share, rel=0.15)


def test_a_long_run_has_every_scenario(long_labels: list[Label]) -> None:
    frauds = {kind.__name__ for kind in FRAUD}
    assert {label.scenario for label in long_labels if label.fraud} == frauds == {
        "stolen_card_burst", "takeover_drift", "card_testing", "enumeration", "compromised_merchant",
    }  # fmt: skip
    honest = {label.scenario for label in long_labels if not label.fraud}
    assert honest == {kind.__name__ for kind in LOOK_ALIKES} | {"ordinary", "spree"}
    assert {label.episode for label in long_labels if label.scenario in ("ordinary", "spree")} == {0}
    scenarios_of: dict[int, set[str]] = {}
    for label in long_labels:
        scenarios_of.setdefault(label.episode, set()).add(label.scenario)
    assert all(len(found) == 1 for episode, found in scenarios_of.items() if episode)


def check_corrections(run: list[Unit], end_us: int) -> Counter[str]:
    """Executes a run by its schedule; a correction may only touch a row that is committed and lives, and a second one
    of a row only one that was quickly corrected before."""
    committed_at: dict[int, int] = {}
    living: dict[int, Row] = {}
    touched: dict[int, int] = {}
    seen: Counter[str] = Counter()
    for unit in run:
        for row in kept(unit):
            committed_at[row.key] = unit.at_us + unit.hold_us
            living[row.key] = row
        for step in unit.steps:
            if step.kind not in ("update", "delete"):
                continue
            key = step.rows[0].key if step.kind == "update" else step.key
            assert key in living
            assert committed_at[key] + MARGIN_US <= unit.at_us < end_us
            if key in touched:
                assert step.kind == "update"
                assert QUICK_US[0] <= unit.at_us - touched.pop(key) <= QUICK_US[1]
                assert (unit.outcome, unit.hold_us) == ("commit", 0)
                seen["corrected twice"] += 1
            touched[key] = unit.at_us
            seen["withdrawn"] += step.kind == "delete" and unit.at_us <= committed_at[key] + MARGIN_US + QUICK_US[1]
            seen[step.kind] += 1
            if step.kind == "update":
                [after], before = step.rows, living[key]
                assert after != before
                living[key] = after if unit.outcome == "commit" else before
                assert (after.merchant_id, after.card_type) == (before.merchant_id, before.card_type)
                seen["changed user"] += after.user_id != before.user_id
                seen["changed time"] += after.created_us != before.created_us
                seen["factor 10"] += max(after.amount_cents, before.amount_cents) >= 9 * min(
                    after.amount_cents, before.amount_cents
                )
            elif unit.outcome == "commit":
                del living[key]
    return seen


def test_corrections_touch_only_rows_that_are_committed_and_alive() -> None:
    w = msgspec.structs.replace(LONG, rate=2000)
    seen = check_corrections(list(units(w)), 60_000_000)
    assert 0.003 < seen["update"] / w.total_rows < 0.006
    assert 0.0003 < seen["corrected twice"] / w.total_rows < 0.0007
    assert 0.0003 < seen["withdrawn"] / w.total_rows < 0.0008
    assert 0.0018 < seen["delete"] / w.total_rows < 0.004
    assert seen["changed user"] >= 1
    assert seen["changed time"] > seen["changed user"]
    assert seen["factor 10"] > seen["changed time"]


@pytest.mark.parametrize("seed", range(7, 12))
@pytest.mark.parametrize(("rate", "duration_s"), [(50, 20.0), (100, 60.0), (500, 60.0)])
def test_every_load_of_a_minute_has_rows_that_come_and_go_and_values_that_do_not_stay(
    seed: int, rate: int, duration_s: float
) -> None:
    seen = check_corrections(run_of(seed, rate, duration_s), round(duration_s * 1_000_000))
    assert seen["corrected twice"] >= 1
    assert seen["withdrawn"] >= 1


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**40),
    rate=st.integers(1, 400),
    duration_s=st.floats(1, 8),
    users=st.none() | st.integers(1, 5000),
    max_hold_s=st.none() | st.floats(0, 60),
)
def test_any_settings_give_a_run_that_can_be_executed(
    seed: int, rate: int, duration_s: float, users: int | None, max_hold_s: float | None
) -> None:
    w = Workload("labelled", seed, rate, duration_s, users=users, max_hold_s=max_hold_s)
    run = list(units(w))
    check_corrections(run, round(duration_s * 1_000_000))
    rows = [row for unit in run for row in offered(unit)]
    assert len(rows) == w.total_rows
    assert all(50 <= row.amount_cents <= 999_900 and 1 <= row.merchant_id <= 500 for row in rows)
    assert all(FIRST_USER <= row.user_id < FIRST_USER + w.user_count for row in rows)
    assert all(len(row.card_type) <= 20 for row in rows)


def test_some_units_are_rolled_back_held_open_rolled_back_in_part_or_large() -> None:
    run = list(units(msgspec.structs.replace(LONG, rate=2000)))
    undone = [unit for unit in run if unit.outcome == "rollback"]
    partly = [unit for unit in run if any(step.kind == "rollback_to_savepoint" for step in unit.steps)]
    large = [unit for unit in run if len(unit.steps) == 1 and len(offered(unit)) > 1]
    held = [unit.hold_us for unit in run if unit.hold_us]
    assert 0.004 < len(undone) / len(run) < 0.006
    assert 0.002 < len(partly) / len(run) < 0.004
    assert 0.015 < len(large) / len(run) < 0.025
    assert 0.0005 < len(held) / len(run) < 0.0025
    assert all(0 < len(kept(unit)) < len(offered(unit)) for unit in partly if unit.outcome == "commit")
    assert {2, 50} <= {len(offered(unit)) for unit in large} <= set(range(2, 51))
    assert 200_000 <= min(held) < max(held) <= 10_000_000


def test_at_most_max_held_transactions_are_open_for_long_at_one_time() -> None:
    w = msgspec.structs.replace(LONG, rate=4000, duration_s=30, max_held=3, max_hold_s=20)
    held = [unit for unit in units(w) if unit.hold_us]
    ends = [(unit.at_us + unit.hold_us, -1) for unit in held]
    together = most = 0
    for _, change in sorted([(unit.at_us, 1) for unit in held] + ends):
        together += change
        most = max(most, together)
    assert most == 3


def test_ties_of_created_at_stand_within_a_commit_and_between_commits(long_run: list[Unit]) -> None:
    stamps = [[row.created_us for row in offered(unit)] for unit in long_run if offered(unit)]
    within = [group for group in stamps if len(group) > 1 and len(set(group)) == 1]
    between = [pair for pair in pairwise(stamps) if len(pair[1]) == 1 and pair[0][-1] == pair[1][0]]
    assert len(within) > 100
    assert len(between) > 50


def test_simulated_time_ascends_but_for_a_few_late_rows_and_passes_at_the_stated_factor(
    long_run: list[Unit],
) -> None:
    times = [row.created_us for unit in long_run if len(offered(unit)) == 1 for row in offered(unit)]
    inversions = sum(b < a for a, b in pairwise(times))
    assert 0 < inversions < 0.01 * len(times)
    assert min(times) >= LONG.start_us
    assert compression(LONG) == 7200
    assert (times[-1] - times[0]) / 60_000_000 == pytest.approx(compression(LONG), rel=0.1)


def test_without_corrections_and_stress_every_unit_is_one_committed_insert() -> None:
    w = msgspec.structs.replace(DEMO, corrections=False, commit_stress=False)
    run = list(units(w))
    assert len(run) == 2000
    assert all(unit.outcome == "commit" and unit.hold_us == 0 and len(kept(unit)) == 1 for unit in run)


@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5, 7, 9, 30])
@pytest.mark.parametrize("duration_s", [5, 20])
def test_even_a_short_run_raises_true_alerts_of_both_rules(seed: int, duration_s: int) -> None:
    w = Workload("labelled", seed, 100, duration_s)
    scenario = {label.key: label.scenario for label in labels(w)}
    changes = list(change_log(list(units(w))))
    velocity = replay(RULES["velocity"], changes).current()
    spending = replay(RULES["spending"], changes).current()
    assert [scenario[key] for key in velocity].count("stolen_card_burst") >= 3
    assert "takeover_drift" in [scenario[key] for key in spending]
    drift = min(key for key in spending if scenario[key] == "takeover_drift")
    assert max(min(velocity), drift) <= w.total_rows / 3


def test_no_honest_look_alike_trips_velocity(long_run: list[Unit], long_labels: list[Label]) -> None:
    fraud = {label.key for label in long_labels if label.fraud}
    alerts = replay(RULES["velocity"], change_log(long_run)).current()
    assert len(alerts) >= 10
    assert set(alerts) <= fraud


def test_users_pay_three_times_a_day_on_average_and_the_busiest_40_times() -> None:
    w = Workload("labelled", seed=2, rate=1000, duration_s=60)
    rows = [row for unit in units(w) for row in offered(unit)]
    days = (rows[-1].created_us - rows[0].created_us) / 86_400_000_000
    per_user = Counter(row.user_id for row in rows)
    assert len(rows) / w.user_count / days == pytest.approx(3, rel=0.05)
    assert 35 < per_user.most_common(1)[0][1] / days < 60  # sprees and episodes come on top
    hours = Counter(row.created_us // 3_600_000_000 % 24 for row in rows)
    assert hours[12] > hours[15] < hours[18] and hours[18] > 5 * hours[3]


def test_the_habits_of_a_user_depend_on_seed_and_user_alone() -> None:
    asked_late = Population(seed=1, users=100, merchants=500)
    for user in range(FIRST_USER, FIRST_USER + 50):
        asked_late.payer(user)
    asked_first = Population(seed=1, users=100, merchants=500)
    assert asked_first.payer(FIRST_USER + 70) == asked_late.payer(FIRST_USER + 70)
    assert asked_first.payer(FIRST_USER + 70) != asked_first.payer(FIRST_USER + 71)


def test_a_million_users_cost_no_memory_at_the_start() -> None:
    w = Workload("labelled", seed=1, rate=1000, duration_s=3600, users=1_000_000)
    tracemalloc.start()
    try:
        first = list(islice(units(w), 1000))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len({row.user_id for unit in first for row in offered(unit)}) > 500
    assert peak_bytes < 8_000_000  # a table of a million users would take more


def test_uniform_is_a_thousand_rows_of_one_stamp_every_half_second() -> None:
    w = Workload("uniform", seed=1, rate=2000, duration_s=5.25)
    run = list(units(w))
    assert [unit.at_us for unit in run] == [500_000 * i for i in range(11)]
    assert [len(kept(unit)) for unit in run] == [1000] * 10 + [500]
    for unit in run:
        assert {row.created_us for row in offered(unit)} == {w.start_us + unit.at_us}
    rows = [row for unit in run for row in offered(unit)]
    assert min(row.user_id for row in rows) in range(1000, 1010)
    assert max(row.user_id for row in rows) in range(9990, 10_000)
    assert all(500 <= row.amount_cents <= 500_000 for row in rows)
    assert list(labels(w)) == []
    assert compression(w) == 1


@pytest.mark.parametrize("wrong", [{"rate": 0}, {"duration_s": 0}, {"users": 0}, {"merchants": 10}])
def test_a_workload_that_cannot_be_generated_is_refused_by_name(wrong: dict[str, int]) -> None:
    name = next(iter(wrong)).replace("users", "user_count")
    with pytest.raises(ValueError, match=f"{name}: found {next(iter(wrong.values()))}, wanted"):
        msgspec.structs.replace(LONG, **wrong)
