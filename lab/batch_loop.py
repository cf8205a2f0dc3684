"""The batch side without Airflow: one kept Spark session runs the job on an anchored schedule, the path's best case.

From the beginning of the load on its modes run every interval, one after the other, and once more at the end; by
default `safe`, `naive-id` and `naive-time`, with `full` judging the whole table at the end.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import psutil

from lab.batch_runs import WarmSession, job_environment, warm_session
from lab.batch_side import BatchRun
from lab.beside import BesideFound
from lab.console import Progress
from lab.measure.batch_input import Mode
from lab.stack.stack import Stack
from twinpath.batch_summary import BatchSummary
from twinpath.process_usage import of_family
from twinpath.settings import Settings

OPTIONS = ("--read", "partitioned")
EVERY_TIME: tuple[Mode, ...] = ("safe", "naive-id", "naive-time")
AT_THE_END: tuple[Mode, ...] = (*EVERY_TIME, "full")


class BatchLoop:
    """The schedule; runs come one after the other, and one that overruns its interval makes the next late."""

    begins_at = 0.0

    def __init__(
        self,
        session: WarmSession,
        interval_s: float,
        progress: Progress,
        every_time: Sequence[Mode] = EVERY_TIME,
        at_the_end: Sequence[Mode] = AT_THE_END,
    ) -> None:
        self._session = session
        self._interval_s = interval_s
        self._every_time = every_time
        self._at_the_end = at_the_end
        self._progress = progress
        self._runs: list[BatchRun] = []
        self._over = threading.Event()
        self._fault: Exception | None = None
        self._thread = threading.Thread(target=self._keep, name="batch-loop")

    def begin_batch(self) -> None:
        """Switch the schedule on."""
        self._progress.say(
            f"batch: {', then '.join(self._every_time)} every {self._interval_s:g} s in one kept Spark session"
        )
        self._thread.start()

    def finish(self) -> BesideFound:
        """When everything is written: one more run of each mode."""
        with self._progress.step("batch: one more run of each mode") as step:
            self.stop()
            if self._fault is not None:
                raise self._fault
            for mode in self._at_the_end:
                self._run(mode, "manual", datetime.now(tz=UTC))
            step.done = "done"
            scheduled = sum(one.kind == "scheduled" for one in self._runs)
            step.detail = f"{len(self._runs)} runs, {scheduled} of them by schedule"
        return BesideFound(self._runs, scheduler="loop", interval_s=self._interval_s)

    def stop(self) -> None:
        """End the schedule after the run that is under way."""
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _keep(self) -> None:
        try:
            due = datetime.now(tz=UTC) + timedelta(seconds=self._interval_s)
            while not self._over.wait(max(0.0, (due - datetime.now(tz=UTC)).total_seconds())):
                for mode in self._every_time:
                    self._run(mode, "scheduled", due)
                due += timedelta(seconds=self._interval_s)
        except Exception as error:
            self._fault = error

    def _run(self, mode: str, kind: str, due: datetime) -> None:
        waited_s = max(0.0, (datetime.now(tz=UTC) - due).total_seconds())
        began, (cpu_s, _) = time.monotonic(), self._usage()
        said = self._session.run(["--mode", mode, *OPTIONS])
        whole_s, (later_s, peak_mb) = time.monotonic() - began, self._usage()
        used = {"cpu_s": round(later_s - cpu_s, 2), "peak_rss_mb": round(peak_mb, 1)}
        summary = msgspec.convert(said | used, BatchSummary)
        parts = {name: seconds for name, seconds in summary.seconds.items() if name != "whole"}
        rest = {"schedule": waited_s, **parts, "session": max(0.0, whole_s - sum(parts.values()))}
        seconds = {name: round(value, 3) for name, value in rest.items()}
        self._runs.append(BatchRun(f"{kind}-{len(self._runs) + 1}", kind, due, 1, summary, seconds))

    def _usage(self) -> tuple[float, float]:
        """CPU seconds of the session until now, and its peak MB."""
        return of_family(psutil.Process(self._session.pid))


@contextmanager
def batch_loop(
    stack: Stack,
    settings: Settings,
    folder: Path,
    interval_s: float,
    every_time: Sequence[Mode] = EVERY_TIME,
    at_the_end: Sequence[Mode] = AT_THE_END,
) -> Iterator[BatchLoop]:
    """A kept session for the block, open and warmed by a run of each mode on the empty table."""
    environment = job_environment(settings, stack.credentials)
    with warm_session(environment, folder / "batch-session.log") as session:
        with stack.progress.step("batch: a kept Spark session, warmed by a run of each mode") as step:
            session.ready()
            for mode in at_the_end:
                session.run(["--mode", mode, *OPTIONS])
            step.done = "ready"
        loop = BatchLoop(session, interval_s, stack.progress, every_time, at_the_end)
        try:
            yield loop
        finally:
            loop.stop()
