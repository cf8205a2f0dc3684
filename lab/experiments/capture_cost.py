"""What CDC costs the source's PostgreSQL at a rate: the same one-row commits with and without our connector on them.

No agent runs: agents read Kafka, and touch the source neither for one consumer nor for many.
"""

import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from lab.bench import connectors
from lab.bench.bed import Bed, Segment
from lab.bench.committing import Commits, write
from lab.bench.cpu import Read, Usage
from lab.bench.result import Figure
from lab.crossover import Load, Point
from lab.experiments import fine_cpu
from lab.experiments.polled_table import NO_AUTOVACUUM, USERS
from lab.stack import connect, process

CLIENTS = 4
SETTLE_S = 1
IDLE = 0
IDLE_TIMES = 2  # as long as the other phases: the connector reports to an idle walsender every 10 s
IDLE_RESOLUTION = 1e-5
SAME_WITHIN = 0.05  # two phases of the same writing differ by so much: the difference shows no less
CDC_ROLE = "twinpath_cdc"
QUIET_S = 0.3  # for sessions of ours to end: their last work is no cost of CDC
TIMEOUT_S = 120.0
PROGRAMS = ("kafka", "connect")
"""What CDC needs beside PostgreSQL and the consumers."""


class Spent(NamedTuple):
    """One phase: seconds, commits in it, CPU seconds of the server and of the connector's sessions; of all."""

    seconds: float
    commits: int
    server_s: float
    sessions_s: float
    usage: Usage


class Pair(NamedTuple):
    """A rate without (None where nothing is written) and with the connector."""

    rate: int
    alone: Spent | None
    live: Spent


def measured(bed: Bed, server: Read, rate: int, seconds: int, number: int, seed: int) -> Pair:
    """One rate (0: nothing is written), in odd rounds first without the connector, in even ones first with it."""
    with bed.segment() as segment:
        segment.rows(NO_AUTOVACUUM, database=segment.settings.source_database)
        spent: dict[bool, Spent] = {}
        written = 0
        order = (False, True) if number % 2 else (True, False)
        for live in order if rate != IDLE else (True,):
            _connected(bed, segment, live=live)
            written += _written(bed, segment, rate, SETTLE_S, seed).committed if rate else 0
            segment.checkpoint()
            spent[live] = _phase(bed, segment, server, rate, seconds, seed, written if live else None)
            written += spent[live].commits
    return Pair(rate, spent.get(False), spent[True])


def memory_mb(bed: Bed) -> dict[str, float]:
    """Resident memory of what CDC needs beside PostgreSQL and its consumers."""
    found = {name: process.running(bed.stack.home, name) for name in PROGRAMS}
    return {name: round(one.memory_info().rss / 2**20) for name, one in found.items() if one is not None}


def _connected(bed: Bed, segment: Segment, *, live: bool) -> None:
    if live:
        segment.start_connector(connectors.ours(bed.stack.home, segment.settings))
    else:
        connect.delete_connector(segment.settings)


def _written(bed: Bed, segment: Segment, rate: int, seconds: int, seed: int) -> Commits:
    return write(segment, bed.folder, seconds=seconds, rate=rate, clients=CLIENTS, users=USERS, seed=seed)


def _phase(bed: Bed, segment: Segment, server: Read, rate: int, seconds: int, seed: int, before: int | None) -> Spent:
    """`before`: rows that the connector had to bring so far, None without a connector; it brings the rest inside."""
    sessions: Read = (lambda: 0.0) if before is None else _sessions(segment)
    commits = 0
    time.sleep(QUIET_S)
    began, server_s, sessions_s = time.monotonic(), server(), sessions()
    with bed.metered() as usage:
        if rate == IDLE:
            time.sleep(IDLE_TIMES * seconds)
        else:
            commits = _written(bed, segment, rate, seconds, seed).committed
        if before is not None:
            wanted = before + commits
            segment.wait(lambda: segment.arrived() >= wanted, "every commit was in the topic", TIMEOUT_S)
        server_s, sessions_s = server() - server_s, sessions() - sessions_s
        took = time.monotonic() - began
    return Spent(took, commits, server_s, sessions_s, usage)


def _sessions(segment: Segment) -> Read:
    """The walsender of our slot, and whatever else the connector keeps open."""
    segment.walsender()
    query = "SELECT pid FROM pg_stat_activity WHERE usename = %s AND datname = %s"
    found = segment.rows(query, [CDC_ROLE, segment.settings.source_database], "postgres")
    return lambda: sum(fine_cpu.one(pid) for (pid,) in found)


def compared(pairs: Sequence[Pair]) -> Iterator[tuple[Point, dict[str, Figure], Usage]]:
    """The cost of each rate of a round: the connector's sessions, and what waking them costs the writers per row.

    The sessions are read by themselves. What the writers pay is the difference of two phases, less than the noise of
    one of them: it is taken of all rates together.
    """
    written = [(alone, live) for _, alone, live in pairs if alone is not None]
    rows = sum(live.commits for _, live in written)
    alone_s = sum(alone.server_s / max(1, alone.commits) * live.commits for alone, live in written)
    woken_s = max(0.0, sum(live.server_s - live.sessions_s for _, live in written) - alone_s) / max(1, rows)
    for rate, alone, live in pairs:
        found = live.commits / live.seconds
        cost = live.sessions_s / live.seconds + woken_s * found
        figures = _figures(live, cost)
        if alone is not None:
            live.usage.foreign = max(alone.usage.foreign, live.usage.foreign)
            figures |= {
                "cdc_cpu_us_per_row": round(cost * 1e6 / found, 2),
                "sessions_cpu_us_per_row": round(live.sessions_s * 1e6 / max(1, live.commits), 2),
                "writers_cpu_us_per_row": round(alone.server_s * 1e6 / max(1, alone.commits), 2),
                "difference_cpu_us_per_row": round(
                    (live.server_s / max(1, live.commits) - alone.server_s / max(1, alone.commits)) * 1e6, 2
                ),
            }
        resolution = IDLE_RESOLUTION + SAME_WITHIN * alone_s / max(1, rows) * found
        yield Point("cdc", group(rate), Load(found, 0, 1), cost, resolution), figures, live.usage


def _figures(live: Spent, cost: float) -> dict[str, Figure]:
    return {
        "rate_per_s": round(live.commits / live.seconds, 1),
        "cdc_cpu_ms_per_s": round(cost * 1e3, 4),
        "sessions_cpu_ms_per_s": round(live.sessions_s / live.seconds * 1e3, 4),
        **{f"{name}_cpu_ms_per_s": _per_s(live.usage, name) for name in PROGRAMS},
    }


def _per_s(usage: Usage, program: str) -> float:
    return round(usage.cpu_s.get(program, 0.0) / usage.wall_s * 1e3, 2)


def group(rate: int) -> str:
    """The name of a rate's points."""
    return f"{rate} rows/s" if rate else "nothing written"
