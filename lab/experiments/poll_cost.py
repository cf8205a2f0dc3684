"""What polls cost the source's PostgreSQL: one poll at a table size and number of new rows, and a real schedule.

A poll's cost is measured by itself, so that no interval must be waited for: cost per second = cost per poll / interval.
Some loads are then run by the clock, with writers at work, to hold that against.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from lab.bench import judging
from lab.bench.bed import Bed, Segment
from lab.bench.committing import Commits, write
from lab.bench.cpu import Read, Usage
from lab.bench.result import Figure
from lab.crossover import Load, Point, Side
from lab.experiments import fine_cpu
from lab.experiments.capture_cost import CLIENTS, SAME_WITHIN
from lab.experiments.polled_table import USERS, Mode, Poller, Table, on_schedule

SIDE_OF: dict[Mode, Side] = {"safe": "safe", "naive-id": "naive_id"}
Found = tuple[Point, dict[str, Figure], Usage]


class Source(NamedTuple):
    """Where polls are measured: one table, one consumer, and a reader of the server's CPU."""

    bed: Bed
    segment: Segment
    table: Table
    poller: Poller
    server: Read


def single(source: Source, mode: Mode, rate: int, interval_s: float, polls: int) -> Found:
    """`polls` polls, each with the rows new that this rate leaves in this interval."""
    new = max(1, round(rate * interval_s))
    table, poller = source.table, source.poller
    poller.start_over()
    with table.borrowed():
        before = judging.bill(source.segment)
        with source.bed.metered() as usage:
            spent = source.server() - table.writing()
            for _ in range(polls):
                table.add(new)
                poller.poll(mode)
            spent = source.server() - table.writing() - spent
        billed = judging.cost(source.segment, before)
    rows = table.rows + new * (polls + 1) / 2
    load = Load(rate=poller.rows_read / polls / interval_s, rows=rows, interval_s=interval_s)
    figures: dict[str, Figure] = {
        "postgres_cpu_ms_per_poll": round(spent / polls * 1e3, 3),
        "rows_in_table": round(rows),
        "rows_new": new,
        "rows_returned_per_poll": round(poller.rows_read / polls, 1),
        "run_s": float(np.median(poller.seconds)),
        "statements_ms_per_poll": round(float(billed["statements_s"] or 0) / polls * 1e3, 3),
        "blocks_per_poll": round(float(billed["blocks"] or 0) / polls),
    }
    resolution = fine_cpu.TICK_S / polls / interval_s
    name = group(mode, table.rows, new)
    return Point(SIDE_OF[mode], name, load, spent / polls / interval_s, resolution), figures, usage


def group(mode: Mode, rows: int, new: int) -> str:
    """The name of a load's points."""
    return f"{mode}, {rows:,} rows, {new:,} new"


class Scheduled:
    """Polls by the clock while rows are written; what the writers alone cost is measured first, and subtracted."""

    def __init__(self, source: Source, rate: int, interval_s: float, polls: int, seed: int) -> None:
        self._source = source
        self._rate, self._interval_s, self._polls, self._seed = rate, interval_s, polls, seed
        self._seconds = max(1, round(interval_s * polls))
        with source.table.borrowed():
            spent = source.server()
            commits = self._write()
            self._per_commit_s = (source.server() - spent) / max(1, commits.committed)

    def run(self, mode: Mode) -> Found:
        """One mode."""
        source = self._source
        source.poller.poll(mode)
        source.poller.start_over()
        with source.table.borrowed(), source.bed.metered() as usage:
            began, spent = time.monotonic(), source.server()
            with self._writing() as commits:
                on_schedule(lambda: source.poller.poll(mode), self._interval_s, self._polls)
            seconds, spent = time.monotonic() - began, source.server() - spent
        committed = commits[0].committed
        cost = (spent - self._per_commit_s * committed) / seconds
        load = Load(
            rate=source.poller.rows_read / seconds,
            rows=source.table.rows + committed / 2,
            interval_s=seconds / self._polls,
        )
        figures: dict[str, Figure] = {
            "interval_s": round(load.interval_s, 3),
            "rate_per_s": round(committed / seconds, 1),
            "rows_in_table": round(load.rows),
            "rows_returned_per_poll": round(source.poller.rows_read / self._polls, 1),
            "polling_cpu_ms_per_s": round(cost * 1e3, 3),
            "writers_cpu_us_per_row": round(self._per_commit_s * 1e6, 2),
            "run_s": float(np.median(source.poller.seconds)),
        }
        name = f"{mode}, {source.table.rows:,} rows, {self._rate} rows/s every {self._interval_s:g} s"
        resolution = max(2 * fine_cpu.TICK_S, SAME_WITHIN * self._per_commit_s * committed) / seconds
        return Point(SIDE_OF[mode], name, load, cost, resolution, scheduled=True), figures, usage

    def _write(self) -> Commits:
        return write(
            self._source.segment,
            self._source.bed.folder,
            seconds=self._seconds,
            rate=self._rate,
            clients=CLIENTS,
            users=USERS,
            seed=self._seed,
        )

    @contextmanager
    def _writing(self) -> Iterator[list[Commits]]:
        """Writers beside the block; they have ended when it has."""
        done: list[Commits | BaseException] = []

        def work() -> None:
            try:
                done.append(self._write())
            except Exception as error:  # raised where somebody waits for it
                done.append(error)

        writer = threading.Thread(target=work, name="writer")
        commits: list[Commits] = []
        writer.start()
        try:
            yield commits
        finally:
            writer.join()
        (found,) = done
        if isinstance(found, BaseException):
            raise found
        commits.append(found)
