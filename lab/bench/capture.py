"""`twinpath bench capture`: how fast a connector drains a backlog, what waiting costs, what the writers feel.

Goals P4 and P7.
"""

from pathlib import Path

from lab.bench import backlog, felt, idle, writers
from lab.bench.bed import Bed
from lab.bench.goals import judged
from lab.bench.result import WARM_EVENTS, Result
from lab.stack.stack import Stack

PARTS = ("drain", "knobs", "cold", "idle", "writers")
WORDS = {"drain": "warm", "cold": "cold"}


def measure(
    stack: Stack,
    *,
    rounds: int,
    rows: int,
    seconds: int,
    warm_events: int,
    parts: tuple[str, ...],
    seed: int,
    command: str,
) -> tuple[Result, str, Path]:
    """Run the bench; returns the result, its Markdown and the path of its JSON."""
    bed = Bed(stack)
    options = {"rounds": rounds, "rows": rows, "seconds": seconds, "warm_events": warm_events, "parts": parts}
    result = Result("capture", bed.run_id, command, seed, options)
    drains = [part for part in backlog.PARTS if part in parts]
    if drains:
        backlog.compare(bed, result, drains, backlog.Sizes(rows, warm_events, rounds, seed))
    if "idle" in parts:
        idle.measure(bed, result, seconds, rounds)
    if "writers" in parts:
        writers.compare(bed, result, seconds, rounds, seed)
    judge(result)
    path = result.finish(bed.folder, private=bed.private, warm=not drains or warm_events >= WARM_EVENTS)
    return result, result.markdown(tables(result)), path


def judge(result: Result) -> None:
    """P4 and P7, as far as they were measured."""
    found = result.estimated("drain", "ours", "events_per_s")
    if found is not None:
        result.goals.append(judged("P4", "drain of a backlog, warm", "at least", 50_000, "events/s", found))
    found = result.estimated("drain", "ours", "connect_cpu_us_per_event")
    if found is not None:
        result.goals.append(judged("P4", "Connect's CPU per event, warm", "at most", 29, "us", found))
    for part in ("drain", "cold"):
        found = result.ratio(part, "events_per_s", "ours", "stock")
        if found is not None:
            result.goals.append(
                judged("P4", f"drain of a backlog, {WORDS[part]}: ours / stock", "at least", 1.2, "x", found)
            )
    result.ratio("drain", "events_per_s", "ours", "pg_recvlogical")
    for name in (writers.BARE, writers.APART, writers.TOGETHER):
        found = result.ratio("writers", "closed_per_s", name, writers.NOBODY)
        if found is not None and name != writers.BARE:
            result.goals.append(
                judged("P7", f"commits/s, closed loop: {name} / {writers.NOBODY}", "at least", 0.9, "x", found)
            )
        found = result.ratio("writers", "open_postgres_cpu_us_per_commit", name, writers.NOBODY)
        if found is not None and name == writers.APART:
            text = f"PostgreSQL's CPU per commit, open loop: {name} / {writers.NOBODY}"
            result.goals.append(judged("P7", text, "at most", 1.3, "x", found))
        if name != writers.BARE:
            compared = felt.Compared(writers.PART, writers.NOBODY, name, "open_commit_ms_p99")
            felt.judge(result, "P7", compared, f"commit p99 at 60 % of the highest rate, {name}")


def tables(result: Result) -> list[str]:
    """The tables of each part."""
    cost = {f"{part} CPU us/event": f"{part}_cpu_us_per_event" for part in ("connect", "kafka", "walsender")}
    waiting = {f"{part} % of a core": f"{part}_percent_of_a_core" for part in ("connect", "kafka", "postgres")}
    commits = {
        "commits/s, closed": "closed_per_s",
        "p50 ms": "closed_commit_ms_p50",
        "p99 ms": "closed_commit_ms_p99",
        "PostgreSQL CPU us/commit": "closed_postgres_cpu_us_per_commit",
        "commits/s, open": "open_per_s",
        "open p50 ms": "open_commit_ms_p50",
        "open p99 ms": "open_commit_ms_p99",
        "open p99.9 ms": "open_commit_ms_p99.9",
        "PostgreSQL CPU us/commit, open": "open_postgres_cpu_us_per_commit",
        "failed": "failed_commits",
    }
    lines = [line for part in backlog.PARTS for line in result.table(part, {"events/s": "events_per_s", **cost})]
    return [*lines, *result.table("idle", waiting), *result.table("writers", commits)]
