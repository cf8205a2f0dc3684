"""Batch jobs that look again and again: in a kept Spark session, at moments set beforehand."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import numpy as np
import psutil

from lab.batch_runs import Summary, WarmSession, job_environment, warm_session
from lab.bench import cpu
from lab.bench.committing import Commits
from lab.bench.result import Figure
from lab.experiments.span import Field
from twinpath.errors import ServiceFault

ONE_SCAN = ("--partitions", "1")
"""The cheapest read for the source: `safe` finds new transactions by a scan, and each partition more scans it all."""
WARM_UPS = 2  # runs of each job, dropped: the first judges what was in the table, the second is like those that count


class Job(NamedTuple):
    """One polling job: the options of its runs, and the session that they take place in."""

    session: WarmSession
    options: Sequence[str]

    def run(self) -> Summary:
        """One look at the table."""
        summary = self.session.run([*self.options, *ONE_SCAN])
        if not summary["merged"]:
            raise ServiceFault(f"a run of {' '.join(self.options)} was not merged: something else writes its progress")
        return summary


@contextmanager
def session(field: Field, name: str, parameters: dict[str, Any]) -> Iterator[WarmSession]:
    """A kept session whose alert store is on the second server; ready when the block begins."""
    settings = field.segment.settings
    held = field.second.hold(settings, f"{settings.alerts_database}_batch_{name}")
    given = held.model_copy(update={"rule_parameters": parameters})
    environment = job_environment(given, field.segment.stack.credentials)
    with warm_session(environment, field.bed.folder / f"session-{name}.log") as warm:
        warm.ready()
        yield warm


def readers(sessions: Sequence[WarmSession]) -> dict[str, cpu.Read]:
    """CPU of the sessions: Java, and the Python workers that it starts."""
    processes = [psutil.Process(one.pid) for one in sessions]
    return {"spark": lambda: sum(map(cpu.tree, processes))} if processes else {}


class Polling:
    """Jobs that look every `interval_s` seconds, one after another, and once more when the writer has ended."""

    def __init__(self, jobs: Sequence[Job], interval_s: float) -> None:
        self._jobs = jobs
        self._interval_s = interval_s
        self._known: list[int] = []
        self._last: list[Summary] = []
        self.taken_s: list[float] = []

    def warm_up(self) -> None:
        """Runs that are dropped."""
        for _ in range(WARM_UPS):
            self._look()

    def catch_up(self) -> None:
        """Look at what was written since these jobs looked last, so that no span pays for another one."""
        self._known = self._look()
        self.taken_s = []

    def deliver(self, writing: "Future[Commits]") -> None:
        """Look until everything that the writer commits was looked at."""
        follow(writing, self._look_timed, self._interval_s)

    def missed(self, committed: int) -> int:
        """Rows of the span that the job that knows the fewest does not know."""
        found = [_known(one) for one in self._last]
        return max(before + committed - after for before, after in zip(self._known, found, strict=True))

    def figures(self) -> dict[str, Figure]:
        """How many looks there were, and the seconds of one (all jobs together)."""
        median = round(float(np.median(self.taken_s)), 3) if self.taken_s else None
        return {"polls": len(self.taken_s), "poll_seconds_p50": median}

    def _look(self) -> list[int]:
        self._last = [job.run() for job in self._jobs]
        return [_known(one) for one in self._last]

    def _look_timed(self) -> None:
        began = time.monotonic()
        self._look()
        self.taken_s.append(time.monotonic() - began)


def _known(summary: Summary) -> int:
    """Rows that every rule of a job knows as judged."""
    return min(int(one) for one in summary["rows_known"].values())


def follow(writing: "Future[Any]", look: Callable[[], None], interval_s: float) -> None:
    """Look at every multiple of the interval from now on until the writer has ended, and then once more.

    A multiple that comes while a look goes on is passed over.
    """
    began, number = time.monotonic(), 1
    while not _ended(writing, began + number * interval_s - time.monotonic()):
        look()
        number = int((time.monotonic() - began) // interval_s) + 1
    look()


def _ended(writing: "Future[Any]", timeout_s: float) -> bool:
    """Wait for the writer that long at the most; True when it has ended, well or not."""
    with suppress(TimeoutError):
        writing.exception(max(0.0, timeout_s))
    return writing.done()
