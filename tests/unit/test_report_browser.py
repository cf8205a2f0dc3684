"""The page of a run in a browser: nothing is fetched, nothing goes wrong, both themes, wide and narrow."""

from pathlib import Path

import pytest

from lab.report.html.index import write_index
from lab.report.html.page import render
from tests.unit.browsing import CHROMIUM, browse, measured
from tests.unit.made_experiments import write_experiments
from tests.unit.saved_runs import write_run

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH: wanted one to look at the page with")
DARK, LIGHT = "rgb(20, 24, 29)", "rgb(255, 255, 255)"


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return render(write_experiments(write_run(tmp_path / "run")))


def test_the_page_and_the_list_ask_for_nothing_and_the_console_stays_silent(page: Path, tmp_path: Path) -> None:
    seen = browse(page, tmp_path)
    assert (seen.requests, seen.console) == ([], [])
    assert "<strong>✔ Pass</strong>" in seen.dom
    listed = browse(write_index(tmp_path), tmp_path)
    assert (listed.requests, listed.console) == ([], [])


def test_a_page_that_fetches_and_fails_would_be_seen(tmp_path: Path) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text('<!doctype html><img src="http://127.0.0.1:9/x.png"><script>console.error("wrong")</script>')
    seen = browse(bad, tmp_path)
    assert seen.requests == ["http://127.0.0.1:9/x.png"]
    assert any("wrong" in line for line in seen.console)


@pytest.mark.parametrize(("width", "dark"), [(1400, False), (1400, True), (400, True)])
def test_the_page_fits_its_window_and_the_answer_is_on_the_first_screen(
    page: Path, tmp_path: Path, width: int, dark: bool
) -> None:
    found = measured(page, tmp_path, width=width, dark=dark)
    assert found["inner"] == width
    assert found["width"] <= width, "no sideways scrolling of the page; tables scroll in their own box"
    assert found["paper"] == (DARK if dark else LIGHT)
    assert found["drawings"] == 11, "each chart once"
    assert found["verdict"] < 150
    assert found["tiles"] < (900 if width > 400 else 1100), "with every sentence that there can be"
    assert found["outside"] == [], "no text leaves its drawing"
    assert found["text"] > 10, "labels are readable"
    assert set(found["stops"]) == {0}, "the keyboard goes in the order of the page"
