"""Defects planted on purpose, each in one place and only within its test: a check that has never failed proves nothing.

What caught each, and after how many runs: docs/results/planted.md, which these tests write. On the real alert store,
on a real topic and in micro-batches: tests/integration/test_planted_defects.py.
"""

import pytest

from streaming.simulation import scheduler
from tests.planted import Planted, Row, lines_of
from tests.unit.late_commits import missed_goals
from tests.unit.planted_defects import DEFECTS, Defect
from twinpath.settings import ROOT

SEEDS = range(20)
WANTED = (
    "commit before process", "max-LSN dedupe", "no unique key", "state not rebuilt", "`latest`", "wall-clock window",
    "id watermark", "swallow and skip", "float money", "zombie write", "batchId ignored", "dead letter drops offset",
)  # fmt: skip


def failed_checks(seed: int) -> set[str]:
    """Names of the checks that fail."""
    return {said.partition(":")[0] for said in scheduler.simulate(seed).broken}


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.bug)
def test_a_defect_is_caught_by_the_simulation(
    defect: Defect, monkeypatch: pytest.MonkeyPatch, planted_bugs: Planted
) -> None:
    with monkeypatch.context() as planted:
        defect.plant(planted)
        found = [failed_checks(seed) for seed in SEEDS]
    failed = [defect.check in one for one in found]
    row = planted_bugs.note(Row(defect.bug, defect.planted_as, "simulation", defect.check, failed))
    assert row.after, f"no seed failed it; failed were {set().union(*found)}"


def test_without_a_defect_every_check_holds_in_the_same_seeds() -> None:
    assert [seed for seed in SEEDS if failed_checks(seed)] == []


def test_an_id_watermark_misses_what_commits_late_and_the_verdict_says_so(planted_bugs: Planted) -> None:
    failed = ["batch_complete" in missed_goals(seed, "naive-id") for seed in SEEDS]
    how = "a run reads the ids above the highest one that was read"
    goal = "batch_complete: rows that a run could see and none judged"
    assert planted_bugs.note(Row("id watermark", how, "verdict", goal, failed)).after
    assert [seed for seed in SEEDS if missed_goals(seed, "safe")] == []


def test_the_page_names_every_bug_with_what_caught_it_within_twenty_runs() -> None:
    page = (ROOT / "docs" / "results" / "planted.md").read_text()
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines_of(page)]
    assert {(one.bug, one.planted_as, "simulation", one.check) for one in DEFECTS} <= {tuple(row[:4]) for row in rows}
    assert set(WANTED) <= {row[0] for row in rows}
    assert [row for row in rows if not 1 <= int(row[4].partition(" ")[0]) <= len(SEEDS)] == []
