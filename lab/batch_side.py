"""The batch side of a run: Airflow schedules `fraud_batch` while the load runs; more runs when everything is written.

From `begin` on `safe` runs by its schedule, every minute. `naive-id`, where it is wanted, runs once then and once at
the end, so that what it misses is missed by a watermark that a real run set.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from lab.console import Progress
from lab.measure.batch_input import Mode
from lab.stack.airflow import Airflow
from twinpath.batch_summary import BatchSummary
from twinpath.errors import ServiceFault

DAG = "fraud_batch"
SCHEDULE = "* * * * *"
INTERVAL_S = 60.0  # of that schedule
SCHEDULED: Mode = "safe"
AT_THE_END: tuple[Mode, ...] = (SCHEDULED, "naive-id")
TIMEOUT_S = 180.0  # for one run, those queued before it included
EVERY_S = 0.5
ENDED = ("success", "failed")
BESIDE_A_RUN = ("schedule", "check")  # parts of a run before its task was queued, and after its alerts were committed


class BatchRun(msgspec.Struct, frozen=True):
    """One run of the DAG: how it came about, and what the job said of itself.

    seconds, by part: schedule (from the end of its interval until its task was queued), queue (until the task started),
    submit (spark-submit and the start and end of its Java machine), then the parts of the job, and check.
    """

    run_id: str
    kind: str  # scheduled or manual
    run_after: datetime
    tries: int
    summary: BatchSummary
    seconds: dict[str, float]


class BatchSide:
    """The runs of `fraud_batch` of one Airflow."""

    def __init__(self, airflow: Airflow, progress: Progress, modes: Sequence[Mode] = AT_THE_END) -> None:
        self._modes = modes
        self._airflow = airflow
        self._api = airflow.api
        self._progress = progress
        self._triggered: list[str] = []

    def begin(self) -> None:
        """Ask for a run of each mode that is not scheduled, and switch the schedule on."""
        self._trigger(mode for mode in self._modes if mode != SCHEDULED)
        self._api.switch_on(DAG)
        self._progress.say(f"airflow: {DAG} switched on, --mode safe every minute")

    def _trigger(self, modes: Iterable[str]) -> None:
        """Ask for one run of each mode; they run one after the other."""
        for mode in modes:
            self._triggered.append(self._api.trigger(DAG, mode=mode))
            self._progress.say(f"airflow: {DAG} --mode {mode} triggered")

    def finish(self) -> list[BatchRun]:
        """Run each mode once more, wait for everything that was asked for, and tell of every run that has ended."""
        with self._progress.step("batch: one more run of each mode") as step:
            self._trigger(self._modes)
            deadline = time.monotonic() + TIMEOUT_S * len(self._triggered)
            while left := [one for one in self._triggered if self._state(one) not in ENDED]:
                if time.monotonic() > deadline:
                    raise ServiceFault(f"runs of {DAG} have not ended in time: {left}; look at the logs of Airflow")
                time.sleep(EVERY_S)
            runs = [self._run(one) for one in self._api.runs(DAG) if self._ended_well(one)]
            step.done = "done"
            step.detail = f"{len(runs)} runs, {sum(one.kind == 'scheduled' for one in runs)} of them by schedule"
        return runs

    def _state(self, run_id: str) -> str:
        return str(self._api.run(DAG, run_id)["state"])

    def _ended_well(self, found: dict[str, Any]) -> bool:
        """False for a run that is still at work; ServiceFault for one that failed."""
        if found["state"] == "failed":
            raise ServiceFault(f"run {found['dag_run_id']} of {DAG} failed; look at the logs of its tasks")
        return bool(found["state"] == "success")

    def _run(self, found: dict[str, Any]) -> BatchRun:
        run_id = found["dag_run_id"]
        tasks = {one["task_id"]: one for one in self._api.tasks(DAG, run_id)}
        summary = self._airflow.summary(run_id)
        return BatchRun(
            run_id=run_id,
            kind=found["run_type"],
            run_after=datetime.fromisoformat(found["run_after"]),
            tries=tasks["judge"]["try_number"],
            summary=summary,
            seconds=parts(found["run_after"], tasks["judge"], tasks["check"], summary.seconds),
        )


def run_seconds(seconds: Mapping[str, float]) -> float:
    """Of a run's seconds by part, those from its task being queued until its alerts were committed."""
    return sum(value for part, value in seconds.items() if part not in BESIDE_A_RUN)


def parts(run_after: str, judge: dict[str, Any], check: dict[str, Any], job: dict[str, float]) -> dict[str, float]:
    """Seconds of a run from the moment it was due until its check had ended, without a gap.

    The times are those of the last try.
    """
    due, queued, started, ended, checked = (
        datetime.fromisoformat(when).timestamp()
        for when in (run_after, judge["queued_when"], judge["start_date"], judge["end_date"], check["end_date"])
    )
    found = {
        "schedule": queued - due,
        "queue": started - queued,
        "submit": ended - started - sum(job.values()),
        **job,
        "check": checked - ended,
    }
    return {part: round(value, 3) for part, value in found.items()}
