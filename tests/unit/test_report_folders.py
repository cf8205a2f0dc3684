"""Folders that are no whole run, the list of runs, and what moved between two."""

import json
import os
import shlex
from pathlib import Path

import pytest

from lab import cli
from lab.report.html.index import write_index
from lab.report.html.page import render
from lab.report.moved import compare_runs, find_run
from tests.documented import commands_of
from tests.unit.saved_runs import MEDIANS_MS, samples_of, summary, write_run
from twinpath.errors import ConfigurationError


def said_of(folder: Path) -> str:
    with pytest.raises(ConfigurationError) as error:
        render(folder)
    assert error.value.exit_status == 2
    assert not (folder / "report.html").exists()
    return str(error.value)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert "found no such folder, wanted one of a run" in said_of(tmp_path / "nowhere")


def test_a_folder_of_something_else_is_told_from_a_run(tmp_path: Path) -> None:
    assert "found no summary.json, wanted the folder of a run" in said_of(tmp_path)
    (tmp_path / "bench-latency.json").write_text("{}")
    assert "found bench-latency.json, wanted summary.json" in said_of(tmp_path)


def test_a_run_that_was_cut_short_is_told_from_one_at_work(tmp_path: Path) -> None:
    (tmp_path / "owner").write_text(json.dumps({"pid": os.getpid()}))
    assert f"process {os.getpid()} is still at work" in said_of(tmp_path)
    (tmp_path / "owner").write_text(json.dumps({"pid": 2**22 + 1}))
    assert "ended before its summary.json was written; run twinpath demo again" in said_of(tmp_path)
    (tmp_path / "owner").write_text("")
    assert "ended before its summary.json" in said_of(tmp_path)


def test_half_a_summary_is_called_half(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run") / "summary.json"
    path.write_text(path.read_text()[:500])
    assert "found half a file" in said_of(path.parent)
    path.write_text("")
    assert "found half a file" in said_of(path.parent)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema_version": 99}, "found schema_version 99, wanted 1"),
        ({"seed": "seven"}, "`$.seed`"),
        ({"verdict": "perhaps"}, "`$.verdict`"),
        ({"paths": {"agent": {"alerts": 3}}}, "`$.paths[...]`"),
    ],
)
def test_a_foreign_summary_is_told_with_the_place_that_does_not_fit(tmp_path: Path, change: dict, words: str) -> None:
    assert words in said_of(write_run(tmp_path / "run", **change))


def test_a_summary_with_a_figure_that_is_no_number_is_refused(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run") / "summary.json"
    path.write_text(path.read_text().replace("171.0", "NaN"))
    assert "found half a file or none of JSON" in said_of(path.parent)


def test_a_line_of_latencies_that_was_cut_is_named_by_its_number(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run") / "latencies.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:5])[:-40])
    assert "latencies.csv, line 5: found" in said_of(path.parent)
    path.write_text("a,b\n1,2\n")
    assert "found the columns ['a', 'b'], wanted path, rule, changed_at, latency_ms" in said_of(path.parent)


def test_latencies_without_a_path_are_those_of_the_agents(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run", {"agent": samples_of("agent")}) / "latencies.csv"
    path.write_text("\n".join(line.partition(",")[2] for line in path.read_text().splitlines()))
    assert "is of an older version" in render(path.parent).read_text()


def test_a_torn_operation_log_costs_one_panel_and_is_told(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    (folder / "operations.jsonl").write_text('{"intended_us":1,')
    assert "operations.jsonl breaks off at line 1" in render(folder).read_text()


def test_the_list_has_the_newest_run_first_and_counts_what_it_leaves_out(tmp_path: Path) -> None:
    for name in ("20261123T120000Z-aaaaaa", "20261124T120000Z-bbbbbb"):
        render(write_run(tmp_path / name))
    write_run(tmp_path / "20261122T120000Z-cccccc", verdict="fail")
    write_run(tmp_path / "20261121T120000Z-dddddd", seed="seven")
    (tmp_path / "20261120T120000Z-eeeeee").mkdir()
    text = write_index(tmp_path).read_text()
    places = [text.index(name) for name in ("bbbbbb/report.html", "aaaaaa/report.html", "cccccc/summary.json")]
    assert places == sorted(places)
    assert "✘ fail" in text
    assert "20261121T120000Z-dddddd: " in text
    assert "1 more folder has no summary" in text


def test_an_empty_list_says_how_to_make_a_run(tmp_path: Path) -> None:
    assert "No run yet: twinpath demo makes one." in write_index(tmp_path).read_text()


def test_two_equal_runs_differ_in_nothing(tmp_path: Path) -> None:
    first, second = write_run(tmp_path / "a"), write_run(tmp_path / "b")
    assert "nothing moved: all " in compare_runs(first, second)


def test_what_moved_is_shown_with_difference_and_ratio(tmp_path: Path) -> None:
    first = write_run(tmp_path / "a", {path: samples_of(path) for path in MEDIANS_MS})
    found = summary({path: samples_of(path) for path in MEDIANS_MS})["paths"]
    found["agent"]["latency_ms"]["p50"] = found["agent"]["latency_ms"]["p50"] * 2
    del found["spark_batch"]
    found["spark_stream"]["alerts"] = 50
    lines = compare_runs(first, write_run(tmp_path / "b", paths=found, verdict="fail")).splitlines()
    rows = {line[: line.index("  ")]: line.split() for line in lines if "  " in line}
    assert rows["agent p50, ms"][-1] == "2.00"
    assert rows["spark_stream alerts"][-4:] == ["60", "50", "-10", "0.83"]
    assert rows["verdict"][1:] == ["pass", "fail", "-", "-"]
    assert rows["spark_batch p50, ms"][-3:] == ["-", "-", "-"]


def test_a_run_is_found_by_the_id_that_ends_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.report.moved.RUNS", tmp_path)
    folder = write_run(tmp_path / "20261123T120000Z-aaaaaa")
    assert find_run("aaaaaa") == find_run(folder.name) == find_run(str(folder)) == folder
    write_run(tmp_path / "20261123T120000Z-baaaaa")
    with pytest.raises(ConfigurationError, match="found 2 runs"):
        find_run("aaaaa")
    for name in ("zz", "", "../x"):
        with pytest.raises(ConfigurationError, match="found no such folder"):
            find_run(name)


def test_the_readmes_commands_find_the_newest_run_one_by_its_id_and_two_to_compare(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for place in ("lab.runs.RUNS", "lab.report.moved.RUNS"):
        monkeypatch.setattr(place, tmp_path)
    older = write_run(tmp_path / "20261127T120000Z-74339d")
    newer = write_run(tmp_path / "20261127T130000Z-9c01aa")
    said = []
    for line in commands_of("reports").splitlines():
        monkeypatch.setattr("sys.argv", shlex.split(line))
        assert cli.run() == 0
        said.append(capsys.readouterr().out)
    assert said[:2] == [f"{newer / 'report.html'}\n", f"{older / 'report.html'}\n"]
    assert said[2].startswith(f"A {older.name}\nB {newer.name}\n")
    assert (tmp_path / "index.html").exists()


def test_the_command_prints_the_path_of_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_run(tmp_path / "run")
    monkeypatch.setattr("sys.argv", ["twinpath", "report", "--from", str(folder)])
    assert cli.run() == 0
    assert capsys.readouterr().out == f"{folder / 'report.html'}\n"


def test_the_command_ends_with_status_two_and_one_message_for_a_foreign_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["twinpath", "report", "--from", str(tmp_path)])
    assert cli.run() == 2
    assert capsys.readouterr().err.count("\n") == 1
