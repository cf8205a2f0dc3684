"""The rounds of a comparison: in the summary, in the verdict, on the page; and the report for a repository."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from lab.report.experiments import add
from lab.report.model import schema
from lab.report.publish import headline_tables, publish
from lab.report.rounds import GOAL, add_rounds, folder_of, over_rounds, ratio_to
from lab.report.saved import read_summary
from tests.unit.made_experiments import write_experiments
from tests.unit.saved_runs import write_run
from tests.unit.test_report_page import page_of
from twinpath.errors import ConfigurationError


def change(folder: Path, **changes: Any) -> None:
    path = folder / "summary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three rounds with seeds of their own."""
    run = write_run(tmp_path / "run")
    for number in (2, 3):
        change(write_run(folder_of(run, number)), seed=6 + number, run_id=f"abc123r{number}")
    return run


def test_each_round_is_in_the_summary_with_its_seed_and_its_latencies(folder: Path) -> None:
    add_rounds(folder)
    found = read_summary(folder)
    assert [(one.number, one.seed, one.verdict) for one in found.rounds] == [(1, 7, True), (2, 8, True), (3, 9, True)]
    agent, batch = found.paths["agent"], found.paths["spark_batch"]
    assert agent.latency_ms_calm is not None
    assert found.rounds[0].p50_ms["agent"] == agent.latency_ms_calm.p50
    assert found.rounds[0].p50_ms["spark_batch"] == batch.latency_ms.p50
    jsonschema.validate(json.loads((folder / "summary.json").read_text()), msgspec.json.decode(schema()))


def test_a_round_that_missed_a_goal_fails_the_whole_and_is_named(folder: Path) -> None:
    second = json.loads((folder_of(folder, 2) / "summary.json").read_text())
    second["goals"][0]["ok"] = False
    second["paths"]["agent"]["unexplained"] = 2
    change(folder_of(folder, 2), **second)
    add_rounds(folder)
    found = read_summary(folder)
    assert found.verdict == "fail"
    goal = next(one for one in found.goals if one.id == GOAL)
    assert (goal.ok, goal.measured) == (False, {"rounds that missed one": 1, "unexplained": 2})
    text, outline = page_of(folder)
    assert "FAIL" in text
    assert "rounds" in outline.sections


def test_adding_twice_changes_nothing_and_one_round_alone_adds_nothing(folder: Path, tmp_path: Path) -> None:
    add_rounds(folder)
    first = (folder / "summary.json").read_text()
    add_rounds(folder)
    assert (folder / "summary.json").read_text() == first
    alone = write_run(tmp_path / "alone")
    before = (alone / "summary.json").read_text()
    add_rounds(alone)
    assert (alone / "summary.json").read_text() == before


def test_medians_and_ratios_are_taken_over_the_rounds(folder: Path) -> None:
    for number, ms in ((2, 30.0), (3, 60.0)):
        paths = json.loads((folder_of(folder, number) / "summary.json").read_text())["paths"]
        paths["agent"]["latency_ms_calm"]["p50"] = ms
        paths["spark_batch"]["latency_ms"]["p50"] = 100 * ms
        change(folder_of(folder, number), paths=paths)
    add_rounds(folder)
    rounds = read_summary(folder).rounds
    late, ratio = over_rounds(rounds, "agent", "p50_ms", 7), ratio_to(rounds, "spark_batch", "agent", 7)
    assert late is not None
    assert late.rounds[1:] == [30.0, 60.0]
    assert late.median == 30.0
    assert ratio is not None
    assert ratio.rounds[1:] == [100.0, 100.0]
    assert over_rounds(rounds, "spark_batch_full", "p50_ms", 7) is None


def test_the_summary_for_people_has_the_rounds(folder: Path) -> None:
    add_rounds(folder)
    add(folder)
    text = (folder / "summary.md").read_text()
    assert "## 3 rounds, each with a seed of its own" in text
    assert "| 2 | 8 | pass |" in text


def test_a_report_is_published_without_the_raw_log_and_replaces_the_one_before(folder: Path, tmp_path: Path) -> None:
    write_experiments(folder)
    add_rounds(folder)
    add(folder)
    (folder / "operations.jsonl").write_text("")
    target = tmp_path / "results"
    page = publish(folder, target)
    assert "<strong>✔ Pass</strong>" in page.read_text()
    names = {path.name for path in target.iterdir()}
    assert {"summary.json", "latencies.csv", "experiment-bill.json", "crossover.svg"} <= names
    assert names & {"operations.jsonl", "rounds"} == set()
    (folder / "experiment-bill.json").unlink()
    publish(folder, target)
    assert not (target / "experiment-bill.json").exists()


def test_a_folder_with_anything_else_is_not_published_into(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigurationError, match=r"found notes.txt, run, wanted a report or an empty folder"):
        publish(folder, tmp_path)
    assert (tmp_path / "notes.txt").exists()


def test_the_headline_tables_have_each_side_alone_and_each_path_with_sums_over_the_rounds(folder: Path) -> None:
    third = json.loads((folder_of(folder, 3) / "summary.json").read_text())
    third["paths"]["spark_batch"] |= {"missing": 3, "extra": 1, "explained": 4}
    change(folder_of(folder, 3), **third)
    write_experiments(folder)
    add_rounds(folder)
    add(folder)
    lines = headline_tables(folder)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line]
    assert [row[0] for row in rows[2:6]] == [
        "agent", "spark_stream", "batch, kept session every 1 s", "batch, Airflow every minute",
    ]  # fmt: skip
    assert rows[3][1:] == [
        "900 ms (900 ms to 900 ms)",
        "1.44 s (1.44 s to 1.44 s)",
        "1.71 s (1.71 s to 1.71 s)",
        "90 (90 to 90)",
    ]
    assert [row[0] for row in rows[8:]] == list(read_summary(folder).paths)
    batch = next(row for row in rows[8:] if row[0] == "spark_batch")
    assert batch[2:] == ["4", "0", "700"]
