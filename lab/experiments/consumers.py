"""`twinpath experiment consumers`: what one more consumer costs the source, as an agent and as a polling job.

Goal P11. One consumer to four, each judging every row by one rule: agents behind one connector, or polling jobs that
each read the table for themselves. The third and the fourth have other parameters and an alert store of their own.
"""

from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from lab.bench.bed import Bed
from lab.bench.goals import judged
from lab.bench.result import Figure, Result
from lab.bench.rounds import in_turn
from lab.bench.second import second_server
from lab.bench.statistics import Estimate, slope
from lab.experiments import polling
from lab.experiments.pipeline import GROUPS, MOST, pipeline, rules_of
from lab.experiments.polling import Job, Polling
from lab.experiments.span import Field, Load, Spent, figures, put_over
from lab.stack.stack import Stack
from twinpath.detection.rules import RULES

PART = "consumers"
WRITERS = "writers only"
PARTS = ("agents", "polling")
FIGURES = (
    "slots",
    "walsenders",
    "connections",
    "statements_per_1000_rows",
    "sessions_per_1000_rows",
    "rows_returned_per_1000_rows",
    "postgres_cpu_us_per_row",
)
ALLOWED = {"slots": 0.0, "walsenders": 0.0, "connections": 0.0, "statements_per_1000_rows": 1.0}
"""What an agent more may add at the most. Of statements one for 1,000 rows: every ten seconds or so a connector asks
whether its connection is alive, and whether that falls into a span is chance."""
CPU_SHARE = 0.05
"""What an agent more may cost in CPU at the most, as a share of what the writers alone cost in the same round. An
interval that holds 0 is not asked for: a wide one does so whatever is measured, and this end of it tells how wide it
is."""
LEAST = 2  # points of a line


class Plan(NamedTuple):
    """What is compared: the load, the most consumers, the seconds between two looks of the jobs, rounds, sides."""

    load: Load
    consumers: int
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
    consumers: int,
    parts: tuple[str, ...],
    seed: int,
    command: str,
    run: tuple[str, Path] | None = None,
) -> tuple[Result, str, Path]:
    """Run the experiment, in the folder of `run` (id, folder) if one is given; the result, Markdown, JSON's path."""
    bed = Bed(stack, run)
    plan = Plan(Load(rate, seconds, rows, seed), min(consumers, MOST), interval, rounds, parts)
    options = {
        **{"rate": rate, "seconds": seconds, "rows": rows, "interval_s": interval, "rounds": rounds},
        **{"parts": parts, "consumers": plan.consumers},
    }
    result = Result("consumers", bed.run_id, command, seed, options, kind="experiment")
    compare(bed, result, plan)
    path = result.finish(bed.folder, private=bed.private, warm=True)
    return result, result.markdown(tables(result)), path


def compare(bed: Bed, result: Result, plan: Plan) -> None:
    """The rounds of every number of consumers, the lines through them, and what they are judged by."""
    with second_server(bed.stack) as second, bed.segment() as segment, ExitStack() as kept:
        field = Field(bed, segment, second, plan.load)
        field.fill()
        jobs = _jobs(field, plan, kept)
        variants: list[tuple[str, int]] = [("", 0)]
        variants += [(side, number) for side in plan.parts for number in range(1, plan.consumers + 1)]
        for number, (side, consumers) in in_turn(variants, plan.rounds):
            spent, more = _span(field, side, jobs[:consumers], consumers, plan.interval_s)
            found = {"consumers": consumers} | figures(spent) | more
            name = variant(side, consumers)
            result.add(PART, name, number, found, spent.usage)
            mark = " (disturbed)" if spent.usage.disturbed else ""
            bed.progress.say(f"{PART}, round {number}, {name}: PostgreSQL {found['postgres_cpu_s']} s of CPU{mark}")
    put_over(result, PART, WRITERS)
    _describe(result, plan)
    judge(result, plan)


def variant(side: str, consumers: int) -> str:
    """The name of a variant; no side means that nobody reads."""
    if not side:
        return WRITERS
    return f"{consumers} {'agent' if side == 'agents' else 'polling job'}{'' if consumers == 1 else 's'}"


def _jobs(field: Field, plan: Plan, kept: ExitStack) -> list[Job]:
    """A polling job for each consumer, warmed up; jobs of one alert store share a session."""
    if "polling" not in plan.parts:
        return []
    jobs: list[Job] = []
    with field.bed.progress.step(f"warm-up: {polling.WARM_UPS} runs of each polling job") as step:
        for place, (name, parameters) in enumerate(GROUPS):
            rules = rules_of(place, plan.consumers)
            if rules:
                session = kept.enter_context(polling.session(field, name or "first", parameters))
                jobs += [Job(session, ["--mode", "safe", "--rules", rule]) for rule in rules]
        Polling(jobs, plan.interval_s).warm_up()
        step.done = "done"
    return jobs


def _span(
    field: Field, side: str, jobs: list[Job], consumers: int, interval_s: float
) -> tuple[Spent, dict[str, Figure]]:
    if side == "agents":
        with pipeline(field, consumers) as live:
            return field.written(live.readers(), live.deliver), {}
    if side == "polling":
        polls = Polling(jobs, interval_s)
        polls.catch_up()
        sessions = list({job.session.pid: job.session for job in jobs}.values())
        spent = field.written(polling.readers(sessions), polls.deliver)
        return spent, {**polls.figures(), "missed_rows": polls.missed(spent.committed)}
    return field.written({}), {}


def _describe(result: Result, plan: Plan) -> None:
    load, groups = plan.load, len(RULES)
    result.variants |= {
        WRITERS: f"{load.commits} one-row commits at {load.rate}/s into a table of {load.rows} rows",
        "agents": f"one connector; from the agent {groups + 1} on with other parameters, in a consumer group and an "
        "alert store of their own",
        "polling jobs": f"--mode safe --rules RULE {' '.join(polling.ONE_SCAN)} every {plan.interval_s:g} s, each its "
        "own query. They look one after another, so that connections at a time do not show their number: sessions do",
        "parameters": {name or "first": parameters for name, parameters in GROUPS},
    }
    result.warm_up[PART] = f"{polling.WARM_UPS} runs of each polling job"
    result.notes += [
        "a slope is what one more consumer adds: least squares over the numbers of consumers, within each round",
        "agents deliver in milliseconds; polling jobs at the interval at best, later when all looks together take "
        "longer (poll_seconds_p50): the slope of polling is then too low",
        "the alert stores are on a second server: their sessions are none of the source's, on either side",
    ]


def slopes(result: Result, side: str, figure: str) -> list[float]:
    """What one more consumer adds to a figure, round by round; [] with fewer than two numbers of consumers."""
    ours = [one for one in result.rounds if one.part == PART and one.variant != WRITERS]
    numbers = sorted({int(one.figures["consumers"] or 0) for one in ours if _is_of(one.variant, side)})
    lines = [result.values(PART, variant(side, number), figure) for number in numbers]
    if len(numbers) < LEAST or not all(lines):
        return []
    return [slope(numbers, values) for values in zip(*lines, strict=True)]


def _is_of(name: str, side: str) -> bool:
    return ("agent" in name) == (side == "agents")


def judge(result: Result, plan: Plan) -> None:
    """P11, as far as it was measured."""
    found: dict[tuple[str, str], Estimate] = {}
    for side in plan.parts:
        for figure in FIGURES:
            values = slopes(result, side, figure)
            if values:
                found[side, figure] = result.kept(f"{PART}: {side}, one more adds {figure}", values)
    for figure, most in ALLOWED.items():
        one = found.get(("agents", figure))
        if one is not None:
            result.goals.append(judged("P11", f"an agent more adds {figure}", "at most", most, "", one))
    figure = "postgres_cpu_us_per_row"
    added, base = slopes(result, "agents", figure), result.values(PART, WRITERS, figure)
    if added and base:
        shares = [one / other for one, other in zip(added, base, strict=True)]
        name = "an agent more adds PostgreSQL's CPU, as a share of what the writers alone cost"
        result.goals.append(judged("P11", name, "at most", CPU_SHARE, "", result.kept(f"{PART}: {name}", shares)))


def tables(result: Result) -> list[str]:
    """What the source did for each number of consumers."""
    columns = {
        "slots": "slots",
        "walsenders": "walsenders",
        "connections": "connections",
        "CPU us/row": "postgres_cpu_us_per_row",
        "over writers us/row": "over_writers_cpu_us_per_row",
        "walsender us/row": "walsender_cpu_us_per_row",
        "statements/1,000": "statements_per_1000_rows",
        "sessions/1,000": "sessions_per_1000_rows",
        "rows sent/1,000": "rows_returned_per_1000_rows",
        "rows scanned/1,000": "rows_scanned_per_1000_rows",
        "polls": "polls",
        "s a poll": "poll_seconds_p50",
    }
    return result.table(PART, columns)
