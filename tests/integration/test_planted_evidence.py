"""What the real alert store holds, altered in one place: the verdict turns to fail and names path and transaction."""

from contextlib import closing
from typing import Any

import psycopg2
import pytest

from lab.measure import reference, verdict
from lab.measure.verdict import RuleEvidence
from lab.report.summary import build
from tests.conftest import Line
from tests.unit.planted_evidence import BURST, CHEAP, COMMITS, DEAR, OPERATIONS, run_with
from twinpath.alert_rows import PartitionKey, StampedAlert, StatePart
from twinpath.alert_store import AlertStore
from twinpath.detection.buckets import BucketCodec
from twinpath.detection.replay import Replay
from twinpath.detection.rules import RULES

pytestmark = pytest.mark.integration
TOPIC = "topic-a"


def keep(line: Line, done: Replay, *, without: int | None = None) -> None:
    """Store what a fold led to as an agent would; without the state of one user, when asked."""
    rule, states = done.rule, {user: state for user, state in done.states.items() if user != without}
    key = PartitionKey(rule.name, rule.version, TOPIC, 0)
    with closing(AlertStore(line.stack.credentials.alerts_dsn(line.settings), "agent")) as store:
        store.write(rule, [StampedAlert(alert) for alert in done.alerts], [], TOPIC)
        epoch = store.take(key, 1, 1).epoch
        parts = [StatePart(0, 0, BucketCodec(rule).encode(states))]
        store.save(key, epoch, len(OPERATIONS), parts, done.counts)


def missed(line: Line) -> dict[str, dict[str, Any]]:
    """The goals that are missed with what the store holds of the agents, and the transactions that each names."""
    by_log = reference.fold(list(RULES.values()), reference.ordered(OPERATIONS, COMMITS, {}))
    dsn = line.stack.credentials.dsn("twinpath_lab", line.settings.alerts_database)
    run = run_with("")
    with closing(psycopg2.connect(dsn)) as session:
        found: list[RuleEvidence] = [
            verdict.gather(session, rule, by_log[name], by_log[name]) for name, rule in RULES.items()
        ]
    run.compared.log_fed["agent"] = found
    summary = build(run, {})
    assert summary["verdict"] == ("pass" if all(goal["ok"] for goal in summary["goals"]) else "fail")
    return {goal["id"]: goal.get("transactions", {}) for goal in summary["goals"] if not goal["ok"]}


def kept(line: Line) -> None:
    folds = reference.fold(list(RULES.values()), reference.ordered(OPERATIONS, COMMITS, {}))
    for done in folds.values():
        keep(line, done)


def alter(line: Line, statement: str) -> None:
    with closing(line.scope.open_as_lab(line.settings.alerts_database)) as session, session.cursor() as cursor:
        cursor.execute(statement)
        assert cursor.rowcount == 1


def test_what_was_stored_as_it_is_passes(store_line: Line) -> None:
    kept(store_line)
    assert missed(store_line) == {}


def test_a_score_that_is_one_off_names_rule_and_transaction(store_line: Line) -> None:
    kept(store_line)
    alter(store_line, f"UPDATE alert_log SET score = score + 1 WHERE rule = 'spending' AND tx_id = {DEAR}")
    named = {"agent spending": [DEAR]}
    assert missed(store_line) == {"topic": named, "log": named}


def test_an_alert_that_is_gone_names_rule_and_transaction(store_line: Line) -> None:
    kept(store_line)
    alter(store_line, "DELETE FROM alert_log WHERE rule = 'velocity'")
    named = {"agent velocity": [BURST[-1]]}
    assert missed(store_line) == {"topic": named, "log": named}


def test_a_state_that_lacks_a_user_names_the_users_transactions(store_line: Line) -> None:
    folds = reference.fold(list(RULES.values()), reference.ordered(OPERATIONS, COMMITS, {}))
    keep(store_line, folds["spending"], without=7)
    keep(store_line, folds["velocity"])
    assert missed(store_line) == {"state": {"agent spending": [*CHEAP, DEAR]}}


def test_a_row_that_was_not_counted_fails_the_count(store_line: Line) -> None:
    kept(store_line)
    alter(store_line, "UPDATE counters SET value = value - 1 WHERE rule = 'velocity' AND name = 'judged'")
    assert missed(store_line) == {"complete": {}}
