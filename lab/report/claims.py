"""Sentences that people say of CDC and of JDBC batch, held against what one run measured.

A sentence is judged only when the run has the figures for it; the others are named as not shown. One run on one
machine can contradict a sentence or bear it out for its own load, and no more.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Literal

from lab.measure.latency import Sample
from lab.report.model import Claim, PathFigures, Summary
from lab.report.words import cents, duration, listed, times, whole

AGENT, STREAM, BATCH = "agent", "spark_stream", "spark_batch"
NEAR_REAL_TIME_MS = 1_000.0  # our reading of the words: half of the alerts within a second
CAPTURED = ("insert", "update", "middle update", "delete", "born and died", "update or delete")  # the last: older runs
Samples = Mapping[str, Sequence[Sample]]
NOT_SHOWN = {
    "heavy load on PostgreSQL": "twinpath experiment bill",
    "OLTP unaffected": "twinpath experiment bill, twinpath bench capture --only writers",
    "changes captured without querying tables": "twinpath experiment bill",
    "new agents without touching PostgreSQL": "twinpath experiment consumers",
    "state bounded": "twinpath bench agent --only memory",
    "scales with partitions and instances": "twinpath bench agent --only speed",
    "hundreds of thousands of events per second": "twinpath bench agent --only speed",
    "better for large analytical jobs": "twinpath bench batch",
    "better suited for fraud detection (money)": "twinpath compare, with batch",
    "polling cost negligible for the temperature case": "twinpath experiment temperature",
    "polling scales badly with many consumers": "twinpath experiment consumers",
}
"""What a run alone does not show, and what measures it."""


def claims(summary: Summary, samples: Samples) -> list[Claim]:
    """Those that this run can judge."""
    found: list[Claim] = []
    for judge in JUDGES:
        found += judge(summary, samples)
    return found


def _near_real_time(summary: Summary, _: Samples) -> Iterator[Claim]:
    agent = summary.paths.get(AGENT)
    if agent is None or agent.latency_ms.p50 is None:
        return
    whole_run, calm = agent.latency_ms.p50, agent.latency_ms_calm.p50 if agent.latency_ms_calm else None
    faults = f", {len(summary.faults)} kills included" if summary.faults else ""
    measured = f"agent: median {duration(whole_run)}{faults}"
    if calm is not None and agent.latency_ms_calm:
        measured += f"; {duration(calm)} while nothing was disturbed (n = {agent.latency_ms_calm.n})"
    if whole_run <= NEAR_REAL_TIME_MS:
        yield Claim("CDC is near real-time", measured, "holds", "latency")
    elif calm is not None and calm <= NEAR_REAL_TIME_MS:
        yield Claim("CDC is near real-time", f"{measured}: only while every process runs", "holds only if", "latency")
    else:
        yield Claim("CDC is near real-time", measured, "not shown here", "latency")


def _batch_is_slower(summary: Summary, _: Samples) -> Iterator[Claim]:
    agent, batch = summary.paths.get(AGENT), summary.paths.get(BATCH)
    if batch is None or batch.latency_ms.p50 is None:
        return
    late = batch.latency_ms.p50
    measured = f"spark_batch: median {duration(late)}"
    yield Claim(
        "batch is less suitable for real-time alerts",
        measured,
        _verdict(late > NEAR_REAL_TIME_MS),
        "latency",
    )
    if agent and agent.latency_ms.p50 and agent.latency_ms.p50 > 0:
        ratio = late / agent.latency_ms.p50
        said = f"{measured}, {times(ratio)} that of agent ({duration(agent.latency_ms.p50)})"
        yield Claim("batch has the higher latency", said, _verdict(ratio > 1), "latency")


def _every_change(summary: Summary, _: Samples) -> Iterator[Claim]:
    """Of the workload's classes the agents' path and the batch path each saw so many."""
    classes = [name for name in CAPTURED if name in summary.losses]
    paths = [path for path in (AGENT, STREAM, BATCH) if path in summary.paths]
    if not classes or AGENT not in paths:
        return
    done = {name: summary.losses[name].done for name in classes}
    seen = {path: {name: summary.losses[name].seen.get(path, 0) for name in classes} for path in paths}
    said = [
        f"{path} {', '.join(f'{name} {whole(seen[path][name])} of {whole(done[name])}' for name in classes)}"
        for path in paths
    ]
    ok = all(seen[path] == done for path in paths if path != BATCH)
    yield Claim("INSERT, UPDATE and DELETE are all captured", "; ".join(said), _verdict(ok), "losses")


def _recovery(summary: Summary, _: Samples) -> Iterator[Claim]:
    if not summary.faults or AGENT not in summary.paths:
        return
    agent = summary.paths[AGENT]
    killed = listed([one.killed for one in summary.faults])
    measured = (
        f"{killed} killed; {whole(agent.duplicates_suppressed)} duplicates suppressed, {agent.missing} alerts missing, "
        f"{agent.extra} extra, {whole(agent.rows_seen)} of {whole(summary.workload.rows_inserted)} rows judged"
    )
    ok = not agent.missing and not agent.extra and agent.rows_seen == summary.workload.rows_inserted
    yield Claim("consumers recover by their offsets", measured, _verdict(ok), "agreement")


def _replay(summary: Summary, _: Samples) -> Iterator[Claim]:
    goal = next((one for one in summary.goals if one.id == "topic"), None)
    if goal and goal.measured:
        measured = f"replay() of the topic against the alerts, differences: {_measured(goal.measured)}"
        yield Claim("events are replayable", measured, _verdict(goal.ok), "agreement")


def _order(summary: Summary, _: Samples) -> Iterator[Claim]:
    goal = next((one for one in summary.goals if one.id == "log"), None)
    if goal and goal.measured:
        measured = (
            f"alerts against replay() in the order of the COMMIT records, differences: {_measured(goal.measured)}"
        )
        verdict = _verdict(goal.ok)
        yield Claim(
            "order per partition is preserved, as far as the rules depend on it", measured, verdict, "agreement"
        )


def _verdict(ok: bool | None) -> Literal["holds", "holds only if", "not shown here"]:
    return "holds" if ok else "not shown here"


def _measured(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _consumers(summary: Summary, _: Samples) -> Iterator[Claim]:
    readers = {path: one for path, one in summary.paths.items() if path in {AGENT, STREAM}}
    if AGENT not in readers:
        return
    count = sum(len(one.rules) if path == AGENT else 1 for path, one in readers.items())
    rows = summary.workload.rows_inserted
    ok = all(one.rows_seen == rows for one in readers.values()) and count > 1
    measured = f"{count} consumers of one topic, each judged every row: {_seen(readers)} of {whole(rows)}"
    yield Claim("multiple independent consumers", measured, _verdict(ok), "losses")


def _seen(readers: Mapping[str, PathFigures]) -> str:
    return ", ".join(f"{path} {whole(one.rows_seen)}" for path, one in readers.items())


def _failure_is_alone(summary: Summary, samples: Samples) -> Iterator[Claim]:
    """After one agent was killed, until anything else was: the other agents' alerts."""
    killed = next((one for one in summary.faults if one.killed.startswith("agent ")), None)
    if killed is None:
        return
    rule = killed.killed.removeprefix("agent ")
    later = [one.at for one in summary.faults if one.at > killed.at]
    until = min(later, default=killed.at + timedelta(seconds=10))
    others = [
        one.latency_ms for one in samples.get(AGENT, ()) if one.rule != rule and killed.at <= one.changed_at < until
    ]
    if others:
        measured = (
            f"{killed.killed} was killed; of payments committed before the next kill the other agents raised "
            f"{len(others)} alerts, the latest after {duration(max(others))}"
        )
        ok = max(others) <= NEAR_REAL_TIME_MS
        yield Claim(
            "the failure of one agent does not affect the others",
            measured,
            _verdict(ok),
            "timeline",
        )


def _money(summary: Summary, _: Samples) -> Iterator[Claim]:
    """Whether less money left before the alerts of the agents, and in which kinds of fraud."""
    found = summary.money
    if found is None or AGENT not in found.paths or BATCH not in found.paths:
        return
    agent, batch = found.paths[AGENT], found.paths[BATCH]
    better = [name for name, one in agent.scenarios.items() if one.left_cents < batch.scenarios[name].left_cents]
    alike = [name for name, one in agent.scenarios.items() if one.found and name not in better]
    measured = (
        f"of {cents(found.fraud_cents)} planted, {cents(agent.left_cents)} had left before the alerts of agent, "
        f"{cents(batch.left_cents)} before those of spark_batch"
    )
    verdict = _verdict(agent.left_cents < batch.left_cents)
    if verdict == "holds" and alike:
        verdict = "holds only if"
        measured += f"; only if payments follow each other before batch alerts: {listed(better)}, not {listed(alike)}"
    yield Claim("better suited for fraud detection (money)", measured, verdict, "money")


def _infrastructure(summary: Summary, _: Samples) -> Iterator[Claim]:
    counted = {path: one.get("processes") for path, one in summary.complexity.items()}
    log_fed, batch = counted.get(AGENT), counted.get(BATCH)
    if isinstance(log_fed, int) and isinstance(batch, int):
        measured = f"long-running processes besides PostgreSQL: agent {log_fed}, spark_batch with Airflow {batch}"
        ok = log_fed > batch
        yield Claim("CDC needs the more complex infrastructure", measured, _verdict(ok), "complexity")


JUDGES: tuple[Callable[[Summary, Samples], Iterator[Claim]], ...] = (
    _near_real_time,
    _batch_is_slower,
    _consumers,
    _every_change,
    _order,
    _replay,
    _recovery,
    _failure_is_alone,
    _money,
    _infrastructure,
)
