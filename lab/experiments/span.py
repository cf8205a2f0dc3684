"""One span of an experiment: one-row commits at a rate while somebody reads, and what the source's server paid.

A span ends when every committed row has been delivered, so that its cost is that of whole deliveries.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

import msgspec

from lab.bench import table
from lab.bench.bed import Bed, Segment
from lab.bench.committing import Commits, write
from lab.bench.cpu import Read, Usage, backend, metered
from lab.bench.result import Figure, Result
from lab.bench.second import Second
from lab.measure.counters import Counters, billed

CLIENTS = 4
USERS = 9_000
SETTLE_S = 1.0  # before a span: the readers of the one before shall have gone
EXIT_S = 0.3  # at its end: a session that has just been closed hands its counts over when its process ends
LAB = "lab"
"""Name of a reader: the processes of the source's server that serve us, who count."""
PER_THOUSAND = ("statements", "rows_returned", "rows_scanned", "blocks_read", "blocks_hit", "sessions", "wal_bytes")

Reading = Callable[["Future[Commits]"], None]
"""Reads while the writer is at work; returns when all that it had committed has been delivered."""


class Load(NamedTuple):
    """One-row commits: how many a second, for how many seconds, into a table that held how many rows; one seed."""

    rate: int
    seconds: float
    rows: int
    seed: int

    @property
    def commits(self) -> int:
        """Commits of a span, all connections together."""
        return max(1, int(self.rate * self.seconds) // CLIENTS) * CLIENTS


class Spent(msgspec.Struct):
    """What a span left: its commits (none when nobody wrote), CPU by process, the source's counters."""

    committed: int = 0
    failed: int = 0
    usage: Usage = msgspec.field(default_factory=Usage)
    counters: Counters = msgspec.field(default_factory=Counters)


class Field:
    """Where spans take place: one table on the source's server; the alert stores are on a second server."""

    def __init__(self, bed: Bed, segment: Segment, second: Second, load: Load) -> None:
        self.bed = bed
        self.segment = segment
        self.second = second
        self.load = load

    def fill(self) -> None:
        """The rows that are in the table beforehand."""
        with self.bed.progress.step(f"{self.load.rows} rows") as step:
            table.fill(self.segment, self.load.rows, USERS, self.load.seed)
            step.done = "written"

    def quiet(self, more: Mapping[str, Read]) -> Spent:
        """A span in which nobody writes and nobody reads."""
        with self._measured(more) as spent:
            time.sleep(self.load.seconds)
        return spent

    def written(self, more: Mapping[str, Read], reading: Reading | None = None) -> Spent:
        """A span in which rows are written, and read by `reading` if there is one."""
        with ThreadPoolExecutor(1, thread_name_prefix="writer") as pool, self._measured(more) as spent:
            writing = pool.submit(self._write)
            if reading is not None:
                reading(writing)
            commits = writing.result()
            time.sleep(EXIT_S)
        spent.committed, spent.failed = commits.committed, commits.failed
        return spent

    def _write(self) -> Commits:
        load = self.load
        return write(
            self.segment,
            self.bed.folder,
            commits=load.commits,
            rate=load.rate,
            clients=CLIENTS,
            users=USERS,
            seed=load.seed,
        )

    @contextmanager
    def _measured(self, more: Mapping[str, Read]) -> Iterator[Spent]:
        """After a CHECKPOINT, so that none falls due soon."""
        segment, spent = self.segment, Spent()
        segment.checkpoint()
        time.sleep(SETTLE_S)
        homes = [self.bed.stack.home, self.second.home]
        billing = billed(segment.dsn("postgres"), segment.settings.source_database)
        with billing as bill:
            asking = [found for pid in bill.asking if (found := backend(pid)) is not None]
            with metered(homes, {**more, LAB: lambda: sum(read() for read in asking)}) as usage:
                yield spent
        spent.usage, spent.counters = usage, bill.counters


def figures(spent: Spent) -> dict[str, Figure]:
    """What a span cost, as it was and, when rows were written, for each of them (CPU) or for 1,000 (counters).

    PostgreSQL's CPU is that of all its processes but those that serve the lab.
    """
    found: dict[str, Figure] = {"rows_written": spent.committed, "failed_commits": spent.failed}
    used_s = dict(spent.usage.cpu_s)
    used_s["postgres"] = round(used_s["postgres"] - used_s.pop(LAB, 0.0), 3)
    found |= {f"{part}_cpu_s": used for part, used in used_s.items()}
    counters: dict[str, int] = msgspec.structs.asdict(spent.counters)
    found |= counters
    if spent.committed:
        for part, used in used_s.items():
            found[f"{part}_cpu_us_per_row"] = round(used * 1e6 / spent.committed, 2)
        for name in PER_THOUSAND:
            found[f"{name}_per_1000_rows"] = round(counters[name] * 1000 / spent.committed, 3)
    return found


def put_over(result: Result, part: str, base: str) -> None:
    """Add to each round what reading cost beside writing: CPU over that of the variant `base` in the same round."""
    name = "postgres_cpu_us_per_row"
    bases = {one.number: one.figures[name] for one in result.rounds if (one.part, one.variant) == (part, base)}
    for one in result.rounds:
        ours, theirs = one.figures.get(name), bases.get(one.number)
        if one.part == part and one.variant != base and ours is not None and theirs is not None:
            one.figures["over_writers_cpu_us_per_row"] = round(ours - theirs, 2)
