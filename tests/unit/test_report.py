"""The summary and its figures: empty runs, differences, percentiles, what is left out."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from lab.batch_side import BatchRun, parts
from lab.beside import BesideFound
from lab.load import LoadResult
from lab.measure.agreement import Difference, compare, compare_log
from lab.measure.batch import BatchPath, BatchRule
from lab.measure.causes import Explained
from lab.measure.comparison import Compared
from lab.measure.evidence import Evidence
from lab.measure.latency import Sample, between, hop_medians, percentiles
from lab.measure.operation_classes import Classes
from lab.measure.verdict import RuleEvidence
from lab.report import summary as report
from lab.temperature_side import Average
from twinpath.batch_summary import BatchSummary
from twinpath.detection.model import Alert, Position

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
EQUAL = Difference([], [])
UPDATES = [(1, 900, 0), (1, 901, 0)]
CLASSES = Classes(
    inserts=frozenset(range(100)),
    updates=frozenset(UPDATES),
    middle_updates=frozenset(UPDATES[:1]),
    deletes=frozenset({2}),
    born_and_died=frozenset({2}),
    late_commits=frozenset({3, 4}),
    same_stamps=frozenset({5, 6, 7}),
    rolled_back=frozenset(range(100, 104)),
    rolled_back_writes=5,
)


def alert(tx_id: int, status: str, row_lsn: int, score: int = 40, op: str = "c") -> Alert:
    position = Position(1, 1, row_lsn)
    return Alert("spending", "1-x", 7, tx_id, position, op, status, score, "reason", {})


def evidence(**changes: object) -> Evidence:
    rule = RuleEvidence(
        path="agent",
        rule="spending",
        version="1-x",
        alerts=3,
        counters={"judged": 100, "corrected": 2, "forgotten": 1, "duplicate": 4, "alerts_refused": 1},
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
        compared=Compared({"agent": [rule]}, [], CLASSES, 100, 0),
        beside=None,
        killed=[("agent spending", NOON), ("connect", NOON)],
        kills_wanted=2,
        usage={"agent": [(1.5, 60.0), (1.0, 61.0)], "spark_stream": [(30.0, 900.0)]},
        calm=(NOON + timedelta(seconds=10), NOON + timedelta(seconds=21)),
        alerts_dsn="",
    )
    for name in changes.keys() - rule_changes.keys():
        setattr(whole.compared if hasattr(whole.compared, name) else whole, name, changes[name])
    return whole


def with_batch(**changes: Any) -> Evidence:
    """A run with a batch path and temperatures beside the agents."""
    judged = set(range(100)) - {2}
    rule = BatchRule("spending", "1-x", 3, {"judged": 99}, 0, EQUAL, [], judged, [], [], set(UPDATES[1:]))
    for name, value in changes.items():
        if hasattr(rule, name):
            setattr(rule, name, value)
    job = BatchSummary(
        "safe",
        "spark_batch",
        "partitioned",
        "a1",
        True,
        9,
        99,
        {"spending": 99},
        3,
        {},
        800,
        {"merge": 0.5},
        12.5,
        900.0,
    )
    run = BatchRun("scheduled__1", changes.get("kind", "scheduled"), NOON, 1, job, {"schedule": 1.0, "merge": 0.5})
    samples = [Sample("spending", NOON, latency_ms, (None,) * 5) for latency_ms in (31_000.0, 65_000.0)]
    window = Average(NOON, NOON + timedelta(minutes=10), "office-1", 10, 21.5)
    found = BesideFound([run], changes.get("windows", [window]), [window])
    return evidence(batch=[BatchPath("safe", "spark_batch", [rule], samples)], beside=found)


STREAM_COUNTERS = {"judged": 100, "corrected": 1, "too_old": 2, "duplicate": 0, "alerts_refused": 2}


def with_stream(**changes: Any) -> Evidence:
    """A run in which the Spark stream read the same log."""
    run = evidence()
    (rule,) = run.compared.log_fed["agent"]
    found = {"path": "spark_stream", "counters": STREAM_COUNTERS, **changes}
    run.compared.log_fed["spark_stream"] = [msgspec.structs.replace(rule, **found)]
    return run


def failed(found: dict) -> list[str]:
    return [goal["id"] for goal in found["goals"] if not goal["ok"]]


def test_a_run_without_a_difference_passes() -> None:
    found = report.build(evidence(), {})
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
        ("complete", {"log_fed": {"agent": []}}),
        ("faults", {"killed": [("connect", NOON)]}),
        ("faults", {"killed": []}),
    ],
)
def test_each_thing_that_can_go_wrong_fails_the_verdict(goal: str, changes: dict) -> None:
    found = report.build(evidence(**changes), {})
    assert found["verdict"] == "fail"
    assert goal in failed(found)
    assert "MISSED" in report.markdown(found)


def test_a_batch_path_stands_beside_the_agents_and_passes() -> None:
    found = report.build(with_batch(), {})
    assert (found["verdict"], failed(found)) == ("pass", [])
    batch = found["paths"]["spark_batch"]
    assert {name: batch[name] for name in ("rows_seen", "alerts", "unexplained", "cpu_s", "runs")} == {
        "rows_seen": 99, "alerts": 3, "unexplained": 0, "cpu_s": 12.5, "runs": 1,
    }  # fmt: skip
    assert (batch["latency_ms"]["p50"], batch["latency_ms"]["p99"]) == (48_000.0, None)
    seen = {name: one["seen"]["spark_batch"] for name, one in found["losses"].items()}
    assert seen == {
        "insert": 99, "update": 1, "middle update": 0, "delete": 0, "born and died": 0, "late commit": 2,
        "same stamp": 3, "rollback": 0, "truncate": 0,
    }  # fmt: skip
    page = report.markdown(found)
    assert "| spark_batch | 99 | 0 | 3 | 0 | 0 | 0 | 0 | 48.0 |" in page
    assert "Median of a scheduled run from due to checked: 1.5 s." in page
    assert "| 12:00 to 12:10 | office-1 | 10 | 21.500 |" in page


def test_the_stream_stands_beside_the_agents_and_passes() -> None:
    samples = {"spark_stream": [Sample("spending", NOON + timedelta(seconds=12), 800.0, (1.0, 2.0, 3.0, 4.0, 5.0))]}
    found = report.build(with_stream(), samples)
    assert (found["verdict"], failed(found)) == ("pass", [])
    stream = found["paths"]["spark_stream"]
    assert {name: stream[name] for name in ("rows_seen", "duplicates_suppressed", "cpu_s", "peak_rss_mb")} == {
        "rows_seen": 100, "duplicates_suppressed": 2, "cpu_s": 30.0, "peak_rss_mb": 900.0,
    }  # fmt: skip
    assert {name: one["seen"]["spark_stream"] for name, one in found["losses"].items()} == {
        "insert": 100, "update": 2, "middle update": 1, "delete": 1, "born and died": 1, "late commit": 2,
        "same stamp": 3, "rollback": 0, "truncate": 0,
    }  # fmt: skip
    page = report.markdown(found)
    assert "| spark_stream | calm | 1 | 800.0 | 800.0 | - | 800.0 |" in page
    assert "| spark_stream | 1.0 | 2.0 | 3.0 | 4.0 | 5.0 |" in page
    assert "spending" in [one["a"].split()[1] for one in found["agreement"]["pairs"] if one["a"].startswith("spark")]


@pytest.mark.parametrize(
    ("goal", "changes"),
    [
        ("complete", {"counters": {"judged": 99}}),
        ("once", {"counters": {"judged": 99, "conflict": 1}}),
        ("topic", {"against_topic": Difference([], [(1, "RAISED", 40, "r")])}),
        ("log", {"against_log": Difference([(1, "RAISED", 40, "r")], [])}),
        ("dead_letters", {"dead_letters": 1}),
    ],
)
def test_each_thing_that_can_go_wrong_in_the_stream_fails_the_verdict(goal: str, changes: dict) -> None:
    found = report.build(with_stream(**changes), {})
    assert (found["verdict"], failed(found)) == ("fail", [goal])


def test_a_stream_that_has_no_rule_fails_the_verdict() -> None:
    run = with_stream()
    run.compared.log_fed["spark_stream"] = []
    assert failed(report.build(run, {})) == ["complete"]


@pytest.mark.parametrize(
    ("goal", "changes"),
    [
        ("batch_scheduled", {"kind": "manual"}),
        ("batch_complete", {"missed": [17]}),
        ("batch_equal", {"explained": [Explained(17, "extra", "RAISED", 41, "r", None, "nothing allowed")]}),
        ("batch_dead_letters", {"dead_letters": 1}),
        ("temperature", {"windows": []}),
        ("temperature", {"windows": [Average(NOON, NOON + timedelta(minutes=10), "office-1", 10, 21.6)]}),
        ("temperature", {"windows": [Average(NOON, NOON + timedelta(minutes=10), "office-1", 9, 21.5)]}),
    ],
)
def test_each_thing_that_can_go_wrong_beside_the_agents_fails_the_verdict(goal: str, changes: dict) -> None:
    found = report.build(with_batch(**changes), {})
    assert (found["verdict"], failed(found)) == ("fail", [goal])


def test_a_difference_with_a_verified_cause_does_not_fail_and_is_told() -> None:
    cause = Explained(17, "extra", "RAISED", 41, "because", "a", "17 was updated by transaction 900")
    found = report.build(with_batch(difference=Difference([], [(17, "RAISED", 41, "because")]), explained=[cause]), {})
    assert found["verdict"] == "pass"
    batch = found["paths"]["spark_batch"]
    assert (batch["extra"], batch["explained"], batch["unexplained"], batch["causes"]) == (1, 1, 0, {"a": 1})
    assert (
        "- only in spark_batch spending: transaction 17, RAISED, score 41: because. "
        "Cause a: 17 was updated by transaction 900"
    ) in report.markdown(found)


def test_the_parts_of_a_batch_run_leave_no_gap() -> None:
    judge = {"queued_when": "2026-11-23T12:01:01Z", "start_date": "2026-11-23T12:01:02.5Z",
             "end_date": "2026-11-23T12:01:20Z"}  # fmt: skip
    check = {"end_date": "2026-11-23T12:01:23Z"}
    found = parts("2026-11-23T12:01:00Z", judge, check, {"session": 6.0, "merge": 0.5})
    assert found == {"schedule": 1.0, "queue": 1.5, "submit": 11.0, "session": 6.0, "merge": 0.5, "check": 3.0}
    assert sum(found.values()) == 23.0


def test_differences_are_named_with_their_transactions() -> None:
    found = report.build(evidence(against_log=Difference([(17, "RAISED", 41, "because")], [])), {})
    assert found["paths"]["agent"]["missing"] == found["paths"]["agent"]["unexplained"] == 1
    assert "only in replay of the operation log: transaction 17, RAISED, score 41: because" in report.markdown(found)


def test_a_run_without_alerts_or_faults_gives_a_clear_page() -> None:
    quiet = evidence(alerts=0, killed=[], kills_wanted=0)
    page = report.markdown(report.build(quiet, {}))
    assert "| agent | all rows | 0 | - | - | - | - |" in page
    assert "Calm: committed 10 s to 21 s after the start, before the first kill and batch run." in page
    assert "| agent | calm | 0 | - | - | - | - |" in page


def test_percentiles_come_from_raw_samples_and_p99_needs_a_thousand() -> None:
    few = percentiles([float(number) for number in range(1, 101)])
    assert (few.n, few.p50, few.p90, few.p99, few.max) == (100, 50.5, 90.1, None, 100.0)
    assert percentiles([1.0] * 1000).p99 == 1.0
    assert percentiles([]).p50 is None
    assert percentiles([-5.0]).p50 == -5.0, "a negative latency is shown, not clipped"


def test_calm_samples_are_told_from_those_of_warm_up_and_faults() -> None:
    samples = [
        Sample("spending", NOON + timedelta(seconds=at), 10.0, (1.0, 2.0, None, 3.0, 4.0)) for at in (-1, 0, 15, 16)
    ]
    kept = between(samples, NOON, NOON + timedelta(seconds=16))
    assert [(one.changed_at - NOON).total_seconds() for one in kept] == [0, 15]
    assert hop_medians(samples)["broker to poll"] is None
    assert hop_medians([])["poll to decision"] is None


def test_finals_compare_the_last_standing_and_the_log_compares_every_alert() -> None:
    raised, retracted = alert(1, "RAISED", 10), alert(1, "RETRACTED", 20, score=0, op="u")
    assert compare([raised, retracted], [retracted]).equal
    different = compare_log([raised, retracted], [retracted])
    assert different.extra == [(1, "RAISED", 40, "reason")]
    assert compare([raised], [retracted]).missing == [(1, "RETRACTED", 0, "reason")]
    assert not compare([], [raised]).equal
