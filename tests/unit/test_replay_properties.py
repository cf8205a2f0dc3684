"""Properties of the fold over random change logs, and an independent model of both rules.

A log is drawn as plain numbers and made consistent by `Table`, which plays the part of PostgreSQL and
Debezium: rising positions with ties, row LSNs that run backwards between transactions, users that change,
snapshots, and a re-created source.
"""

import random
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.unit.building import NOON_US, SECOND_US, change, insert
from twinpath.detection.buckets import BucketCodec
from twinpath.detection.model import Alert, Change, Op, Position, Transaction
from twinpath.detection.replay import Replay, replay
from twinpath.detection.rules import RULES, Rule, configured

QUICK = settings(deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink])
"""Without the phase that explains a failure: it takes minutes."""

LAST = 4
SMALL: dict[str, dict[str, Any]] = {
    "spending": {"history": LAST, "minimum_payments": 2, "ratio": 2},
    "velocity": {"history": LAST, "payments": 1},
}
BOTH = pytest.mark.parametrize("rule", [configured(name, SMALL) for name in SMALL], ids=lambda rule: rule.name)
AMOUNTS = (-20_000, 0, 10_000, 16_670, 33_333, 50_000, 50_001, 60_000, 400_000, 400_001, 700_000, 9_000_000)
SECONDS = (-61, -3, 0, 0, 1, 20, 30, 60, 61)
"""A payment's time, seen from the one before it in the log."""


class Step(NamedTuple):
    """What is drawn for one change: numbers that choose among what is possible then."""

    kind: str
    pick: int
    amount_cents: int
    seconds: int
    where: str


KINDS = ("c",) * 6 + ("u",) * 4 + ("d", "move", "again", "snapshot", "recreated")
PLACES = ("next transaction",) * 3 + ("next row", "same position")
STEPS = st.lists(
    st.builds(
        Step,
        st.sampled_from(KINDS),
        st.integers(0, 11),
        st.sampled_from(AMOUNTS),
        st.sampled_from(SECONDS),
        st.sampled_from(PLACES),
    ),
    min_size=20,
    max_size=60,
)


class Table:
    """A table of payments of three users, and the log of its changes."""

    def __init__(self) -> None:
        self.log: list[Change] = []
        self.rows: dict[int, Transaction] = {}
        self._ids = 0
        self._us = NOON_US
        self._position = Position(1, 1000, 1001)
        self._snapshot_lsn = 0
        self._top_lsn = 1001

    def play(self, step: Step) -> None:
        self._us += step.seconds * SECOND_US
        row = self.rows[list(self.rows)[step.pick % len(self.rows)]] if self.rows else None
        if step.kind == "snapshot":
            self._read_snapshot(step.pick)
        elif step.kind == "recreated":
            self._recreate_source()
        elif row is None or step.kind == "c":
            self._ids += 1
            tx_id = -self._ids if step.pick == 0 else self._ids
            self._write(step, "c", Transaction(tx_id, (-5, 1, 2)[step.pick % 3], step.amount_cents, self._us))
        elif step.kind == "d":
            self._write(step, "d", row)
        elif step.kind == "move":
            self._write(step, "d", row)
            user = {-5: 1, 1: 2, 2: -5}[row.user_id]
            moved = Transaction(row.tx_id, user, step.amount_cents, row.created_us)
            self._append("c", self._position, moved)
        else:
            us = self._us if step.pick % 2 else row.created_us
            op: Op = "c" if step.kind == "again" else "u"
            self._write(step, op, Transaction(row.tx_id, row.user_id, step.amount_cents, us))

    def _write(self, step: Step, op: Op, row: Transaction) -> None:
        incarnation, previous, row_lsn = self._position
        written_here = any(one.position == self._position and one.tx_id == row.tx_id for one in self.log)
        if step.where == "next transaction" or (step.where == "same position" and written_here):
            previous = self._top_lsn + 10
            row_lsn = max(self._snapshot_lsn + 1, previous + 5 - 4 * step.pick)  # also before others' rows
        elif step.where == "next row":
            row_lsn += 1
        self._append(op, Position(incarnation, previous, row_lsn), row)

    def _append(self, op: Op, where: Position, row: Transaction) -> None:
        self._position = where
        self._top_lsn = max(self._top_lsn, where.previous_commit_lsn, where.row_lsn)
        self.log.append(change(op, where, row))
        if op == "d":
            del self.rows[row.tx_id]
        else:
            self.rows[row.tx_id] = row

    def _read_snapshot(self, skipped: int) -> None:
        incarnation = self._position.incarnation
        self._snapshot_lsn = self._top_lsn + 10
        where = Position(incarnation, self._snapshot_lsn - 1, self._snapshot_lsn)
        for row in sorted(self.rows.values(), key=lambda row: (row.created_us, row.tx_id))[skipped % 3 :]:
            self.log.append(change("r", where, row))
        self._top_lsn += 20
        self._position = Position(incarnation, self._top_lsn, self._top_lsn + 1)

    def _recreate_source(self) -> None:
        self._position = Position(self._position.incarnation + 1, 1000, 1001)
        self._snapshot_lsn, self._top_lsn = 0, 1001


def log_of(steps: list[Step]) -> list[Change]:
    table = Table()
    for step in steps:
        table.play(step)
    return table.log


LOGS = STEPS.map(log_of)
INSERTS = st.lists(
    st.tuples(st.integers(1, 2), st.sampled_from(AMOUNTS), st.sampled_from(SECONDS)), min_size=10, max_size=60
)


@BOTH
@settings(QUICK, max_examples=100)
@given(LOGS, st.lists(st.tuples(st.integers(0, 200), st.integers(0, 200)), max_size=5))
def test_what_is_sent_again_changes_nothing(rule: Rule, log: list[Change], resends: list[tuple[int, int]]):
    sent: list[Change] = []
    reached = 0
    for upper, back_to in resends:
        until = max(reached, upper % (len(log) + 1))
        sent += log[reached:until]
        reached = min(until, back_to % (len(log) + 1))
    sent += log[reached:]
    fold, oracle = replay(rule, sent), replay(rule, log)
    assert fold.alerts == oracle.alerts
    assert fold.states == oracle.states
    for kind in ("judged", "corrected", "forgotten", "too_old", "conflict"):
        assert fold.counts[kind] == oracle.counts[kind]
    assert oracle.counts["duplicate"] == 0  # nothing that was sent once is taken for a duplicate


@BOTH
@settings(QUICK, max_examples=50)
@given(LOGS)
def test_a_restart_after_every_change_changes_nothing(rule: Rule, log: list[Change]):
    codec = BucketCodec(rule)
    fold, oracle = Replay(rule), Replay(rule)
    for one in log:
        fold.apply(one)
        oracle.apply(one)
        fold.states = codec.decode(codec.encode(fold.states))
        assert fold.states == oracle.states
    assert fold.alerts == oracle.alerts
    assert fold.counts == oracle.counts
    assert codec.encode(fold.states) == codec.encode(oracle.states)


@BOTH
@settings(QUICK, max_examples=100)
@given(LOGS, st.randoms(use_true_random=False))
def test_users_do_not_depend_on_how_their_changes_are_interleaved(rule: Rule, log: list[Change], chance: random.Random):
    queues = {user: [one for one in log if one.user_id == user] for user in (-5, 1, 2)}
    order = [one.user_id for one in log]
    chance.shuffle(order)
    fold, oracle = replay(rule, [queues[user].pop(0) for user in order]), replay(rule, log)
    assert by_key(fold.alerts) == by_key(oracle.alerts)
    assert fold.states == oracle.states
    assert fold.counts == oracle.counts
    assert fold.current() == oracle.current()


@BOTH
@settings(QUICK, max_examples=50)
@given(LOGS)
def test_every_state_is_bounded_and_its_numbers_are_those_of_its_entries(rule: Rule, log: list[Change]):
    fold = Replay(rule)
    for one in log:
        fold.apply(one)
        history = fold.states[one.user_id].history
        ids = [entry.transaction.tx_id for entry in history.entries]
        assert len(ids) == len(set(ids)) <= LAST
        taught = [entry.judged_on is None for entry in history.entries]
        assert taught == [True] * history.taught + [False] * (len(ids) - history.taught)
        if rule.name == "spending":
            assert history.total_cents == sum(entry.transaction.amount_cents for entry in history.entries)  # type: ignore[attr-defined]


# A row that is inserted again or taught again after it fell out is a new one to the fold, whatever stood.
ONCE_LOGS = STEPS.map(lambda steps: log_of([step for step in steps if step.kind not in ("again", "snapshot")]))


@BOTH
@settings(QUICK, max_examples=50)
@given(ONCE_LOGS)
def test_what_stands_in_the_alerts_is_what_the_history_says_of_its_payments(rule: Rule, log: list[Change]):
    fold = replay(rule, log)
    last = {(alert.user_id, alert.tx_id): alert for alert in fold.alerts}
    for user, state in fold.states.items():
        for entry in state.history.entries:
            verdict = rule.logic.verdict(rule.parameters, entry.judged_on, entry.transaction)
            alert = last.get((user, entry.transaction.tx_id))
            standing = alert if alert is not None and alert.status != "RETRACTED" else None
            assert verdict.alert == (standing is not None)
            if standing is not None:
                assert (standing.score, standing.reason) == (verdict.score, verdict.reason)


@BOTH
@settings(QUICK, max_examples=50)
@given(ONCE_LOGS)
def test_the_alerts_of_one_payment_under_one_user_begin_with_raised_and_move_one_step_each(
    rule: Rule, log: list[Change]
):
    last: dict[tuple[int, int], Alert] = {}
    for alert in replay(rule, log).alerts:
        former = last.get((alert.user_id, alert.tx_id))
        stood = former is not None and former.status != "RETRACTED"
        assert (alert.status == "RAISED") == (not stood)
        assert former is None or former.position < alert.position
        assert former is None or (former.score, former.reason) != (alert.score, alert.reason)
        last[alert.user_id, alert.tx_id] = alert


def by_key(alerts: list[Alert]) -> dict[tuple[object, ...], Alert]:
    found = {(alert.user_id, alert.tx_id, alert.position): alert for alert in alerts}
    assert len(found) == len(alerts)
    return found


# An independent model: slow, plain, and with nothing in common with the code under test.


class Payment(NamedTuple):
    tx_id: int
    user: int
    cents: int
    us: int


def written(cents: Fraction) -> str:
    return f"{Decimal(int(cents)) / 100:,.2f}"


def naive_spending(payments: list[Payment], last: int, least: int, ratio: int) -> list[tuple[int, int, str]]:
    found = []
    for index, payment in enumerate(payments):
        before = [one.cents for one in payments[:index] if one.user == payment.user][-last:]
        if len(before) < least or payment.cents <= 50_000:
            continue
        usual = Fraction(sum(before), len(before))
        if payment.cents <= ratio * usual:
            continue
        tenths = payment.cents / usual * 10 // 1 if usual > 0 else 0
        times = f"{tenths // 10}.{tenths % 10} times" if usual > 0 else "far above"
        rounded = (usual + Fraction(1, 2)) // 1
        reason = f"{written(Fraction(payment.cents))} is {times} this user's usual {written(Fraction(rounded))}"
        found.append((payment.tx_id, int(tenths), f"{reason} ({len(before)} payments)"))
    return found


def naive_velocity(payments: list[Payment], last: int, many: int) -> list[tuple[int, int, str]]:
    found = []
    for index, payment in enumerate(payments):
        recent = [one for one in payments[: index + 1] if one.user == payment.user][-last:]
        counted = [one for one in recent if payment.us - 60_000_000 <= one.us <= payment.us]
        score = (40 if len(counted) > many else 0) + (50 if payment.cents > 400_000 else 0)
        if score > 70:
            amount = written(Fraction(payment.cents))
            found.append((payment.tx_id, score, f"{len(counted)} payments within 60 s and {amount} is above 4,000.00"))
    return found


def as_payments(drawn: list[tuple[int, int, int]]) -> list[Payment]:
    us = NOON_US
    payments = []
    for tx_id, (user, cents, seconds) in enumerate(drawn, 1):
        us += seconds * SECOND_US
        payments.append(Payment(tx_id, user, cents, us))
    return payments


def alerts_of(rule: Rule, payments: list[Payment]) -> list[tuple[int, int, str]]:
    log = [insert(one.tx_id, one.tx_id, str(Decimal(one.cents) / 100), user=one.user, us=one.us) for one in payments]
    alerts = replay(rule, log).alerts
    assert {alert.status for alert in alerts} <= {"RAISED"}
    return [(alert.tx_id, alert.score, alert.reason) for alert in alerts]


@settings(QUICK, max_examples=120)
@given(INSERTS)
def test_spending_equals_the_naive_model_for_inserts(drawn: list[tuple[int, int, int]]):
    payments = as_payments(drawn)
    assert alerts_of(configured("spending", SMALL), payments) == naive_spending(payments, LAST, 2, 2)
    assert alerts_of(RULES["spending"], payments) == naive_spending(payments, 50, 3, 3)


@settings(QUICK, max_examples=120)
@given(INSERTS)
def test_velocity_equals_the_naive_model_for_inserts(drawn: list[tuple[int, int, int]]):
    payments = as_payments(drawn)
    assert alerts_of(configured("velocity", SMALL), payments) == naive_velocity(payments, LAST, 1)
    assert alerts_of(RULES["velocity"], payments) == naive_velocity(payments, 64, 5)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_both_rules_equal_the_naive_models_over_histories_longer_than_their_bounds(seed: int):
    chance = random.Random(seed)
    drawn = [
        (chance.randint(1, 4), chance.choice([chance.randint(1, 30_000), *AMOUNTS]), chance.choice([-5, 0, 0, 0, 1, 2]))
        for _ in range(800)
    ]
    payments = as_payments(drawn)
    expected = naive_spending(payments, 50, 3, 3), naive_velocity(payments, 64, 5)
    assert (alerts_of(RULES["spending"], payments), alerts_of(RULES["velocity"], payments)) == expected
    assert min(map(len, expected)) > 20
