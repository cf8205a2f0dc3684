"""What the repository says it has measured is what its published run holds."""

import pytest

from lab.report.publish import headline_tables
from lab.report.saved import read_summary
from twinpath.settings import ROOT

PUBLISHED = ROOT / "docs" / "results" / "compare"


def test_the_readme_shows_the_tables_of_the_published_comparison() -> None:
    readme = (ROOT / "README.md").read_text()
    lateness, at_once = "\n".join(headline_tables(PUBLISHED)).split("\n\n")
    for table in (lateness, at_once):
        assert f"\n{table}\n" in readme, f"wanted in README.md:\n{table}"


def test_the_published_comparison_has_five_rounds_without_a_difference_that_has_no_cause() -> None:
    summary = read_summary(PUBLISHED)
    assert len({one.seed for one in summary.rounds}) == 5
    assert all(one.verdict for one in summary.rounds)
    assert sum(sum(one.unexplained.values()) for one in summary.rounds) == 0


@pytest.mark.parametrize("name", ["report.html", "summary.md", "latencies.csv"])
def test_the_published_comparison_is_whole(name: str) -> None:
    assert (PUBLISHED / name).stat().st_size > 0
