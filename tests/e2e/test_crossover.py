"""The experiments crossover and temperature in a tiny form on the shared stack; `advise` answers from the result.

The figures themselves mean nothing at this length, and nothing here depends on them.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lab import cli
from lab.experiments import crossover, temperature
from lab.experiments.crossover import Grid
from lab.stack.stack import Stack

pytestmark = [pytest.mark.e2e, pytest.mark.long]
LOAD = ["--rate", "200", "--rows", "20000", "--freshness", "30", "--consumers", "2"]


def figures(found: dict[str, Any], part: str) -> dict[str, dict[str, Any]]:
    """The figures of each variant of a part, which ran once."""
    ours = [one for one in found["rounds"] if one["part"] == part]
    by_variant = {one["variant"]: one["figures"] for one in ours}
    assert len(by_variant) == len(ours)
    return by_variant


def test_the_grid_is_measured_the_model_fitted_and_advise_answers_from_it(stack: Stack) -> None:
    grid = Grid(rates=(50, 400), intervals_s=(1.0,), rows=(2_000, 20_000), seconds=1, polls=1)
    parts = ("cdc", "polls", "schedule")
    _, page, path = crossover.measure(stack, rounds=1, grid=grid, parts=parts, seed=3, command="a test")
    assert path.name == "experiment-crossover.json"
    found = json.loads(path.read_text())
    assert (found["kind"], found["bench"]) == ("experiment", "crossover")
    assert list(figures(found, "cdc")) == ["nothing written", "50 rows/s", "400 rows/s"]
    assert figures(found, "cdc")["400 rows/s"]["sessions_cpu_ms_per_s"] > 0
    polls = figures(found, "polls")
    assert len(polls) == 8
    for mode in crossover.polled_table.MODES:
        for rows in ("2,000", "20,000"):
            for new in (50, 400):
                one = polls[f"{mode}, {rows} rows, {new} new"]
                assert one["rows_returned_per_poll"] == new, "a poll returns what is new, and nothing else"
                assert one["postgres_cpu_ms_per_poll"] > 0
                assert one["run_s"] > 0
    scanned = [polls[f"{mode}, 20,000 rows, 50 new"]["blocks_per_poll"] for mode in ("safe", "naive-id")]
    assert scanned[0] > scanned[1], "the loss-free poll looks at each row, the one by primary key does not"
    scheduled = figures(found, "schedule")
    assert len(scheduled) == 2
    for one in scheduled.values():
        assert one["interval_s"] >= 1
        assert one["rows_returned_per_poll"] > 0
    assert sum(one["scheduled"] for one in found["points"]) == 2
    assert found["model"]["fit"]["errors"]["safe"]["points"] >= 2
    assert found["needs"].keys() == {"kafka", "connect"}
    assert "| the model against points held out |" in page
    done = CliRunner().invoke(cli.app, ["advise", *LOAD, "--from", str(path)])
    assert done.exit_code == 0, done.output
    assert "200 rows/s, 20,000 rows in the table" in done.stdout
    removed(path)


def test_the_small_case_is_counted_by_sql_and_by_cdc(stack: Stack) -> None:
    options = {"rounds": 1, "seconds": 1, "runs": 3, "wal_mb": 4, "seed": 3, "knobs": ("ours",)}
    _, page, path = temperature.measure(stack, parts=("sql", "cdc"), command="a test", **options)
    found = json.loads(path.read_text())
    sql = figures(found, "sql")["every 10 minutes"]
    assert sql["statements_per_day"] >= 144
    assert sql["cpu_s_per_day"] > 0
    cdc = figures(found, "cdc")
    assert list(cdc) == ["ours"]
    for one in cdc.values():
        assert one["processes"] == 3
        assert one["rss_mb"] > 200
        assert one["wal_written_mb"] > 4
        assert one["retained_after_rows_mb"] < one["wal_written_mb"], "the next rows confirm what came before them"
    assert "stay with SQL" in page
    removed(path)


def removed(path: Path) -> None:
    shutil.rmtree(path.parent)
