"""`twinpath bench outage`: what the writers feel while every consumer is dead, and what they leave behind (I6).

In pairs: one-row commits at a set rate with nobody to read them and no slot, and the same with the slot of a pipeline
whose agents and Connect were killed by SIGKILL. Then everything is started again, and must come to the end of the log.
"""

import signal
import time
from contextlib import closing
from pathlib import Path

import psycopg2

from lab.bench import connectors, felt
from lab.bench.bed import Bed, Segment
from lab.bench.committing import Commits, fill
from lab.bench.machine import fsyncs_per_s
from lab.bench.pace import SLACK_S, USERS, Pace
from lab.bench.result import WARM_S, Figure, Result, flat
from lab.bench.rounds import in_turn
from lab.bench.watching import Topic
from lab.measure import fence
from lab.slot import slot_at
from lab.stack import connect, process
from lab.stack.stack import Stack
from twinpath.detection.rules import RULES
from twinpath.errors import ServiceFault

PART = "outage"
PARTS = (PART,)
NOBODY, DEAD = "nobody reads, no slot", "all consumers dead"
VARIANTS = (NOBODY, DEAD)
P99 = "commit_ms_p99"


def measure(
    stack: Stack, *, rounds: int, pace: Pace, warm_up_s: float, parts: tuple[str, ...], command: str
) -> tuple[Result, str, Path]:
    """Run the bench; returns the result, its Markdown and the path of its JSON."""
    bed = Bed(stack)
    if not bed.private:
        raise ServiceFault("Connect serves others on this stack and is not killed; run twinpath down first")
    options = {"rounds": rounds, **pace._asdict(), "warm_up_s": warm_up_s, "parts": parts}
    result = Result("outage", bed.run_id, command, pace.seed, options)
    result.limits["fsyncs_per_s"] = fsyncs_per_s(bed.stack.postgres.data.parent)
    if warm_up_s:
        with bed.segment() as segment:
            pace._replace(seconds=warm_up_s).write(bed, segment)
        result.warm_up[PART] = f"{warm_up_s:g} s of commits at {pace.rate}/s before the first round"
    for number, name in in_turn(VARIANTS, rounds):
        _round(bed, result, pace, name, number)
    judge(result)
    path = result.finish(bed.folder, private=bed.private, warm=warm_up_s >= WARM_S)
    return result, result.markdown(tables(result)), path


def _round(bed: Bed, result: Result, pace: Pace, name: str, number: int) -> None:
    """One variant: in both Connect is down while the commits are measured, so that only slot and log differ."""
    with bed.segment() as segment:
        try:
            taken = _die(bed, segment, pace.seed) if name == DEAD else 0
            process.stop(bed.stack.home, connect.NAME, signal.SIGKILL)
            segment.checkpoint()
            began_lsn = fence.current_lsn(segment.dsn("postgres"))
            with bed.metered() as usage:
                commits = pace.write(bed, segment)
            figures = _felt(commits, fence.current_lsn(segment.dsn("postgres")) - began_lsn)
            if name == DEAD:
                figures |= _kept(segment) | _drain(bed, segment, commits.committed + taken)
        finally:
            _have_connect(bed)
    result.add(PART, name, number, figures, usage)
    mark = " (disturbed)" if usage.disturbed else ""
    drained = f", drained in {figures['drained_s']} s" if name == DEAD else ""
    bed.progress.say(f"{PART}, round {number}, {name}: p99 {figures[P99]} ms, {commits.failed} failed{drained}{mark}")


def _die(bed: Bed, segment: Segment, seed: int) -> int:
    """A pipeline that has judged a few rows, then its agents are killed; Connect goes next. Returns how many rows."""
    segment.start_connector(connectors.ours(bed.stack.home, segment.settings))
    for rule in RULES:
        segment.agents.start(rule)
    for rule in RULES:
        segment.agents.wait(rule)
    fill(segment, 1, 1, USERS, seed)
    segment.wait(lambda: segment.arrived() >= 1, "the first change was in the topic")
    connect.wait_for_offset(segment.settings)
    segment.wait_until_judged(RULES.values(), SLACK_S)
    for rule in RULES:
        segment.agents.kill(rule)
    return 1


def _felt(commits: Commits, wal_bytes: int) -> dict[str, Figure]:
    figures: dict[str, Figure] = {"commits_per_s": commits.per_s, "failed_commits": commits.failed}
    figures |= flat("commit_ms", commits.latency_ms) | flat("late_ms", commits.late_ms)
    return figures | {"wal_bytes_per_commit": round(wal_bytes / max(commits.committed, 1))}


def _kept(segment: Segment) -> dict[str, Figure]:
    """What the slot keeps when the writers are done; nobody must have read it meanwhile."""
    slot = slot_at(segment.dsn("postgres"), segment.settings.slot)
    if slot is None or slot.active or slot.lost:
        raise ServiceFault(f"found the slot {slot}, wanted one that nobody reads and that has its log")
    with closing(psycopg2.connect(segment.dsn("postgres"))) as session, session.cursor() as cursor:
        cursor.execute("SELECT sum(size)::bigint FROM pg_ls_waldir()")
        (wal,) = cursor.fetchone() or (0,)
    return {"wal_kept_bytes": slot.retained_bytes, "pg_wal_bytes": wal}


def _drain(bed: Bed, segment: Segment, rows: int) -> dict[str, Figure]:
    """Start everything again; seconds until Connect answered, until the topic held all, until all was judged."""
    began = time.monotonic()
    bed.stack.connect.start()
    for rule in RULES:
        segment.agents.start(rule)
    bed.stack.connect.wait()
    answered = time.monotonic()
    timeout_s = SLACK_S + rows / 1_000
    with Topic(segment.settings) as topic:
        segment.wait(lambda: topic.records() >= rows, "every commit was in the topic", timeout_s)
    captured = time.monotonic()
    segment.wait_until_judged(RULES.values(), timeout_s)
    return {
        "connect_up_s": round(answered - began, 1),
        "captured_s": round(captured - began, 1),
        "drained_s": round(time.monotonic() - began, 1),
        "rows_drained": rows,
    }


def _have_connect(bed: Bed) -> None:
    """What the names own can be removed only while Connect answers."""
    if process.running(bed.stack.home, connect.NAME) is None:
        bed.stack.connect.start()
    bed.stack.connect.wait()


def judge(result: Result) -> None:
    """I6, as far as it was measured; the ratio of both p99 beside it."""
    felt.judge(result, "I6", felt.Compared(PART, NOBODY, DEAD, P99), f"commit p99, {DEAD}")
    result.ratio(PART, P99, DEAD, NOBODY)
    result.ratio(PART, "commit_ms_p50", DEAD, NOBODY)
    for figure in ("wal_kept_bytes", "drained_s"):
        result.estimated(PART, DEAD, figure)


def tables(result: Result) -> list[str]:
    """One table for what the writers felt, one for what was left behind."""
    felt_ = {"commits/s": "commits_per_s", "p50 ms": "commit_ms_p50", "p99 ms": P99, "p99.9 ms": "commit_ms_p99.9"}
    left = {
        "WAL bytes/commit": "wal_bytes_per_commit",
        "WAL kept, bytes": "wal_kept_bytes",
        "pg_wal, bytes": "pg_wal_bytes",
        "Connect up s": "connect_up_s",
        "all in the topic s": "captured_s",
        "all judged s": "drained_s",
    }
    return result.table(PART, {**felt_, "failed": "failed_commits", **left})
