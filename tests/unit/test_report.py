"""The summary and its figures: empty runs, differences, percentiles, what is left out."""

from datetime import UTC, datetime, timedelta

import pytest

from lab.load import LoadResult
from lab.measure.agreement import Difference, compare, compare_log
from lab.measure.latency import Sample, hop_medians, outside, percentiles
from lab.measure.verdict import Evidence, RuleEvidence
from lab.report import summary as report
from twinpath.detection.model import Alert, Position

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
EQUAL = Difference([], [])


def alert(tx_id: int, status: str, row_lsn: int, score: int = 40, op: str = "c") -> Alert:
    position = Position(1, 1, row_lsn)
    return Alert("spending", "1-x", 7, tx_id, position, op, status, score, "reason", {})


def evidence(**changes: object) -> Evidence:
    rule = RuleEvidence(
        rule="spending",
        version="1-x",
        alerts=3,
        counters={"judged": 100, "duplicate": 4, "alerts_refused": 1},
        dead_letters=0,
        against_topic=EQUAL,
        against_log=EQUAL,
        differing_users=[],
        differing_histories=[],
        reference_alerts=3,
    )
    rule_changes = {name: value for name, value in changes.items() if hasattr(rule, name)}
    for name, value in rule_changes.items():
        setattr(rule, name, value)
    load = LoadResult(offered_rate=500.0, achieved_rate=498.0, seconds=60.0)
    load.rows.update(inserted=100, updated=2, deleted=1, rolled_back=5)
    whole = Evidence(
        run_id="abc123",
        seed=7,
        began=NOON,
        finished=NOON + timedelta(seconds=80),
        profile="labelled",
        duration_s=60.0,
        load=load,
        records=103,
        committed_inserts=100,
        key_changes=0,
        rules=[rule],
        killed=[("agent spending", NOON), ("connect", NOON)],
        kills_wanted=2,
        usage={"spending": (1.5, 60.0), "velocity": (1.0, 61.0)},
        left_out=[(NOON - timedelta(seconds=60), timedelta(seconds=10)), (NOON, timedelta(seconds=15))],
        alerts_dsn="",
    )
    for name in changes.keys() - rule_changes.keys():
        setattr(whole, name, changes[name])
    return whole


def failed(found: dict) -> list[str]:
    return [goal["id"] for goal in found["goals"] if not goal["ok"]]


def test_a_run_without_a_difference_passes() -> None:
    found = report.build(evidence(), [])
    assert (found["verdict"], failed(found)) == ("pass", [])
    assert found["paths"]["agent"]["duplicates_suppressed"] == 5


@pytest.mark.parametrize(
    ("goal", "changes"),
    [
        ("complete", {"counters": {"judged": 99, "duplicate": 1}}),
        ("complete", {"counters": {"judged": 101, "duplicate": 1}}),
        ("topic", {"against_topic": Difference([(1, "RAISED", 40, "r")], [])}),
        ("log", {"against_log": Difference([], [(1, "RAISED", 40, "r")])}),
        ("state", {"differing_users": [7]}),
        ("dead_letters", {"dead_letters": 1}),
        ("duplicates", {"counters": {"judged": 100, "alerts_refused": 3}}),
        ("once", {"counters": {"judged": 99, "conflict": 1, "duplicate": 1}}),
        ("history", {"differing_histories": [7]}),
        ("tested", {"reference_alerts": 0}),
        ("complete", {"rules": []}),
        ("faults", {"killed": [("connect", NOON)]}),
        ("faults", {"killed": []}),
    ],
)
def test_each_thing_that_can_go_wrong_fails_the_verdict(goal: str, changes: dict) -> None:
    found = report.build(evidence(**changes), [])
    assert found["verdict"] == "fail"
    assert goal in failed(found)
    assert "MISSED" in report.markdown(found)


def test_differences_are_named_with_their_transactions() -> None:
    found = report.build(evidence(against_log=Difference([(17, "RAISED", 41, "because")], [])), [])
    assert found["paths"]["agent"]["missing"] == found["paths"]["agent"]["unexplained"] == 1
    assert "only in replay of the operation log: transaction 17, RAISED, score 41: because" in report.markdown(found)


def test_a_run_without_alerts_or_faults_gives_a_clear_page() -> None:
    quiet = evidence(alerts=0, killed=[], kills_wanted=0, left_out=[(NOON, timedelta(seconds=10))])
    page = report.markdown(report.build(quiet, []))
    assert "| all rows | 0 | - | - | - | - |" in page
    assert "| without the first 10 s | 0 | - | - | - | - |" in page


def test_percentiles_come_from_raw_samples_and_p99_needs_a_thousand() -> None:
    few = percentiles([float(number) for number in range(1, 101)])
    assert (few.n, few.p50, few.p90, few.p99, few.max) == (100, 50.5, 90.1, None, 100.0)
    assert percentiles([1.0] * 1000).p99 == 1.0
    assert percentiles([]).p50 is None
    assert percentiles([-5.0]).p50 == -5.0, "a negative latency is shown, not clipped"


def test_samples_after_a_kill_can_be_left_out() -> None:
    samples = [
        Sample("spending", NOON + timedelta(seconds=at), 10.0, (1.0, 2.0, None, 3.0, 4.0)) for at in (-1, 0, 15, 16)
    ]
    kept = outside(samples, [(NOON, timedelta(seconds=15))])
    assert [(one.changed_at - NOON).total_seconds() for one in kept] == [-1, 16]
    assert hop_medians(samples)["broker to agent"] is None
    assert hop_medians([])["agent decides"] is None


def test_finals_compare_the_last_standing_and_the_log_compares_every_alert() -> None:
    raised, retracted = alert(1, "RAISED", 10), alert(1, "RETRACTED", 20, score=0, op="u")
    assert compare([raised, retracted], [retracted]).equal
    different = compare_log([raised, retracted], [retracted])
    assert different.extra == [(1, "RAISED", 40, "reason")]
    assert compare([raised], [retracted]).missing == [(1, "RETRACTED", 0, "reason")]
    assert not compare([], [raised]).equal
