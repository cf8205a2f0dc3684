"""The lab sheet: its questions are those that are checked, and answers are held against the learner's own run."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lab import cli
from lab.lab_sheet import QUESTIONS, mark, read_answers
from lab.report.saved import read_summary
from tests.documented import commands_of
from tests.unit.saved_runs import write_run
from twinpath.errors import ConfigurationError
from twinpath.settings import ROOT


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = write_run(tmp_path / "run")
    path = folder / "summary.json"
    found: dict[str, Any] = json.loads(path.read_text())
    found["losses"] = {
        "rollback": {"done": 41, "seen": {"agent": 0, "spark_batch": 0}},
        "middle update": {"done": 9, "seen": {"agent": 9, "spark_batch": 2}},
    }
    found["paths"]["spark_batch"] |= {"missing": 3, "extra": 1}
    path.write_text(json.dumps(found))
    return folder


def answers(folder: Path, text: str) -> Path:
    path = folder / "answers.txt"
    path.write_text(text)
    return path


def test_the_sheet_asks_what_is_checked_in_the_same_words() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| (.*?) \| (.*?) \|$", (ROOT / "docs/lab-sheet.md").read_text(), re.MULTILINE)
    assert rows == [(one.id, one.text, one.unit) for one in QUESTIONS]


def test_right_answers_are_right_and_others_wrong_or_open(run: Path) -> None:
    summary = read_summary(run)
    text = f"""# mine
rows: {summary.workload.rows_inserted:,}
rolled-back = 41 rows
rolled-back-seen: 41
middle-updates-lost: 7
differ: 4
batch-median: {summary.paths["spark_batch"].latency_ms.p50 / 1000 * 1.03:.1f} s
longest-hop: Decision to ALERT committed
agent-median: about twenty
born-and-died: 3
"""
    found = {one.question.id: one.ok for one in mark(read_answers(answers(run, text)), summary)}
    right = {name for name, ok in found.items() if ok}
    assert right == {"rows", "rolled-back", "middle-updates-lost", "differ", "batch-median", "longest-hop"}
    assert {name for name, ok in found.items() if ok is False} == {"rolled-back-seen", "agent-median"}
    assert found["born-and-died"] is None, "the run cannot tell"
    assert found["alerts"] is None, "no answer"


def test_a_question_that_nobody_asked_is_refused_with_its_line(run: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"line 2: found the question rowz, wanted one of agent-median"):
        read_answers(answers(run, "rows: 1\nrowz: 2\n"))
    with pytest.raises(ConfigurationError, match=r"nothing\.txt: found .*No such file"):
        read_answers(run / "nothing.txt")


@pytest.mark.parametrize(
    ("given", "status", "last"), [("3000", 0, "1 of 12 right, 0 wrong"), ("3", 1, "0 of 12 right")]
)
def test_the_command_tells_each_answer_and_ends_by_whether_one_is_wrong(
    run: Path, given: str, status: int, last: str
) -> None:
    path = str(answers(run, f"rows: {given}"))
    _, *words = [path if word == "answers.txt" else word for word in shlex.split(commands_of("lab-check"))]
    assert path in words
    done = CliRunner().invoke(cli.app, [*words, "--from", str(run)])
    assert done.exit_code == status, done.output
    assert last in done.stdout.splitlines()[-1]
    assert "open  suppressed: - (no answer)" in done.stdout
