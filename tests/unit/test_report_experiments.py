"""Experiments in a run folder: read back, put into the summary, judged as claims, shown on the page."""

import html
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from lab.bench.result import Result
from lab.crossover import Load, turning_consumers, turning_interval
from lab.experiments import bill
from lab.report.claims import NOT_SHOWN
from lab.report.experiment_claims import (
    HEAVY,
    MANY_CONSUMERS,
    NEGLIGIBLE,
    NEW_AGENTS,
    SENTENCES,
    UNAFFECTED,
    WITHOUT_QUERIES,
    claims,
)
from lab.report.experiments import add
from lab.report.html.crossover_section import answer
from lab.report.html.page import render
from lab.report.model import schema
from lab.report.saved import read_run, read_summary
from lab.report.saved_experiments import Experiments
from lab.report.words import duration
from tests.unit.made_experiments import (
    READING_US,
    bill_result,
    consumers_result,
    crossover_result,
    staleness_result,
    temperature_result,
    write_experiments,
)
from tests.unit.saved_runs import write_run
from tests.unit.test_report_page import absent, page_of
from twinpath.errors import ConfigurationError

SECTIONS = ["staleness-by-interval", "bill", "consumers", "crossover", "one-row"]
CHARTS = [
    "staleness-by-interval.svg",
    "postgres-bill.svg",
    "consumers-cpu.svg",
    "consumers-statements.svg",
    "crossover.svg",
]


def judged(**results: Result) -> dict[str, str]:
    return {one.claim: one.verdict for one in claims(Experiments(**results))}  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_experiments(write_run(tmp_path / "run"))


def summary_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return found


def test_the_bill_of_the_summary_holds_the_medians_of_each_phase(folder: Path) -> None:
    add(folder)
    found = summary_of(folder)["postgres_bill"]
    assert list(found) == ["idle", "writers", "agent", "spark_batch", "spark_batch_naive_id", "spark_batch_full"]
    agent = {key: found["agent"][key] for key in ("cpu_us_per_row", "over_writers_us_per_row", "statements", "rounds")}
    assert agent == {"cpu_us_per_row": 252.0, "over_writers_us_per_row": 50.0, "statements": 3000.9, "rounds": 5}
    stable = ("cpu_s", "statements", "rows_returned", "blocks_read", "blocks_hit", "wal_bytes", "connections")
    assert [found["spark_batch"][key] for key in stable] == [2.706, 3_090, 6_000, 0, 9_000, 600_000, 4]
    assert found["idle"]["cpu_us_per_row"] is None


def test_performance_goals_stand_beside_those_of_correctness_and_leave_the_verdict(tmp_path: Path) -> None:
    dear = bill_result(reading_us=READING_US | {bill.AGENTS: 600.0})
    folder = write_experiments(write_run(tmp_path / "run"), dear, consumers_result())
    add(folder)
    found = read_summary(folder)
    assert found.verdict == "pass"
    assert [(one.id, one.kind, one.ok) for one in found.goals] == [
        ("log", "correctness", True), ("P8", "performance", False), *(
            (f"P11-{number}", "performance", True) for number in range(1, 6)
        ),
    ]  # fmt: skip
    p8 = found.goals[1]
    assert p8.target == "at most 0.5 x"
    assert p8.measured == {"median": pytest.approx(0.857143), "worse end": pytest.approx(0.857143), "rounds": 5}
    text, _ = page_of(folder)
    assert "1 of 1 goals met; 5 of 6 of performance met" in text
    assert "<strong>✔ Pass</strong>" in text


def test_p8_of_a_load_that_it_does_not_mean_is_shown_and_not_judged(tmp_path: Path) -> None:
    folder = write_experiments(write_run(tmp_path / "run"), bill_result(rate=300))
    add(folder)
    (p8,) = [one for one in read_summary(folder).goals if one.kind == "performance"]
    assert (p8.id, p8.ok, p8.measured["rounds"]) == ("P8", None, 5)
    text, _ = page_of(folder)
    assert "1 of 1 goals met; 0 of 0 of performance met, 1 not judged" in text
    assert "P8 (performance)" in (folder / "summary.md").read_text()


def test_p3_is_judged_for_the_tuned_loop_and_for_airflow_at_the_median_and_at_p99(tmp_path: Path) -> None:
    folder = write_experiments(write_run(tmp_path / "run"), staleness_result(agent_ms=25.0))
    add(folder)
    found = [one for one in read_summary(folder).goals if one.kind == "performance"]
    assert [(one.id, one.ok, one.measured["median"]) for one in found] == [
        ("P3-1", True, 44.0), ("P3-2", True, 44.0), ("P3-3", False, 1680.0), ("P3-4", True, 1680.0),
    ]  # fmt: skip


def test_the_first_screen_says_which_side_is_cheaper_for_the_load_that_was_measured(folder: Path) -> None:
    text, _ = page_of(folder)
    assert read_summary(folder).workload.rate < 100
    assert "At 100 rows/s into 1,000,000 rows CDC costs PostgreSQL less than loss-free polls that come more" in text


def test_adding_twice_changes_nothing_and_what_is_gone_is_taken_out(folder: Path) -> None:
    before = summary_of(folder)
    add(folder)
    first = [(folder / name).read_text() for name in ("summary.json", "summary.md")]
    add(folder)
    assert [(folder / name).read_text() for name in ("summary.json", "summary.md")] == first
    for path in folder.glob("experiment-*.json"):
        path.unlink()
    add(folder)
    assert summary_of(folder) == before | {"claims": []}


def test_the_summary_with_experiments_fits_its_schema_and_keeps_keys_that_the_model_does_not_know(folder: Path) -> None:
    path = folder / "summary.json"
    path.write_text(json.dumps(summary_of(folder) | {"of_a_later_version": 1}))
    add(folder)
    found = summary_of(folder)
    jsonschema.validate(found, msgspec.json.decode(schema()))
    assert found["of_a_later_version"] == 1
    assert set(found["experiments"]) == {"staleness", "bill", "consumers", "crossover", "temperature"}
    assert found["experiments"]["temperature"]["not_publishable"] == ["fewer than 5 rounds: cdc, sql"]


def test_the_summary_for_people_has_the_bill_and_the_estimates(folder: Path) -> None:
    add(folder)
    text = (folder / "summary.md").read_text()
    assert "## What each side costs PostgreSQL" in text
    assert "| spark_batch | 2.706 |" in text
    assert "| consumers: polling, one more adds postgres_cpu_us_per_row | 130 | 130 | 130 |" in text
    assert len(text) < 64_000


def test_a_folder_without_experiments_is_left_as_it_was_but_for_an_empty_list(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    before = summary_of(folder)
    add(folder)
    assert summary_of(folder) == before | {"claims": []}


def test_claims_are_judged_by_the_figures(folder: Path) -> None:
    add(folder)
    found = {one.claim: one for one in read_summary(folder).claims}
    assert {name: one.verdict for name, one in found.items()} == {
        HEAVY: "holds only if",
        UNAFFECTED: "holds only if",
        WITHOUT_QUERIES: "holds only if",
        NEW_AGENTS: "holds",
        MANY_CONSUMERS: "holds",
        NEGLIGIBLE: "holds",
    }
    assert "only by spark_batch and spark_batch_full, not by spark_batch_naive_id" in found[HEAVY].measured
    assert "PostgreSQL takes 0.248 x (0.245 to 0.25) of CPU more" in found[UNAFFECTED].measured
    assert "only after the first snapshot" in found[WITHOUT_QUERIES].measured
    assert "spark_batch adds 30 and 1,000" in found[WITHOUT_QUERIES].measured
    assert "1.7 s of CPU and 576 statements a day" in found[NEGLIGIBLE].measured


def test_claims_fall_when_the_figures_do() -> None:
    light = bill_result(reading_us=dict.fromkeys(READING_US, 100.0), statements=1_002.0)
    assert judged(bill=light) == {
        HEAVY: "not shown here",
        UNAFFECTED: "not shown here",
        WITHOUT_QUERIES: "not shown here",
    }
    heavy = bill_result(reading_us=dict.fromkeys(READING_US, 900.0))
    assert judged(bill=heavy)[HEAVY] == "holds"
    assert judged(consumers=consumers_result(agent_us=30.0, job_us=0.0)) == {
        NEW_AGENTS: "holds only if",
        MANY_CONSUMERS: "not shown here",
    }
    assert judged(temperature=temperature_result(sql_s=500.0)) == {NEGLIGIBLE: "not shown here"}


def test_an_agent_that_adds_statements_touches_postgresql() -> None:
    found = consumers_result()
    for one in found.rounds:
        if "agent" in one.variant:
            one.figures["statements_per_1000_rows"] = 1_000 + 50.0 * (one.figures["consumers"] or 0)
    assert judged(consumers=found)[NEW_AGENTS] == "not shown here"


def test_a_commit_that_failed_beside_the_agents_is_no_unaffected_workload() -> None:
    found = bill_result()
    next(one for one in found.rounds if one.variant == bill.AGENTS).figures["failed_commits"] = 1
    assert judged(bill=found)[UNAFFECTED] == "not shown here"


def test_every_sentence_is_one_of_those_that_a_run_alone_does_not_show() -> None:
    assert set(SENTENCES) <= set(NOT_SHOWN)


def test_the_page_has_a_section_and_charts_for_each_experiment(folder: Path) -> None:
    text, outline = page_of(folder)
    assert [one for one in outline.sections if one in SECTIONS] == SECTIONS
    assert [name for name in CHARTS if not (folder / name).exists()] == []
    assert text.count("The figures, and <a") == 6 + len(CHARTS)
    assert len(outline.ids) == len(set(outline.ids))
    assert "crossover" not in absent(text)
    for svg in folder.glob("*.svg"):
        assert "nan" not in svg.read_text()
    for one in SENTENCES:
        assert f"{one}</th><td>not measured in this run" not in text


def test_the_sentences_of_the_sections_tell_the_figures(folder: Path) -> None:
    _, outline = page_of(folder)
    said = " ".join(outline.said).replace("\N{NO-BREAK SPACE}", " ")
    assert "Writing a row costs PostgreSQL 202 µs; reading it costs 50 µs (50 to 50) more by the agents" in said
    assert "One agent more adds 0 µs (0 to 0) of PostgreSQL's CPU a row; one polling job more adds 130 µs" in said
    assert "One agent more adds 0 (0 to 0) statements for 1,000 rows; one polling job more adds 80 (80 to 80)" in said
    assert "At 2,000 rows/s into 1,000,000 rows CDC takes 141 ms of PostgreSQL's CPU per second" in said
    assert "cost less from an interval of 1.26 s on, polls by the key at any interval that can be kept" in said
    assert "one look takes 902 ms at 1,000,000 rows" in said
    assert "equal at 1.26 s" in said
    assert (
        "half of the alerts had come within 10 ms (agent, beside spark_stream), 900 ms (spark_stream), 1.10 s" in said
    )
    assert "Against the agents at the median, in the same run: 90 (90 to 90) times with spark_stream, 110 (110" in said
    assert "SQL takes 1.7 s of PostgreSQL's CPU and 576 statements; CDC would keep 3 programs with 729 MB" in said


@pytest.mark.parametrize(
    ("result", "section"),
    [
        (staleness_result(), "staleness-by-interval"),
        (bill_result(), "bill"),
        (consumers_result(), "consumers"),
        (crossover_result(), "crossover"),
        (temperature_result(), "one-row"),
    ],
    ids=SECTIONS,
)
def test_an_experiment_alone_gives_its_section_and_the_others_are_named(
    tmp_path: Path, result: Result, section: str
) -> None:
    text, outline = page_of(write_experiments(write_run(tmp_path / "run"), result))
    assert [one for one in outline.sections if one in SECTIONS] == [section]
    names = {
        "staleness-by-interval": "lateness of each side alone",
        "bill": "what each side costs",
        "consumers": "n-th consumer",
        "crossover": "crossover",
        "one-row": "one row",
    }
    assert {one for one, name in names.items() if name in absent(text)} == set(SECTIONS) - {section}


def test_one_round_alone_has_no_interval_and_still_a_chart(tmp_path: Path) -> None:
    folder = write_experiments(write_run(tmp_path / "run"), bill_result(rounds=1), consumers_result(rounds=1))
    text, _ = page_of(folder)
    assert "one polling job more adds 130 µs of PostgreSQL's CPU a row (one round)." in html.unescape(text)
    assert "Not to be published: fewer than 5 rounds: bill." in text


def test_an_experiment_without_rounds_or_model_has_no_section(tmp_path: Path) -> None:
    nothing = [
        Result(name, "a", "b", 7, {}, kind="experiment") for name in ("staleness", "bill", "consumers", "temperature")
    ]
    bare = crossover_result()
    bare.model = None
    folder = write_experiments(write_run(tmp_path / "run"), *nothing, bare)
    _, outline = page_of(folder)
    assert [one for one in outline.sections if one in SECTIONS] == []
    add(folder)
    assert summary_of(folder)["claims"] == []


def test_half_a_result_is_called_half_and_names_what_to_do(folder: Path) -> None:
    path = folder / "experiment-bill.json"
    path.write_text(path.read_text()[:700])
    for read in (read_run, add, render):
        with pytest.raises(ConfigurationError, match="experiment-bill.json: found half a file") as error:
            read(folder)
        assert "twinpath experiment bill" in str(error.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema_version": 99}, "found a result of consumers, schema_version 99, wanted one of consumers"),
        ({"bench": "bill"}, "found a result of bill, schema_version 1, wanted one of consumers"),
        ({"rounds": 3}, "`$.rounds`"),
    ],
)
def test_a_foreign_result_is_refused_with_the_place(folder: Path, change: dict[str, Any], words: str) -> None:
    path = folder / "experiment-consumers.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ConfigurationError, match=re.escape(words)):
        read_run(folder)


def test_an_unknown_experiment_is_named_and_left_out(folder: Path) -> None:
    (folder / "experiment-moon.json").write_text("{}")
    text, _ = page_of(folder)
    assert "experiment-moon.json is of an experiment that this version does not know: left out." in text


def test_the_first_screen_answers_for_the_load_of_the_run_and_within_what_was_measured() -> None:
    found = crossover_result()
    at_the_run, below, above = (answer(found, rate) or "" for rate in (500, 1, 1_000_000))
    assert at_the_run.startswith("At 500 rows/s into 1,000,000 rows ")
    assert below.startswith("At 100 rows/s ")
    assert above.startswith("At 2,000 rows/s ")
    assert answer(None, 500) is None


def test_the_answer_turns_where_the_model_says_that_both_sides_cost_the_same() -> None:
    found = crossover_result()
    assert found.model is not None
    at = Load(500, 1_000_000, 10.0)
    turn = turning_interval(found.model.fit.cdc, found.model.fit.safe, at)
    assert turn is not None
    assert f"more often than every {duration(1000 * turn)}" in (answer(found, 500) or "")
    consumers = turning_consumers(found.model.fit.cdc, found.model.fit.safe, at)
    assert (f"from {consumers} consumers on" in (answer(found, 500) or "")) == (turn < 10.0)
