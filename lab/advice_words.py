"""An answer of lab/advice.py in plain words: first what to do, then why, then how far to trust it."""

from collections.abc import Iterator
from pathlib import Path
from statistics import median

from lab.advice import MATTERS, Advice
from lab.bench.result import shown
from lab.crossover import SIDES
from lab.experiments.crossover_result import Measured
from twinpath.settings import ROOT

INSTANT_S = 0.1
NAMES = {"cdc": "CDC", "safe": "polls", "naive_id": "polls by primary key"}


def text(advice: Advice, measured: Measured, source: Path) -> str:
    """The whole answer."""
    return "\n".join([_first(advice, measured), "", *_reasons(advice, measured), "", *_trust(advice, measured, source)])


def _first(advice: Advice, measured: Measured) -> str:
    cdc, safe = advice.cpu_s_per_s["cdc"], advice.cpu_s_per_s.get("safe")
    if advice.verdict == "neither":
        return (
            f"Neither: polls cannot be this fresh, and CDC would take {_core(cdc)} where one slot has one core. Divide "
            "the table, or let rows wait longer."
        )
    if safe is None:
        return "CDC. Polls never catch up: while one runs, more rows come than the next one can judge in that time."
    if not advice.reachable:
        best = _s(advice.best_freshness_s)
        return f"CDC. Polls by the batch job cannot be this fresh: the best that they can promise here is {best}."
    both = f"{_core(safe)} by polls that lose nothing, {_core(cdc)} by CDC"
    if advice.verdict == "sql":
        return (
            f"Stay with SQL: one statement every {_s(advice.interval_s)} and consumer. Neither side costs PostgreSQL "
            f"what matters (less than {_core(MATTERS)}: {both}), and CDC would add {_needs(advice, measured)} for "
            "no gain."
        )
    dear, cheap = max(cdc, safe), min(cdc, safe)
    factor = f"{shown(dear / cheap)} times less" if cheap > 0 else "nothing"
    return f"{'CDC' if advice.verdict == 'cdc' else 'Batch'}. It costs PostgreSQL {factor}: {both}."


def _reasons(advice: Advice, measured: Measured) -> Iterator[str]:
    asked, costs = advice.question, advice.cpu_s_per_s
    yield (
        f"- asked: {shown(asked.rate)} rows/s, {asked.rows:,} rows in the table, every row judged within "
        f"{_s(asked.freshness_s)} of its commit, {_consumers(asked.consumers)}"
    )
    if advice.interval_s is None:
        yield f"- CDC costs PostgreSQL {_core(costs['cdc'])}, however many consumers there are"
        return
    whole = measured.model.cold_s
    cold = "" if whole is None else f" (by spark-submit {_s(whole)})"
    how = "a poll every" if advice.reachable else "back to back, a poll every"
    yield (
        f"- batch: {how} {_s(advice.interval_s)}, as a run takes {_s(advice.run_s)} in a kept Spark session{cold}; "
        f"{_core(costs['safe'])} for {_consumers(asked.consumers)}"
    )
    if advice.turning_interval_s is None:
        yield f"- it turns at no interval: to hand the new rows to {_consumers(asked.consumers)} costs more than CDC"
    else:
        yield (
            f"- it turns at a poll every {_s(advice.turning_interval_s)}, a freshness of "
            f"{_s(advice.turning_freshness_s)}: from there on polls cost less than CDC"
        )
    if asked.freshness_s < INSTANT_S:
        yield "- CDC takes milliseconds, too; they are not in this model: docs/results/bench.md"
    if advice.turning_consumers is not None:
        yield f"- at a poll every {_s(advice.interval_s)} CDC costs less from {_consumers(advice.turning_consumers)} on"
    yield f"- polls by primary key would cost {_core(costs['naive_id'])}; they lose rows that commit late"
    yield (
        f"- CDC needs {_needs(advice, measured)}, each consumer's own memory on top; while nobody reads its slot, "
        "PostgreSQL keeps the WAL"
    )


def _trust(advice: Advice, measured: Measured, source: Path) -> Iterator[str]:
    shown_path = source.relative_to(ROOT) if source.is_relative_to(ROOT) else source
    machine, rounds = measured.machine, measured.options.get("rounds")
    yield (
        f"Measured {str(measured.began.get('at'))[:10]} on {machine.get('processor')}, {machine.get('cores')} cores, "
        f"{machine.get('memory_gb')} GB, rounds: {rounds} ({shown_path}). Other machines give other figures: "
        "twinpath experiment crossover measures yours."
    )
    errors = [f"{NAMES[side]} {_error(measured, side)}" for side in SIDES]
    yield f"Error of the model on points that it was not fitted to, median and worst: {', '.join(errors)}."
    if advice.beyond:
        yield f"Outside of what was measured, so extrapolated: {'; '.join(advice.beyond)}."
    for reason in measured.not_publishable:
        yield f"With care: {reason}."


def _error(measured: Measured, side: str) -> str:
    found = {str(name): one for name, one in measured.model.fit.errors.items()}.get(side)
    if found is None or found.median is None or found.worst is None:
        return "not known"
    return f"{found.median:.0%} and {found.worst:.0%}"


def _needs(advice: Advice, measured: Measured) -> str:
    """Processes, and what those take that all consumers share."""
    names = " and ".join(name.capitalize() for name in measured.needs)
    memory = sum(one.rss_mb for one in measured.needs.values())
    idle = sum(median(one.idle_cpu_ms_per_s) for one in measured.needs.values() if one.idle_cpu_ms_per_s) / 1e3
    return (
        f"{len(measured.needs) + advice.question.consumers} processes ({names} with {memory:,.0f} MB and {_core(idle)} "
        "while nothing is written, one for each consumer)"
    )


def _consumers(count: int) -> str:
    return f"{count:,} consumer{'' if count == 1 else 's'}"


def _core(cpu_s_per_s: float) -> str:
    """CPU seconds per second as people say it."""
    return f"{shown(100 * cpu_s_per_s)} % of a core"


def _s(seconds: float | None) -> str:
    return "-" if seconds is None else f"{shown(seconds)} s"
