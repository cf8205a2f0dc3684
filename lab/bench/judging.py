"""One measured run of the batch job: its seconds, its memory, and what PostgreSQL did for it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import psutil

from lab.batch_runs import Summary
from lab.bench.bed import Segment
from lab.bench.result import Figure
from twinpath.errors import ServiceFault

SAMPLE_S = 0.1
MB = 2**20
EMPTIED = "TRUNCATE alert_log, batch_progress, batch_runs, batch_staged, state_buckets, counters, dead_letters"
BILL = """
SELECT coalesce(sum(calls), 0)::bigint, coalesce(sum(rows), 0)::bigint,
       coalesce(sum(shared_blks_hit + shared_blks_read), 0)::bigint, coalesce(sum(total_exec_time), 0)::float
FROM pg_stat_statements
WHERE dbid = (SELECT oid FROM pg_database WHERE datname = %s) AND query LIKE '%%pg_xact_commit_timestamp%%'"""
DIGEST = """
SELECT count(*)::int, md5(string_agg(concat_ws(' ', rule, tx_id, status, score, reason), ',' ORDER BY rule, tx_id))
FROM alert_log"""


class Memory:
    """The most resident memory (MB) that processes and all their children had together; shared pages count in each."""

    def __init__(self) -> None:
        self.peak_mb = 0.0
        self._roots: list[psutil.Process] = []

    def watch(self, pid: int) -> None:
        """This process and its children from now on."""
        self._roots.append(psutil.Process(pid))

    @contextmanager
    def measured(self) -> Iterator["Memory"]:
        """Sample ten times a second during the block."""
        over = threading.Event()
        sampler = threading.Thread(target=self._sample, args=[over], name="memory")
        sampler.start()
        try:
            yield self
        finally:
            over.set()
            sampler.join()

    def _sample(self, over: threading.Event) -> None:
        while not over.wait(SAMPLE_S):
            self.peak_mb = max(self.peak_mb, sum(map(_resident, self._roots)) / MB)


def _resident(root: psutil.Process) -> int:
    try:
        family = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    total = 0
    for one in family:
        try:
            total += one.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


class Bill(NamedTuple):
    """What reading has cost the source so far: statements, rows sent, blocks looked at, milliseconds in statements."""

    statements: int
    rows_sent: int
    blocks: int
    ms: float


def prepare(segment: Segment) -> Bill:
    """An alert store that has seen nothing, no checkpoint about to fall due; returns the bill so far."""
    segment.rows(EMPTIED)
    segment.checkpoint()
    return bill(segment)


def bill(segment: Segment) -> Bill:
    ((statements, rows, blocks, ms),) = segment.rows(BILL, [segment.settings.source_database], "postgres")
    return Bill(statements, rows, blocks, ms)


def cost(segment: Segment, before: Bill) -> dict[str, Figure]:
    """What reading has cost the source since then."""
    now = bill(segment)
    return {
        "statements": now.statements - before.statements,
        "rows_sent": now.rows_sent - before.rows_sent,
        "blocks": now.blocks - before.blocks,
        "statements_s": round((now.ms - before.ms) / 1000, 3),
    }


def figures(segment: Segment, before: Bill, summary: Summary, rows: int) -> dict[str, Figure]:
    """Seconds of a run by part; ServiceFault when it did not judge every row."""
    if (summary["merged"], summary["rows_read"]) != (True, rows):
        raise ServiceFault(f"a run judged {summary['rows_read']} rows (merged: {summary['merged']}), wanted {rows}")
    seconds: dict[str, Figure] = {f"{part}_s": taken for part, taken in summary["seconds"].items()}
    return {**seconds, "alerts": summary["alerts_written"], **cost(segment, before)}


def digest(segment: Segment) -> tuple[int, str]:
    """How many alerts are stored, and a digest of what they say."""
    ((count, text),) = segment.rows(DIGEST)
    return count, text
