"""`twinpath advise`: what it says for a load, and what it refuses. The figures of the model are made up."""

import json
import math
import shlex
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from lab import cli
from lab.advice import Advice, Question, advise
from lab.advice_words import text
from lab.crossover import Capture, Error, Fit, Polling
from lab.experiments import crossover_result
from lab.experiments.crossover_result import PUBLISHED, Measured, Model, Need, Range
from tests.documented import commands_of
from twinpath.errors import ConfigurationError

FIT = Fit(
    Capture(idle=0.001, per_row=70e-6, per_wakeup=0),
    Polling(per_poll=0.02, per_row_scanned=0.15e-6, per_row_returned=3e-6),
    Polling(per_poll=0.015, per_row_scanned=0.0, per_row_returned=2e-6),
    {"cdc": Error(2, 0.05, 0.08), "safe": Error(5, 0.04, 0.12), "naive_id": Error(0, None, None)},
)
MODEL = Model(
    FIT,
    run_s=Polling(0.8, 0.3e-6, 20e-6),
    cold_s=9.5,
    rate=Range(0, 2000),
    rows=Range(10_000, 1e6),
    returned=Range(0, 2e4),
)
MEASURED = Measured(
    bench="crossover",
    run_id="abc123",
    options={"rounds": 1},
    began={"at": "2026-11-27T19:00:00+00:00"},
    machine={"processor": "Some CPU", "cores": 2, "memory_gb": 24},
    not_publishable=["fewer than 5 rounds: cdc"],
    model=MODEL,
    needs={"kafka": Need(420.0, [10.0, 30.0, 11.0]), "connect": Need(380.0, [40.0])},
)
WORDS = {
    (1000, 1_000_000, 3, 1): """\
CDC. It costs PostgreSQL 1.33 times less: 9.43 % of a core by polls that lose nothing, 7.1 % of a core by CDC.

- asked: 1,000 rows/s, 1,000,000 rows in the table, every row judged within 3 s of its commit, 1 consumer
- batch: a poll every 1.86 s, as a run takes 1.14 s in a kept Spark session (by spark-submit 9.5 s); \
9.43 % of a core for 1 consumer
- it turns at a poll every 2.5 s, a freshness of 3.65 s: from there on polls cost less than CDC
- at a poll every 1.86 s CDC costs less from 1 consumer on
- polls by primary key would cost 1.01 % of a core; they lose rows that commit late
- CDC needs 3 processes (Kafka and Connect with 800 MB and 5.1 % of a core while nothing is written, one for each \
consumer), each consumer's own memory on top; \
while nobody reads its slot, PostgreSQL keeps the WAL

Measured 2026-11-27 on Some CPU, 2 cores, 24 GB, rounds: 1 (docs/results/compare/experiment-crossover.json). \
Other machines give other figures: twinpath experiment crossover measures yours.
Error of the model on points that it was not fitted to, median and worst: CDC 5% and 8%, polls 4% and 12%, polls by \
primary key not known.
With care: fewer than 5 rounds: cdc.""",
}
FIRST = {
    (1000, 1_000_000, 60, 1): "Batch. It costs PostgreSQL 11.9 times less: 0.594 % of a core by polls that lose "
    "nothing, 7.1 % of a core by CDC.",
    (1 / 60, 100_000, 600, 1): "Stay with SQL: one statement every 599 s and consumer. Neither side costs PostgreSQL "
    "what matters (less than 0.5 % of a core: 0.00585 % of a core by polls that lose nothing, 0.1 % of a core by CDC), "
    "and CDC would add 3 processes (Kafka and Connect with 800 MB and 5.1 % of a core while nothing is written, one "
    "for each consumer) for no gain.",
    (
        1000,
        1_000_000,
        1,
        3,
    ): "CDC. Polls by the batch job cannot be this fresh: the best that they can promise here is 2.24 s.",
    (60_000, 1_000_000, 60, 1): "Neither: polls cannot be this fresh, and CDC would take 420 % of a core where one "
    "slot has one core. Divide the table, or let rows wait longer.",
}
LINES = {
    (2000, 10_000, 5, 40): "- it turns at no interval: to hand the new rows to 40 consumers costs more than CDC",
    (
        1000,
        1_000_000,
        60,
        1,
    ): "Outside of what was measured, so extrapolated: 57,745 rows found by one poll (measured 0 to 20,000).",
    (
        3000,
        5_000,
        3,
        1,
    ): "Outside of what was measured, so extrapolated: 3,000 rows/s (measured 0 to 2,000); 5,000 rows "
    "in the table (measured 10,000 to 1,000,000).",
    (100, 10_000, 0.05, 1): "- CDC takes milliseconds, too; they are not in this model: docs/results/bench.md",
}
Load = tuple[float, int, float, int]


def answer(load: Load, model: Model = MODEL) -> Advice:
    return advise(Question(*load), model)


def said(load: Load) -> str:
    return text(answer(load), MEASURED, PUBLISHED)


@pytest.mark.parametrize(("load", "words"), WORDS.items())
def test_the_whole_answer_reads_so(load: Load, words: str) -> None:
    assert said(load) == words


@pytest.mark.parametrize(("load", "first"), FIRST.items())
def test_the_answer_comes_first(load: Load, first: str) -> None:
    assert said(load).splitlines()[0] == first


@pytest.mark.parametrize(("load", "line"), LINES.items())
def test_what_is_special_of_a_load_is_said(load: Load, line: str) -> None:
    assert line in said(load).splitlines()


def test_a_load_inside_of_the_grid_is_not_called_extrapolated() -> None:
    assert answer((1000, 1_000_000, 3, 1)).beyond == ()
    assert "extrapolated" not in said((1000, 1_000_000, 3, 1))


def test_interval_and_run_together_are_the_freshness_that_was_asked_for() -> None:
    for load in ((1000, 1_000_000, 3, 1), (10, 100_000, 60, 2), (500, 10_000, 2, 1)):
        found = answer(load)
        assert found.reachable
        assert found.interval_s is not None
        assert found.run_s is not None
        assert found.interval_s + found.run_s == pytest.approx(load[2])
        assert found.interval_s >= found.run_s


def test_the_best_freshness_is_just_reachable_and_a_little_less_is_not() -> None:
    best = answer((1000, 1_000_000, 0.1, 1)).best_freshness_s
    assert best is not None
    assert answer((1000, 1_000_000, best * 1.001, 1)).reachable
    assert not answer((1000, 1_000_000, best * 0.999, 1)).reachable


def test_the_answer_turns_where_it_says() -> None:
    turning = answer((1000, 1_000_000, 5, 1)).turning_freshness_s
    assert turning is not None
    assert answer((1000, 1_000_000, turning * 1.01, 1)).verdict == "batch"
    assert answer((1000, 1_000_000, turning * 0.99, 1)).verdict == "cdc"
    consumers = answer((1000, 1_000_000, 60, 1)).turning_consumers
    assert consumers == 12
    assert answer((1000, 1_000_000, 60, consumers)).verdict == "cdc"
    assert answer((1000, 1_000_000, 60, consumers - 1)).verdict == "batch"


def test_polls_that_never_catch_up_have_no_interval() -> None:
    found = answer((50_001, 1000, 60, 1), msgspec.structs.replace(MODEL, fit=_cheap_capture()))
    assert (found.verdict, found.reachable, found.interval_s, found.best_freshness_s) == ("cdc", False, None, None)
    words = text(found, MEASURED, PUBLISHED)
    assert words.startswith("CDC. Polls never catch up")
    assert found.turning_consumers is None


def _cheap_capture() -> Fit:
    return msgspec.structs.replace(FIT, cdc=Capture(0.0, 1e-6, 0.0))


NONSENSE = {
    (0, 1000, 10, 1): "--rate: found 0, wanted rows per second, more than 0 (one a minute is 0.0167)",
    (-5, 1000, 10, 1): "--rate: found -5, wanted",
    (math.nan, 1000, 10, 1): "--rate: found nan, wanted",
    (math.inf, 1000, 10, 1): "--rate: found inf, wanted",
    (10, -1, 10, 1): "--rows: found -1, wanted the rows of the table, 0 or more",
    (10, 1000, 0, 1): "--freshness: found 0, wanted seconds, more than 0",
    (10, 1000, math.nan, 1): "--freshness: found nan, wanted",
    (10, 1000, 10, 0): "--consumers: found 0, wanted 1 or more that read the rows",
}


@pytest.mark.parametrize(("load", "message"), NONSENSE.items())
def test_a_load_that_cannot_be_is_refused(load: Load, message: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        answer(load)
    assert str(refused.value).startswith(message)


FILES = {
    "{": "found no JSON",
    "{}": "found Object missing required field `bench`",
    '"text"': "found Expected `object`, got `str`",
}


@pytest.mark.parametrize(("content", "message"), FILES.items())
def test_a_file_that_is_no_such_result_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "result.json"
    path.write_text(content)
    with pytest.raises(ConfigurationError) as refused:
        crossover_result.read(path)
    assert f"{path}: {message}" in str(refused.value)
    assert "Measure anew: twinpath experiment crossover" in str(refused.value)


def test_the_result_of_another_bench_or_without_a_model_or_a_missing_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(MEASURED, bench="capture")))
    with pytest.raises(ConfigurationError, match="found a result of capture, wanted one of crossover"):
        crossover_result.read(path)
    path.write_text(json.dumps(msgspec.to_builtins(MEASURED) | {"model": None}))
    with pytest.raises(ConfigurationError, match=r"got `null` - at `\$.model`"):
        crossover_result.read(path)
    with pytest.raises(ConfigurationError, match="No such file"):
        crossover_result.read(tmp_path / "none.json")


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(cli.app, ["advise", *arguments])
    return done.exit_code, done.stdout


def test_the_command_answers_from_a_given_result_in_words_and_as_json(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_bytes(msgspec.json.encode(MEASURED))
    load = ["--rate", "1000", "--rows", "1000000", "--freshness", "3", "--from", str(path)]
    status, words = run(*load)
    assert (status, words.splitlines()[0]) == (0, WORDS[1000, 1_000_000, 3, 1].splitlines()[0])
    status, line = run(*load, "--consumers", "3", "--json")
    found = json.loads(line)
    assert (status, found["verdict"], found["question"]["consumers"]) == (0, "cdc", 3)
    assert found["cpu_s_per_s"].keys() == {"cdc", "safe", "naive_id"}
    assert found["machine"]["processor"] == "Some CPU"
    assert found["errors"]["safe"]["worst"] == 0.12


def test_the_command_answers_from_the_published_result() -> None:
    status, words = run("--rate", "0.0167", "--rows", "100000", "--freshness", "600")
    assert status == 0
    assert words.startswith("Stay with SQL: one statement every ")
    assert "docs/results/compare/experiment-crossover.json" in words


def test_what_the_docs_ask_is_answered() -> None:
    for lines in (commands_of("advise"), commands_of("advise-yours")):
        _, _, *words = shlex.split(lines)
        status, said = run(*words)
        assert status == 0, said
        assert "docs/results/compare/experiment-crossover.json" in said
