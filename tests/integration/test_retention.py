"""`twinpath prune` on a real alert store: what is old goes, what is young, active or unknown stays."""

from datetime import UTC, datetime, timedelta

import pytest

from lab.retention import VERSIONED, Wanted, prune
from tests.conftest import Line
from tests.integration.test_alert_store import raised
from twinpath.alert_rows import DeadLetter, PartitionKey, StampedAlert, Stamps, StatePart
from twinpath.alert_store import AlertStore
from twinpath.detection.model import Alert
from twinpath.detection.rules import RULES, Rule, configured
from twinpath.errors import EnvironmentFault
from twinpath.rule_versions import RuleVersions

pytestmark = pytest.mark.integration
SPENDING = RULES["spending"]
OTHER = configured("spending", {"spending": {"ratio": 4}})
NEWER = configured("spending", {"spending": {"ratio": 5}})
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
MONTH = timedelta(days=30)
LETTER = DeadLetter(0, 5, "amount: found nothing", b"key", b"value")


def dsn(line: Line, role: str = "twinpath_lab") -> str:
    return line.stack.credentials.alerts_dsn(line.settings, role)


def store(line: Line, alerts: list[StampedAlert], rule: Rule = SPENDING, letters: tuple[DeadLetter, ...] = ()) -> None:
    one = AlertStore(dsn(line, "twinpath_alerts"), "agent")
    one.write(rule, alerts, list(letters), "topic-a")
    one.close()


def stamped(tx_id: int, days_ago: float | None, **changes: object) -> StampedAlert:
    if days_ago is None:
        return StampedAlert(raised(tx_id, 20 + tx_id, **changes))
    at = NOW - timedelta(days=days_ago)
    return StampedAlert(raised(tx_id, 20 + tx_id, **changes), Stamps(committed_us=int(at.timestamp() * 1_000_000)))


def write(line: Line, statement: str, *values: object) -> None:
    session = line.session("twinpath_lab", line.settings.alerts_database)
    with session, session.cursor() as cursor:
        cursor.execute(statement, values)


def stored_ids(line: Line) -> list[int]:
    return [tx_id for (tx_id,) in line.rows("SELECT tx_id::int FROM alert_log ORDER BY tx_id")]


def test_alerts_of_changes_that_were_committed_before_the_age_are_removed(store_line: Line) -> None:
    store(store_line, [stamped(1, 40), stamped(2, 30.1), stamped(3, 29.9), stamped(4, 0), stamped(5, None)])
    wanted = Wanted(MONTH, alerts=True)
    said = prune(dsn(store_line), wanted, NOW, do_it=False)
    assert said == ["2 rows of alert_log from before 2026-10-24 12:00 UTC"]
    assert stored_ids(store_line) == [1, 2, 3, 4, 5]
    assert prune(dsn(store_line), wanted, NOW, do_it=True) == said
    assert stored_ids(store_line) == [3, 4, 5], "an alert of unknown age stays"
    assert prune(dsn(store_line), wanted, NOW, do_it=True) == ["0 rows of alert_log from before 2026-10-24 12:00 UTC"]


def test_a_correction_of_a_row_whose_alert_was_pruned_finds_nothing_standing(store_line: Line) -> None:
    store(store_line, [stamped(1, 40), stamped(2, 10)])
    prune(dsn(store_line), Wanted(MONTH, alerts=True), NOW, do_it=True)
    one = AlertStore(dsn(store_line, "twinpath_alerts"), "agent")
    conditionals: list[Alert] = [
        raised(tx_id, 90, op="d", status="RETRACT_IF_STANDING", score=0, reason="", features={}) for tx_id in (1, 2)
    ]
    written = one.write(SPENDING, [StampedAlert(alert) for alert in conditionals], [], "topic-a")
    one.close()
    assert (written.stored, dict(written.resolved)) == (1, {"forgotten": 1})
    assert store_line.rows("SELECT tx_id::int, status FROM alert_log ORDER BY row_lsn") == [
        (2, "RAISED"),
        (2, "RETRACTED"),
    ]


def test_dead_letters_that_were_recorded_before_the_age_are_removed_and_no_alerts(store_line: Line) -> None:
    store(store_line, [stamped(1, 40)], letters=(LETTER,))
    write(store_line, "UPDATE dead_letters SET recorded_at = %s", NOW - timedelta(days=31))
    young = DeadLetter(0, 6, "amount: found nothing", None, None)
    store(store_line, [], letters=(young,))
    write(store_line, "UPDATE dead_letters SET recorded_at = %s WHERE kafka_offset = 6", NOW - timedelta(days=29))
    said = prune(dsn(store_line), Wanted(MONTH, dead_letters=True), NOW, do_it=True)
    assert said == ["1 rows of dead_letters from before 2026-10-24 12:00 UTC"]
    assert store_line.rows("SELECT kafka_offset::int FROM dead_letters") == [(6,)]
    assert stored_ids(store_line) == [1]


def fill(line: Line, rule: Rule, tx_id: int, activated_days_ago: float | None) -> None:
    """One alert, dead letter and checkpoint of a version; activated so long ago, or never noted."""
    store(line, [stamped(tx_id, 0, rule_version=rule.version)], rule, (LETTER,))
    key = PartitionKey("spending", rule.version, "topic-a", 0)
    one = AlertStore(dsn(line, "twinpath_alerts"), "agent")
    one.save(key, one.take(key, 4, 64).epoch, 10, [StatePart(3, 0, b"state")], {"judged": 10})
    one.close()
    names = ["agent", "spending", rule.version]
    write(line, "INSERT INTO batch_runs VALUES (%s, %s, %s, 'source', 1, '5:5:') ON CONFLICT DO NOTHING", *names)
    write(
        line, "INSERT INTO batch_progress VALUES (%s, %s, %s, 'source', 1, 5, 5, '', '') ON CONFLICT DO NOTHING", *names
    )
    if activated_days_ago is not None:
        RuleVersions(dsn(line, "twinpath_alerts"), "agent").activate(rule, {})
        at = NOW - timedelta(days=activated_days_ago)
        write(line, "UPDATE rule_activations SET activated_at = %s WHERE number = "
              "(SELECT max(number) FROM rule_activations)", at)  # fmt: skip


def kept(line: Line) -> dict[str, set[str]]:
    """The versions that each table still holds."""
    return {
        table: {version for (version,) in line.rows(f"SELECT DISTINCT rule_version FROM {table}")}
        for table in VERSIONED
    }


def test_superseded_versions_go_with_all_that_was_kept_of_them(store_line: Line) -> None:
    for tx_id, (rule, days) in enumerate([(SPENDING, 50), (OTHER, 20), (NEWER, 5)], 1):
        fill(store_line, rule, tx_id, days)
    counts = "1 of alert_log, 1 of dead_letters, 1 of state_buckets, 1 of counters, 1 of checkpoints"
    counts += ", 1 of batch_progress, 1 of batch_runs"
    said = [f"superseded version agent spending {rule.version}: {counts}, 1 of rule_activations"
            for rule in (SPENDING, OTHER)]  # fmt: skip
    assert prune(dsn(store_line), Wanted(MONTH, superseded=True), NOW, do_it=True) == []
    assert prune(dsn(store_line), Wanted(None, superseded=True), NOW, do_it=False) == sorted(said)
    assert kept(store_line) == dict.fromkeys(VERSIONED, {SPENDING.version, OTHER.version, NEWER.version})
    assert prune(dsn(store_line), Wanted(timedelta(days=19), superseded=True), NOW, do_it=True) == said[:1]
    assert kept(store_line) == dict.fromkeys(VERSIONED, {OTHER.version, NEWER.version})
    assert prune(dsn(store_line), Wanted(None, superseded=True), NOW, do_it=True) == said[1:]
    assert kept(store_line) == dict.fromkeys(VERSIONED, {NEWER.version})


def test_a_version_that_came_back_is_active_and_stays(store_line: Line) -> None:
    for tx_id, (rule, days) in enumerate([(SPENDING, 50), (OTHER, 40), (SPENDING, 35)], 1):
        fill(store_line, rule, tx_id, days)
    prune(dsn(store_line), Wanted(MONTH, superseded=True), NOW, do_it=True)
    assert kept(store_line) == dict.fromkeys(VERSIONED, {SPENDING.version})


def test_a_version_of_before_versions_were_noted_is_superseded_and_one_without_a_successor_is_not(
    store_line: Line,
) -> None:
    fill(store_line, OTHER, 1, None)
    assert prune(dsn(store_line), Wanted(None, superseded=True), NOW, do_it=True) == []
    fill(store_line, SPENDING, 2, 10)
    assert prune(dsn(store_line), Wanted(timedelta(days=11), superseded=True), NOW, do_it=True) == []
    prune(dsn(store_line), Wanted(timedelta(days=9), superseded=True), NOW, do_it=True)
    assert kept(store_line) == dict.fromkeys(VERSIONED, {SPENDING.version})


def test_a_role_that_may_not_remove_is_told_which_one_may(store_line: Line) -> None:
    store(store_line, [stamped(1, 40)])
    with pytest.raises(EnvironmentFault, match="member of twinpath_owner"):
        prune(dsn(store_line, "twinpath_alerts"), Wanted(MONTH, alerts=True), NOW, do_it=True)
    assert stored_ids(store_line) == [1]
