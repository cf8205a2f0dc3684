"""The batch side without Airflow: one kept Spark session runs the job on an anchored schedule, the path's best case.

From mid-load on `safe` runs every interval. `naive-id` runs once in mid-load and once at the end, as under Airflow.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from lab.batch_runs import WarmSession, job_environment, warm_session
from lab.batch_side import AT_THE_END, BatchRun
from lab.beside import BesideFound
from lab.console import Progress
from lab.stack.stack import Stack
from twinpath.batch_summary import BatchSummary
from twinpath.settings import Settings

OPTIONS = ("--read", "partitioned")


class BatchLoop:
    """The schedule; runs come one after the other, and one that overruns its interval makes the next late."""

    def __init__(self, session: WarmSession, interval_s: float, progress: Progress) -> None:
        self._session = session
        self._interval_s = interval_s
        self._progress = progress
        self._runs: list[BatchRun] = []
        self._over = threading.Event()
        self._fault: Exception | None = None
        self._thread = threading.Thread(target=self._keep, name="batch-loop")

    def begin_batch(self) -> None:
        """In mid-load: a run of `naive-id`, then `safe` by the schedule."""
        self._progress.say(f"batch: --mode safe every {self._interval_s:g} s in one kept Spark session")
        self._thread.start()

    def finish(self) -> BesideFound:
        """When everything is written: one more run of each mode."""
        with self._progress.step("batch: one more run of each mode") as step:
            self.stop()
            if self._fault is not None:
                raise self._fault
            for mode in AT_THE_END:
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
            self._run("naive-id", "manual", datetime.now(tz=UTC))
            due = datetime.now(tz=UTC)
            while not self._over.is_set():
                self._run("safe", "scheduled", due)
                due += timedelta(seconds=self._interval_s)
                self._over.wait(max(0.0, (due - datetime.now(tz=UTC)).total_seconds()))
        except Exception as error:
            self._fault = error

    def _run(self, mode: str, kind: str, due: datetime) -> None:
        waited_s = max(0.0, (datetime.now(tz=UTC) - due).total_seconds())
        began = time.monotonic()
        summary = msgspec.convert(self._session.run(["--mode", mode, *OPTIONS]), BatchSummary)
        whole_s = time.monotonic() - began
        parts = {name: seconds for name, seconds in summary.seconds.items() if name != "whole"}
        rest = {"schedule": waited_s, **parts, "session": max(0.0, whole_s - sum(parts.values()))}
        seconds = {name: round(value, 3) for name, value in rest.items()}
        self._runs.append(BatchRun(f"{kind}-{len(self._runs) + 1}", kind, due, 1, summary, seconds))


@contextmanager
def batch_loop(stack: Stack, settings: Settings, folder: Path, interval_s: float) -> Iterator[BatchLoop]:
    """A kept session that is open, for the block."""
    with stack.progress.step("batch: a kept Spark session") as step:
        environment = job_environment(settings, stack.credentials)
        with warm_session(environment, folder / "batch-session.log") as session:
            session.ready()
            step.done = "open"
            loop = BatchLoop(session, interval_s, stack.progress)
            try:
                yield loop
            finally:
                loop.stop()
