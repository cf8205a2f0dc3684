"""Claims: judged only by figures that the run has, and never beyond them."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from lab.measure.latency import Sample
from lab.report.claims import NOT_SHOWN, claims
from lab.report.html.sections import claim_table
from lab.report.model import Summary
from lab.report.saved import read_run
from tests.unit.saved_runs import BEGAN, MEDIANS_MS, money_of, samples_of, summary, write_run

SAMPLES = {path: samples_of(path) for path in MEDIANS_MS}
MONEY = "better suited for fraud detection (money)"
EVENTS = "the failure of one agent does not affect the others"


def judged(samples: dict[str, list[Sample]], **changes: Any) -> dict[str, str]:
    whole = msgspec.convert(summary(samples, **changes), Summary)
    return {one.claim: one.verdict for one in claims(whole, samples)}


def test_a_whole_run_judges_the_sentences_that_it_has_figures_for() -> None:
    assert judged(SAMPLES) == {
        "CDC is near real-time": "holds",
        "batch is less suitable for real-time alerts": "holds",
        "batch has the higher latency": "holds",
        "multiple independent consumers": "holds",
        "INSERT, UPDATE and DELETE are all captured": "holds",
        "order per partition is preserved, as far as the rules depend on it": "holds",
        "consumers recover by their offsets": "holds",
        EVENTS: "holds",
        MONEY: "holds only if",
    }


def test_without_a_batch_path_nothing_is_said_of_batch() -> None:
    assert [claim for claim in judged({"agent": SAMPLES["agent"]}) if "batch" in claim] == []


def test_without_a_path_nothing_is_said_but_what_the_goals_tell() -> None:
    assert judged({}, goals=[]) == {}


def test_without_a_kill_nothing_is_said_of_recovery() -> None:
    found = judged(SAMPLES, faults=[])
    assert {"consumers recover by their offsets", EVENTS} & found.keys() == set()


def test_an_agent_that_is_slow_over_the_kills_is_near_real_time_only_while_all_runs() -> None:
    slow = [msgspec.structs.replace(one, latency_ms=5_000.0) for one in SAMPLES["agent"]]
    slow[10:20] = SAMPLES["agent"][10:20]
    assert judged({"agent": slow})["CDC is near real-time"] == "holds only if"
    always = [msgspec.structs.replace(one, latency_ms=5_000.0) for one in slow]
    assert judged({"agent": always})["CDC is near real-time"] == "not shown here"


def test_a_batch_path_that_is_faster_is_not_called_slower() -> None:
    quick = [msgspec.structs.replace(one, latency_ms=1.0) for one in SAMPLES["spark_batch"]]
    found = judged({"agent": SAMPLES["agent"], "spark_batch": quick})
    assert found["batch has the higher latency"] == "not shown here"
    assert found["batch is less suitable for real-time alerts"] == "not shown here"


def test_a_lost_row_shows_in_the_verdicts_on_capture_and_recovery() -> None:
    paths = summary(SAMPLES)["paths"]
    paths["agent"] |= {"rows_seen": 2_999, "missing": 1}
    losses = {"insert": {"done": 3_000, "seen": {"agent": 2_999, "spark_stream": 3_000}}}
    found = judged(SAMPLES, paths=paths, losses=losses)
    assert found["consumers recover by their offsets"] == "not shown here"
    assert found["INSERT, UPDATE and DELETE are all captured"] == "not shown here"
    assert found["multiple independent consumers"] == "not shown here"


def test_another_agent_that_stalls_after_a_kill_shows() -> None:
    stalled = Sample("velocity", BEGAN + timedelta(seconds=22), 4_000.0, (None,) * 5)
    assert judged(SAMPLES | {"agent": [*SAMPLES["agent"], stalled]})[EVENTS] == "not shown here"


def test_more_programs_make_the_more_complex_side() -> None:
    counted = {"agent": {"processes": 4}, "spark_batch": {"processes": 1}}
    claim = "CDC needs the more complex infrastructure"
    assert judged(SAMPLES, complexity=counted)[claim] == "holds"
    assert judged(SAMPLES, complexity=counted | {"agent": {"processes": 1}})[claim] == "not shown here"


def test_money_speaks_for_the_agents_only_where_less_of_it_left() -> None:
    found = money_of(["agent", "spark_batch"])
    assert found is not None
    batch, agent = (found["paths"][path] for path in ("spark_batch", "agent"))
    assert MONEY not in judged(SAMPLES, money=None)
    assert MONEY not in judged(SAMPLES, money=found | {"paths": {"agent": agent}})
    same = found | {"paths": {"agent": batch, "spark_batch": batch}}
    assert judged(SAMPLES, money=same)[MONEY] == "not shown here"
    burst = {"stolen_card_burst": agent["scenarios"]["stolen_card_burst"]}
    everywhere = found | {"paths": {"agent": agent | {"scenarios": burst}, "spark_batch": batch}}
    assert judged(SAMPLES, money=everywhere)[MONEY] == "holds"


def test_no_sentence_is_judged_and_called_not_shown_at_once(tmp_path: Path) -> None:
    section = claim_table(read_run(write_run(tmp_path / "run")))
    assert section is not None
    said = [row[0] for row in section.tables[0].rows]
    assert len(said) == len(set(said))
    assert set(NOT_SHOWN) <= set(said)
    by_claim = {row[0]: row[1] for row in section.tables[0].rows}
    assert "by twinpath experiment bill" in by_claim["OLTP unaffected"]
    assert by_claim[MONEY].startswith("of ")
