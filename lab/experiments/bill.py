"""`twinpath experiment bill`: what each side costs the source's PostgreSQL, phase by phase, beside what writing costs.

Goal P8. The same one-row commits at a rate into one table in every phase, delivered to the last row: by the agents or
by one of the batch job's modes in a kept Spark session. The alert stores are on a second server; the last phase tells
what it costs to have the agents' on the source's own.
"""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

from lab.batch_runs import WarmSession
from lab.bench.bed import Bed
from lab.bench.goals import judged
from lab.bench.result import Figure, Result
from lab.bench.rounds import in_turn
from lab.bench.second import second_server
from lab.experiments import polling
from lab.experiments.pipeline import pipeline
from lab.experiments.polling import Job, Polling
from lab.experiments.span import Field, Load, Spent, figures, put_over
from lab.stack.stack import Stack
from twinpath.detection.rules import RULES

PART = "bill"
IDLE, WRITERS = "idle", "writers only"
AGENTS, SHARED = "+ agents (CDC)", "+ agents, store on the same server"
MODES = {"safe": "+ spark_batch", "naive-id": "+ spark_batch_naive_id", "full": "+ spark_batch_full"}
PARTS = ("agents", *MODES, "shared")
PHASES = {"agents": AGENTS, **MODES, "shared": SHARED}
OVER = "over_writers_cpu_us_per_row"
P8_RATE, P8_ROWS, P8_INTERVAL_S = 1_000, 1_000_000, 1.0
Phase = Callable[[], tuple[Spent, dict[str, Figure]]]


class Plan(NamedTuple):
    """What is compared: the load, the seconds between two looks of a polling job, the rounds, the phases."""

    load: Load
    interval_s: float
    rounds: int
    parts: tuple[str, ...] = PARTS


def measure(
    stack: Stack,
    *,
    rounds: int,
    rate: int,
    seconds: float,
    rows: int,
    interval: float,
    parts: tuple[str, ...],
    seed: int,
    command: str,
    run: tuple[str, Path] | None = None,
) -> tuple[Result, str, Path]:
    """Run the experiment, in the folder of `run` (id, folder) if one is given; the result, Markdown, JSON's path."""
    bed = Bed(stack, run)
    plan = Plan(Load(rate, seconds, rows, seed), interval, rounds, parts)
    options = {"rate": rate, "seconds": seconds, "rows": rows, "interval_s": interval, "rounds": rounds, "parts": parts}
    result = Result("bill", bed.run_id, command, seed, options, kind="experiment")
    compare(bed, result, plan)
    path = result.finish(bed.folder, private=bed.private, warm=True)
    return result, result.markdown(tables(result)), path


def compare(bed: Bed, result: Result, plan: Plan) -> None:
    """The rounds of every phase, and what they are judged by."""
    with second_server(bed.stack) as second, bed.segment() as segment, ExitStack() as kept:
        field = Field(bed, segment, second, plan.load)
        field.fill()
        modes = [mode for mode in MODES if mode in plan.parts]
        sessions = [kept.enter_context(polling.session(field, "first", {}))] if modes else []
        with bed.progress.step(f"warm-up: {polling.WARM_UPS} runs of each mode") as step:
            pollings = {mode: Polling([Job(sessions[0], ["--mode", mode])], plan.interval_s) for mode in modes}
            for one in pollings.values():
                one.warm_up()
            step.done = "done"
        phases: dict[str, Phase] = {IDLE: lambda: (field.quiet({}), {}), WRITERS: lambda: (field.written({}), {})}
        for part in plan.parts:
            phases[PHASES[part]] = (
                partial(_polled, field, pollings[part], sessions)
                if part in pollings
                else partial(_captured, field, apart=part == "agents")
            )
        for number, name in in_turn(list(phases), plan.rounds):
            spent, more = phases[name]()
            found = figures(spent) | more
            result.add(PART, name, number, found, spent.usage)
            mark = " (disturbed)" if spent.usage.disturbed else ""
            bed.progress.say(f"{PART}, round {number}, {name}: PostgreSQL {found['postgres_cpu_s']} s of CPU{mark}")
    put_over(result, PART, WRITERS)
    _describe(result, plan)
    judge(result, plan)


def _captured(field: Field, *, apart: bool) -> tuple[Spent, dict[str, Figure]]:
    with pipeline(field, len(RULES), apart=apart) as live:
        return field.written(live.readers(), live.deliver), {}


def _polled(field: Field, polls: Polling, sessions: list[WarmSession]) -> tuple[Spent, dict[str, Figure]]:
    polls.catch_up()
    spent = field.written(polling.readers(sessions), polls.deliver)
    return spent, {**polls.figures(), "missed_rows": polls.missed(spent.committed)}


def _describe(result: Result, plan: Plan) -> None:
    load = plan.load
    result.variants |= {
        IDLE: "nobody writes, nobody reads",
        WRITERS: f"{load.commits} one-row commits at {load.rate}/s into a table of {load.rows} rows",
        AGENTS: "connector (snapshot.mode no_data: not what was in the table beforehand) and an agent for each rule",
        **{
            name: f"--mode {mode} {' '.join(polling.ONE_SCAN)} every {plan.interval_s:g} s, in a kept session"
            for mode, name in MODES.items()
        },
        SHARED: "as the agents, their alert store in a database of the source's server",
    }
    if plan.parts:
        result.warm_up[PART] = f"{polling.WARM_UPS} runs of each polling job"
    result.notes += [
        f"{OVER}: CPU of the source's PostgreSQL per written row, less that of '{WRITERS}' in the same round",
        "a phase ends when its last row was judged; statements, rows and blocks are of the source database, CPU and "
        "WAL of the server",
        "a look that takes longer than the interval passes over the next ones: compare polls with "
        f"{load.seconds / plan.interval_s:.0f}",
    ]
    if any(one.figures.get("forgotten") for one in result.rounds):
        result.notes.append("pg_stat_statements dropped statements meanwhile: statements and rows sent may be too few")


def judge(result: Result, plan: Plan) -> None:
    """P8, when the load is the one that it speaks of; the ratios in any case."""
    for name in MODES.values():
        polled = result.values(PART, name, OVER)
        if polled and min(polled) > 0:
            found = result.ratio(PART, OVER, AGENTS, name)
            if found is not None and name == MODES["safe"] and speaks_of(plan):
                text = f"PostgreSQL's CPU beside writing: {AGENTS} / {name}"
                result.goals.append(judged("P8", text, "at most", 0.5, "x", found))
        elif polled:
            result.notes.append(f"{name}: reading cost less than the noise in a round; no ratio is given")
    if not speaks_of(plan):
        result.notes.append(
            f"P8 is not judged: it speaks of {P8_RATE:,} commits/s or more, {P8_ROWS:,} rows or more in the table, and "
            f"a look every {P8_INTERVAL_S:g} s or more often"
        )
    for name in PHASES.values():
        result.estimated(PART, name, OVER)


def speaks_of(plan: Plan) -> bool:
    """True when P8 is about such a load."""
    load = plan.load
    return load.rate >= P8_RATE and load.rows >= P8_ROWS and plan.interval_s <= P8_INTERVAL_S


def tables(result: Result) -> list[str]:
    """CPU, then counters, per phase."""
    cost = {
        "PostgreSQL CPU s": "postgres_cpu_s",
        "us/row": "postgres_cpu_us_per_row",
        "over writers us/row": OVER,
        "walsender us/row": "walsender_cpu_us_per_row",
        "connections": "connections",
        "walsenders": "walsenders",
        "slots": "slots",
        "polls": "polls",
        "s a poll": "poll_seconds_p50",
        "missed rows": "missed_rows",
    }
    counted = {
        "statements": "statements_per_1000_rows",
        "sessions": "sessions_per_1000_rows",
        "rows sent": "rows_returned_per_1000_rows",
        "rows scanned": "rows_scanned_per_1000_rows",
        "blocks read": "blocks_read_per_1000_rows",
        "blocks hit": "blocks_hit_per_1000_rows",
        "WAL bytes": "wal_bytes_per_1000_rows",
    }
    lines = result.table(PART, cost)
    return [*lines, "", "Per 1,000 rows written:", *result.table(PART, counted)]
