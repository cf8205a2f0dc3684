"""The section on drills: what the checkout holds of them, however it came there, and what it does not hold."""

import re
from pathlib import Path

from lab.drills.faults import Struck
from lab.drills.matrix import result
from lab.drills.matrix.scene import Check
from lab.report import saved_drills
from lab.report.html.page import render
from lab.report.saved_drills import KEPT, RUN_HERE, markdown_lines
from tests.unit.saved_runs import write_run
from tests.unit.test_drill_matrix import drilled
from tests.unit.test_report_page import Outline

FAILED = {"faults": [Struck("connect", acted=True, recovery_s=61.0)], "environment": {"commit": "abc"}}


def section_of(checkout: Path) -> str:
    """The section's HTML on the page of a run, as one line of text."""
    run = checkout / "run"
    text = render(run if run.exists() else write_run(run), checkout).read_text()
    Outline(text)
    (found,) = re.findall(r'<section id="drills".*?</section>', text, re.DOTALL)
    return str(found)


def cells_of(section: str, fault: str) -> list[list[str]]:
    rows = re.findall(r"<tr><th scope=\"row\"[^>]*>([^<]*)</th>(.*?)</tr>", section, re.DOTALL)
    return [[name, *re.findall(r"<td[^>]*>([^<]*)</td>", rest)] for name, rest in rows if name.endswith(fault)]


def test_a_checkout_without_results_says_which_command_makes_them(tmp_path: Path) -> None:
    section = section_of(tmp_path)
    assert "No result of a drill lies in docs/results/drills and runs/drills." in section
    assert "<code>twinpath drill all --seed 7</code>" in section
    assert "<table" not in section
    assert markdown_lines(saved_drills.saved_drills(tmp_path))[-1] == (
        "No result lies in docs/results/drills and runs/drills: `twinpath drill all --seed 7` makes them."
    )


def test_each_fault_has_a_row_over_its_seeds_and_each_drill_its_verdict_and_command(tmp_path: Path) -> None:
    for seed in (7, 8):
        result.write(drilled(seed=seed), tmp_path / KEPT)
    result.write(drilled("F16", found=None, judged=False, wants=[]), tmp_path / KEPT)
    section = section_of(tmp_path)
    over_seeds, first, second = cells_of(section, "F06")
    assert over_seeds == [
        "F06", "Connect killed", "7, 8", "2020", "2000", "2200", "10", "20 records, 8 alerts", "0", "0", "8.0 / 8.0",
        "1.25", "passed",
    ]  # fmt: skip
    assert first == ["F06", "7", "passed", "-", "unknown", "twinpath drill F06 --seed 7"]
    assert second[-1] == "twinpath drill F06 --seed 8"
    assert cells_of(section, "F16")[0][5:10] == ["-"] * 5
    assert "Of 2 faults every one passed." in section
    assert "Proved by tests of their own instead: F04, F05, F21" in section
    assert "Not run: F01, F02, F03, F07" in section


def test_a_fault_that_did_not_hold_is_marked_with_its_seed_and_the_reason(tmp_path: Path) -> None:
    result.write(drilled(seed=7), tmp_path / KEPT)
    result.write(drilled(seed=8, **FAILED), tmp_path / KEPT)
    result.write(drilled("F10"), tmp_path / KEPT)
    section = section_of(tmp_path)
    over_seeds, _, failed = cells_of(section, "F06")
    assert (over_seeds[0], over_seeds[-1]) == ("✘ F06", "failed (seed 8), passed (seed 7)")
    assert "Of 2 faults 1 passed, F06 did not." in section
    assert failed[2:5] == ["failed", "I9: connect was recovered from after 61.0 s, wanted 60 s", "abc"]
    lines = markdown_lines(saved_drills.saved_drills(tmp_path))
    assert any(line.startswith("| F06 | 8 | failed | I9: connect was recovered from after 61.0 s") for line in lines)


def test_what_was_run_here_stands_in_place_of_what_is_kept_and_the_rest_beside_it(tmp_path: Path) -> None:
    result.write(drilled(seed=7, **FAILED), tmp_path / KEPT)
    result.write(drilled("F10"), tmp_path / KEPT)
    result.write(drilled(seed=7), tmp_path / RUN_HERE)
    found = saved_drills.saved_drills(tmp_path)
    assert [(one.name, one.verdict) for one in found.results] == [("F06", "passed"), ("F10", "passed")]


def test_a_result_of_another_version_is_left_out_by_name(tmp_path: Path) -> None:
    result.write(drilled(), tmp_path / KEPT)
    (tmp_path / KEPT / "F01-seed7.json").write_text("{}")
    section = section_of(tmp_path)
    assert "docs/results/drills/F01-seed7.json is no result that this version can read: left out." in section
    assert cells_of(section, "F06")


def test_names_from_results_are_escaped(tmp_path: Path) -> None:
    nasty = "<script>|x"
    result.write(drilled(command=nasty, checks=[Check("I7", nasty, False, nasty)]), tmp_path / KEPT)
    assert "<script" not in section_of(tmp_path)
    lines = markdown_lines(saved_drills.saved_drills(tmp_path))
    assert not any("<script" in line for line in lines)
