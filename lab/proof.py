"""One proved run: all paths under one load, with two processes killed where wanted, and proof that nothing was lost.

Own databases, topic, slot, groups, alert store and Airflow, named by the run; removed at the end. The alerts of
agents and Spark stream are compared with `replay` of the topic and with `replay` of the operation log in the order
of PostgreSQL's COMMIT records; those of the batch path with the latter, each difference with its cause.
"""

import signal
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from lab.beside import BesideFound, OpenSides, Sides
from lab.load import Load, LoadResult, announced, said, workload_of
from lab.log_fed import LogFed
from lab.measure import fence, lag, witness
from lab.measure.comparison import compare_run
from lab.measure.evidence import Evidence
from lab.measure.labels import read_payments
from lab.mid_load import Event, MidLoad
from lab.report.summary import write_summary
from lab.stack import process
from lab.stack.connect import wait_for_tasks
from lab.stack.scope import Scope
from lab.stack.stack import Stack
from lab.watch_alerts import say_first_alert
from twinpath.detection.rules import RULES, Rule, configured
from twinpath.errors import ServiceFault
from twinpath.settings import Settings

SLOT_TIMEOUT_S = 90.0
WARM_UP_S = 10.0  # of the load: the Java machines compile
KILL_AGENT, KILL_CONNECT = 0.35, 0.45  # when, as shares of the load's duration


class Judged(NamedTuple):
    """A load of which every log-fed path has judged everything: the ends of the topic's partitions, and the witness,
    which is asked at once, for a checkpoint may remove the log. Begun with the load, finished with the fence; calm is
    (begin, end) of the time after warm-up and before anything was killed or the batch path began in mid-load."""

    load: LoadResult
    ends: dict[int, int]
    commits: dict[int, int]
    began: datetime
    finished: datetime
    calm: tuple[datetime, datetime]


class Proof:
    """One run on one stack."""

    def __init__(
        self, stack: Stack, settings: Settings, folder: Path, *, kills: bool, stream: bool, warm_up_s: float
    ) -> None:
        self._stack = stack
        self._settings = settings
        self._folder = folder
        self._progress = stack.progress
        self._kills = kills
        self._warm_up = timedelta(seconds=warm_up_s)
        self._killed: list[tuple[str, datetime]] = []
        self._scope: Scope = stack.scope(settings)
        self._paths = LogFed(stack, settings, self._scope, stream=stream)
        self._rules: list[Rule] = [configured(name, settings.rule_parameters) for name in RULES]

    def run(self, sides: OpenSides | None) -> Evidence:
        """Set up, load with kills, fence, compare; returns what was found. Without `sides` no batch path runs."""
        self._set_up()
        if sides is None:
            self._paths.wait()
            self._paths.warm_up()
            return self._compare(self._judge(), None)
        with sides(self._stack, self._settings, self._folder) as opened:
            self._paths.wait()
            self._paths.warm_up()
            judged = self._judge(opened)
            found = opened.finish()
        return self._compare(judged, found)

    def clean_up(self) -> None:
        """Stop the run's paths and remove what the run made."""
        with process.uninterrupted(), self._progress.step("removing what the run made") as step:
            self._paths.stop()
            self._scope.drop()
            step.done = "done"

    def _set_up(self) -> None:
        with self._progress.step("run's database, topic and connector") as step:
            self._scope.create_line(self._scope.open_as_lab)
            step.done = "RUNNING"
        self._paths.start()

    def _judge(self, sides: Sides | None = None) -> Judged:
        """Load and fence."""
        lab = self._lab("postgres")
        start_lsn = fence.current_lsn(lab)
        began = datetime.now(tz=UTC)
        if sides and not sides.begins_at:
            sides.begin_batch()
        mid_load = [(sides.begins_at, sides.begin_batch)] if sides and sides.begins_at else []
        with lag.watched(lab, self._settings.slot, self._paths.metrics, self._folder / lag.FILE):
            load, first_event = self._load(mid_load)
            ends = self._wait_until_judged()
        commits = witness.commit_lsns(lab, start_lsn, fence.current_lsn(lab))
        finished = datetime.now(tz=UTC)
        return Judged(load, ends, commits, began, finished, (began + self._warm_up, first_event or finished))

    def _load(self, events: Sequence[Event]) -> tuple[LoadResult, datetime | None]:
        """The load with its events; what it wrote, and when the first event came."""
        settings = self._settings
        dsn = self._stack.credentials.dsn("twinpath_writer", settings.source_database)
        load = Load(workload_of(settings), dsn, self._folder, self._progress)
        self._progress.say(announced(settings))
        watched = (self._lab(settings.alerts_database), settings.duration, self._progress)
        threading.Thread(target=say_first_alert, args=watched, name="first-alert", daemon=True).start()
        if self._kills:
            events = [(KILL_AGENT, self._kill_agent), (KILL_CONNECT, self._kill_connect), *events]
        mid_load = MidLoad(load, events, settings.duration)
        result = mid_load.run()
        self._progress.say(said(result))
        return result, mid_load.first_event

    def _kill_agent(self) -> None:
        self._kill("agent spending", lambda: self._paths.kill_agent("spending"))

    def _kill_connect(self) -> None:
        """SIGKILL to Connect, which is started again."""
        connect = self._stack.connect
        self._kill("connect", lambda: process.stop(self._stack.home, "connect", signal.SIGKILL))
        connect.start()
        connect.wait()

    def _kill(self, name: str, kill: Callable[[], bool]) -> None:
        """Kill something that ran until now; what had ended by itself is a failure, not a fault."""
        at = datetime.now(tz=UTC)
        if not kill():
            raise ServiceFault(f"{name} had ended before it was killed; look at its log")
        self._killed.append((name, at))
        self._progress.say(f"killed {name} (SIGKILL); starting it again")

    def _wait_until_judged(self) -> dict[int, int]:
        with self._progress.step("fence: everything committed is judged") as step:
            lsn = fence.mark(self._lab(self._settings.source_database))
            if self._kills:
                wait_for_tasks(self._settings)
                self._scope.wait_for_slot()
            fence.wait_for_slot(self._lab("postgres"), self._settings.slot, lsn, SLOT_TIMEOUT_S)
            ends = fence.end_offsets(self._settings)
            self._paths.wait_until_judged(ends)
            step.done = "reached"
            step.detail = f"{sum(ends.values())} records in the topic"
        return ends

    def _compare(self, judged: Judged, found: BesideFound | None) -> Evidence:
        with self._progress.step("comparing every path with the oracles") as step:
            compared = compare_run(
                self._settings,
                self._stack.credentials,
                self._rules,
                self._folder,
                judged.commits,
                judged.ends,
                log_fed=self._paths.usage,
                modes={run.summary.mode for run in found.runs} if found else (),
            )
            step.done = "done"
        return Evidence(
            run_id=self._settings.run_id,
            seed=self._settings.seed,
            began=judged.began,
            finished=judged.finished,
            profile=self._settings.profile,
            duration_s=self._settings.duration,
            load=judged.load,
            records=sum(judged.ends.values()),
            compared=compared,
            beside=found,
            killed=self._killed,
            kills_wanted=2 if self._kills else 0,
            usage=self._paths.usage,
            calm=judged.calm,
            alerts_dsn=self._lab(self._settings.alerts_database),
            payments=read_payments(self._folder, compared.classes.inserts),
        )

    def _lab(self, database: str) -> str:
        return self._stack.credentials.dsn("twinpath_lab", database)


def prove(
    stack: Stack,
    settings: Settings,
    folder: Path,
    *,
    kills: bool,
    stream: bool,
    sides: OpenSides | None,
    warm_up_s: float = WARM_UP_S,
    keep: bool = False,
) -> bool:
    """One run on the names of `settings`, its summary written; whether every correctness goal was met."""
    one = Proof(stack, settings, folder, kills=kills, stream=stream, warm_up_s=warm_up_s)
    try:
        return write_summary(one.run(sides), folder)
    finally:
        if not keep:
            one.clean_up()
