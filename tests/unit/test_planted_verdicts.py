"""A defect planted in one path turns the verdict to fail, and the page names the path and the transaction.

| defect | caught by the goals |
|---|---|
| one cent off: a rule asks for 500.01 where the others ask for 500.00 | topic, log; batch_equal |
| a row that is not judged, with an alert hanging on it | complete, topic, log, state; batch_complete, batch_equal |
| a row that is not judged, and no alert hangs on it | complete, state; batch_complete |
| the times of two rows exchanged | topic, log, state; batch_equal |
| the same in the topic, which all log-fed paths read | log, history, tested |

The Spark stream keeps no history that others can read: of a row that it dropped without an effect on any alert, path
and rule are named, and no transaction.
"""

from pathlib import Path
from typing import Any

import pytest

from lab.measure.evidence import Evidence
from lab.report.html.page import render
from lab.report.saved import read_run
from lab.report.summary import build, write_files
from tests.unit.planted_evidence import (
    BURST,
    CHEAP,
    DEAR,
    LONELY,
    OLDER,
    PAYMENTS,
    a_dropped_row,
    as_it_is,
    one_cent_off,
    run_with,
    swapped_times,
)

PATHS = ("agent", "spark_stream", "spark_batch")
LAST = BURST[-1]


def missed(run: Evidence) -> dict[str, tuple[dict[str, Any], dict[str, list[int]]]]:
    """Of each goal that was missed: the figures that are not as wanted, and their transactions."""
    summary = build(run, {})
    assert (summary["verdict"] == "fail") == any(not goal["ok"] for goal in summary["goals"])
    return {
        goal["id"]: (
            {name: value for name, value in goal["measured"].items() if value != goal["target"]},
            goal.get("transactions", {}),
        )
        for goal in summary["goals"]
        if not goal["ok"]
    }


def one(name: str, value: int, *transactions: int) -> tuple[dict[str, Any], dict[str, list[int]]]:
    return {name: value}, {name: list(transactions)} if transactions else {}


def test_without_a_defect_the_run_passes() -> None:
    assert missed(run_with("agent", as_it_is)) == {}


@pytest.mark.parametrize("path", PATHS)
def test_a_rule_that_is_one_cent_off_on_one_path(path: str) -> None:
    found = missed(run_with(path, rule_of=one_cent_off))
    rule = one(f"{path} spending", 1, DEAR)
    assert found == ({"batch_equal": rule} if path == "spark_batch" else {"topic": rule, "log": rule})


def test_a_dropped_row_on_which_an_alert_hangs() -> None:
    drop = a_dropped_row(CHEAP[0])
    agent = missed(run_with("agent", drop))
    assert agent["topic"] == agent["log"] == one("agent spending", 1, DEAR)
    assert agent.keys() == {"complete", "topic", "log", "state"}
    assert agent["complete"][0] == {"agent spending": len(PAYMENTS) - 1, "agent velocity": len(PAYMENTS) - 1}
    assert agent["state"][1]["agent spending"][0] == CHEAP[0]
    stream = missed(run_with("spark_stream", drop))
    assert stream["log"] == one("spark_stream spending", 1, DEAR)
    assert stream.keys() == {"complete", "topic", "log"}
    batch = missed(run_with("spark_batch", drop))
    assert batch["batch_equal"] == one("spark_batch spending", 1, DEAR)
    assert batch["batch_complete"][1] == {"spark_batch spending": [CHEAP[0]], "spark_batch velocity": [CHEAP[0]]}


def test_a_dropped_row_on_which_no_alert_hangs() -> None:
    drop = a_dropped_row(LONELY)
    agent = missed(run_with("agent", drop))
    assert agent.keys() == {"complete", "state"}
    assert agent["complete"][1] == agent["state"][1] == {"agent spending": [LONELY], "agent velocity": [LONELY]}
    stream = missed(run_with("spark_stream", drop))
    assert (stream.keys(), stream["complete"][1]) == ({"complete"}, {})
    assert set(stream["complete"][0]) == {"spark_stream spending", "spark_stream velocity"}
    batch = missed(run_with("spark_batch", drop))
    assert batch.keys() == {"batch_complete"}
    assert batch["batch_complete"][1]["spark_batch spending"] == [LONELY]


@pytest.mark.parametrize("path", PATHS)
def test_two_exchanged_times_on_one_path(path: str) -> None:
    found = missed(run_with(path, swapped_times))
    rule = one(f"{path} velocity", 1, LAST)
    if path == "spark_batch":
        assert found == {"batch_equal": rule}
        return
    assert found["topic"] == found["log"] == rule
    if path == "agent":
        assert found["state"][1] == {"agent spending": [OLDER, LAST], "agent velocity": [OLDER, LAST]}


def test_two_exchanged_times_in_the_topic_show_against_the_log_alone() -> None:
    found = missed(run_with("", swapped_times, in_the_topic=True))
    assert found.keys() == {"log", "history", "tested"}
    assert found["log"][1] == {"agent velocity": [LAST], "spark_stream velocity": [LAST]}
    assert found["history"][1] == {"spending": [OLDER, LAST], "velocity": [OLDER, LAST]}


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (run_with("agent", rule_of=one_cent_off), f"agent spending 1 (transaction {DEAR})"),
        (run_with("spark_stream", swapped_times), f"spark_stream velocity 1 (transaction {LAST})"),
        (run_with("spark_batch", a_dropped_row(LONELY)), f"spark_batch velocity 1 (transaction {LONELY})"),
    ],
)  # fmt: skip
def test_the_page_and_the_summary_say_fail_and_name_path_and_transaction(
    run: Evidence, said: str, tmp_path: Path
) -> None:
    assert not write_files(run, {}, tmp_path)
    assert read_run(tmp_path).summary.verdict == "fail"
    page, text = render(tmp_path).read_text(), (tmp_path / "summary.md").read_text()
    assert "✘ Fail" in page.partition("<main")[0]
    assert said in page.partition("<main")[0]
    assert ": fail\n" in text
    assert said in text
