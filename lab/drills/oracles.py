"""Both oracles of one line, carried from fence to fence: `replay` of the topic, and `replay` of the operation log.

Each comparison reads only what was written and delivered since the last one, so that its length and the write-ahead log
that it needs do not grow with the run; what is compared is all that the agents hold.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

import psycopg2

from lab.drills.equality import Found, found_of
from lab.drills.line import Line
from lab.drills.streams import Stream, compare_streams, with_snapshots
from lab.drills.traces import Traces
from lab.measure import fence, reference, witness
from lab.operations import Operation, read_operations
from twinpath.detection.envelope import EnvelopeDecoder
from twinpath.detection.model import Change, Transaction
from twinpath.detection.replay import Replay
from twinpath.errors import TwinpathError


class Oracles:
    """What was written to one line behind `start_lsn`, and what was delivered, as far as it was compared."""

    def __init__(self, line: Line, folder: Path, start_lsn: int, traces: Traces) -> None:
        self._line = line
        self._log = folder / "operations.jsonl"
        self._traces = traces
        self._decoder = EnvelopeDecoder(line.settings.envelope())
        self._lsn = start_lsn
        self._operations = 0  # of the log that were read
        self._snapshots = 0  # of the traces that were told
        self._offsets: Mapping[int, int] = {}
        self._table: dict[int, Transaction] = {}
        self._commits: dict[int, int] = {}
        self._written, self._delivered = Stream(), Stream()
        self._by_log = {rule.name: Replay(rule) for rule in line.rules}
        self._by_topic = {rule.name: Replay(rule) for rule in line.rules}
        self._unreadable: list[str] = []
        self._rows: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()

    def compare(self, ends: Mapping[int, int]) -> Found:
        """Hold everything below the `ends` of a fenced line against each other; figures are those of the whole run."""
        self._read_log()
        self._read_topic(ends)
        line, counts = self._line, self._counts
        stream = compare_streams(self._written, self._delivered)
        with closing(line.alerts()) as session:
            agents = [
                found_of(session, rule, self._by_topic[rule.name], self._by_log[rule.name], self._commits)
                for rule in line.rules
            ]
        for one in agents:
            one.unreadable = len(self._unreadable)
        if not (stream.lost or stream.extra or stream.disordered):
            self._written.settle()
            self._delivered.settle()
        return Found(
            rows=dict(sorted(self._rows.items())),
            changes_written=counts["written"],
            unknown=counts["unknown"],
            unknown_committed=counts["unknown_committed"],
            numbers_reused=counts["reused"],
            records=sum(ends.values()),
            changes_delivered=self._delivered.changes,
            delivered_twice=self._delivered.twice,
            snapshot_rows=self._delivered.snapshot_rows,
            stream=stream,
            agents=agents,
            unreadable=len(self._unreadable),
            unreadable_wanted=self._traces.unreadable,
        )

    def _read_log(self) -> None:
        """The operations since the last time, each settled, in the order of their COMMIT records."""
        dsn, traces = self._line.lab(), self._traces
        operations = list(read_operations(self._log, self._operations))
        goes_on = fence.flushed_lsn(dsn)
        commits = witness.commit_lsns(dsn, self._lsn, fence.current_lsn(dsn))
        begun_us = {one.full_xid: one.intended_us for one in operations if one.outcome == "unknown"}
        settled = witness.settle_lost(dsn, begun_us, commits, traces.restarts)
        ordered = reference.ordered(operations, commits, settled)
        snapshots = traces.snapshot_lsns[self._snapshots :]
        for change in with_snapshots(ordered, snapshots, traces.interrupted, self._table):
            _tell(self._written, self._by_log, change)
        self._operations += len(operations)
        self._snapshots += len(snapshots)
        self._lsn = goes_on
        self._commits.update(commits)
        self._rows.update(_rows(operations, settled))
        self._counts.update(
            written=len(ordered),
            unknown=len(begun_us),
            unknown_committed=sum(settled.values()),
            reused=_reused(operations),
        )

    def _read_topic(self, ends: Mapping[int, int]) -> None:
        settings = self._line.settings
        for change in reference.topic_changes(settings, ends, self._decoder, self._unreadable, self._offsets):
            _tell(self._delivered, self._by_topic, change)
        self._offsets = ends


def judge(line: Line, oracles: Oracles) -> tuple[Found | None, str]:
    """Fence the line and compare; without a comparison, why there is none."""
    try:
        ends = line.wait_until_judged()
    except (TwinpathError, psycopg2.Error) as problem:
        return None, str(problem).strip()
    with line.stack.progress.step("comparing with both oracles") as step:
        found = oracles.compare(ends)
        step.done = "done"
    return found, ""


def _tell(stream: Stream, replays: Mapping[str, Replay], change: Change) -> None:
    stream.add(change)
    for one in replays.values():
        one.apply(change)


def _rows(operations: Iterable[Operation], settled: Mapping[int, bool]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for one in operations:
        kept = settled[one.full_xid] if one.outcome == "unknown" else one.outcome == "committed"
        counts[one.op if kept else "rolled_back"] += 1
    return counts


def _reused(operations: Iterable[Operation]) -> int:
    """Transaction numbers that a lost server gave out twice."""
    begun: dict[int, set[int]] = {}
    for one in operations:
        begun.setdefault(one.full_xid, set()).add(one.intended_us)
    return sum(len(times) > 1 for xid, times in begun.items() if xid)
