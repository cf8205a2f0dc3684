"""The torture: everything that awkward writers do, under faults at every hop, and still equal to both oracles.

Eight writers with interleaved, rolled-back, held and savepoint transactions, COPY, corrections of recent and of
long forgotten rows; meanwhile Connect and the agents are killed several times, the broker once, PostgreSQL is
restarted without warning, and the connector is made anew on the kept topic. Then fence, and equality.
"""

import shutil
import threading
import time
from contextlib import closing
from pathlib import Path

from lab.console import Progress
from lab.drills.faults import Faults, Struck
from lab.drills.line import Line
from lab.drills.oracles import Oracles, judge
from lab.drills.outcome import Torture, write
from lab.drills.plan import Planned, plan
from lab.drills.recovery import Freshness
from lab.drills.writers import Writers
from lab.measure import fence
from lab.runs import new_run
from lab.stack.stack import running_stack
from twinpath.errors import TwinpathError
from twinpath.settings import run_settings

RECOVERY_TIMEOUT_S = 120.0


class TortureDrill:
    """One torture of one line."""

    def __init__(self, line: Line, folder: Path, rounds: int) -> None:
        self._line = line
        self._folder = folder
        self._rounds = rounds
        self._progress = line.stack.progress
        settings = line.settings
        dsn = line.stack.credentials.dsn("twinpath_writer", settings.source_database)
        self._writers = Writers(dsn, folder, settings.seed, settings.rate)
        self._faults = Faults(line, self._writers)
        self._struck: list[Struck] = []
        self._broken = threading.Event()  # the line does not recover: no further fault would say anything

    def run(self) -> Torture:
        """Load with faults, fence, compare."""
        settings = self._line.settings
        start_lsn = fence.current_lsn(self._line.lab())
        oracles = Oracles(self._line, self._folder, start_lsn, self._faults.traces)
        planned = plan(settings.seed, settings.duration, [rule.name for rule in self._line.rules], self._rounds)
        self._load(planned)
        found, unjudged = judge(self._line, oracles)
        return Torture(
            run_id=settings.run_id,
            command=f"twinpath drill torture --seed {settings.seed} --duration {settings.duration:g} "
            f"--rate {settings.rate} --rounds {self._rounds}",
            seed=settings.seed,
            duration_s=settings.duration,
            rate=settings.rate,
            writers=dict(sorted(self._writers.counts.items())),
            found=found,
            unjudged=unjudged,
            faults_wanted=len(planned),
            faults=self._struck,
        )

    def _load(self, planned: list[Planned]) -> None:
        """Write for the whole duration, and longer when faults or their recovery take longer."""
        watchers: list[threading.Thread] = []
        self._writers.start()
        try:
            for one in planned:
                self._writers.wait_until(one.at_s)
                if one.patient:
                    _join(watchers)
                if self._broken.is_set():
                    break
                struck = self._strike(one)
                self._progress.say(f"{struck.at_s:.1f} s: {struck.fault}: {struck.evidence}")
                if self._broken.is_set():
                    break
                watchers.append(threading.Thread(target=self._watch, args=[struck], name=f"watch {struck.fault}"))
                watchers[-1].start()
            if not self._broken.is_set():
                self._writers.wait_until(self._line.settings.duration)
        finally:
            _join(watchers)
            self._writers.stop()
        rows = ", ".join(f"{count} {name}" for name, count in sorted(self._writers.counts.items()))
        self._progress.say(f"load: {self._writers.seconds():.1f} s: {rows}")

    def _strike(self, planned: Planned) -> Struck:
        """One fault; one that cannot be done, because what it is to break is down or does not start, ends the load."""
        at_s = round(self._writers.seconds(), 3)
        try:
            struck = self._faults.strike(planned)
        except TwinpathError as problem:
            struck = Struck(planned.fault.name, at_s=at_s, evidence="could not be done", problem=str(problem))
            self._broken.set()
        self._struck.append(struck)
        return struck

    def _watch(self, struck: Struck) -> None:
        """Note when the line is fresh again; with other faults in between it may take theirs, too."""
        try:
            with closing(Freshness(self._line)) as freshness:
                freshness.wait(struck.back_s, RECOVERY_TIMEOUT_S)
            struck.recovery_s = round(time.time() - struck.struck_s, 1)
            self._progress.say(f"{struck.fault}: the line was fresh again after {struck.recovery_s:.1f} s")
        except TwinpathError as problem:
            struck.problem = str(problem)
            self._broken.set()


def _join(threads: list[threading.Thread]) -> None:
    for one in threads:
        one.join()


def torture(progress: Progress, *, rounds: int = 3, keep: bool = False, **overrides: object) -> tuple[Torture, Path]:
    """Run the torture on a line of its own; returns what came of it, and the path of its JSON."""
    run_id, folder = new_run()
    with running_stack(progress, **overrides) as stack:
        line = Line(stack, run_settings(stack.settings, run_id))
        passed = True
        try:
            line.set_up()
            result = TortureDrill(line, folder, rounds).run()
            path = write(result, folder)
            passed = result.verdict == "passed"
        finally:
            shutil.copytree(stack.home.logs, folder / "logs")
            if not keep:
                line.clean_up(verdict_stands=not passed)
    for problem in (*result.unequal(), *result.untried()):
        progress.say(f"{result.verdict}: {problem}")
    return result, path
