"""The torture of the batch modes: what a watermark misses, what `safe` does not, and why each alert differs.

Awkward writers (held and rolled-back transactions, savepoints, ids that commit in reverse, corrections) write while
every mode of the batch job runs several times in the middle of it, once `safe` by spark-submit on top of the others.
When the writers have stopped, each mode runs once more. Then rows and alerts are held against the operation log.
"""

import shutil
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import msgspec
import psycopg2

from lab.batch_runs import Summary, WarmSession, job_environment, submit, warm_session
from lab.console import Progress
from lab.drills.batch_equality import Found, compare_modes
from lab.drills.batch_outcome import BatchTorture, Ran, write
from lab.drills.held_work import REVERSED, HeldWork, ReversedWork
from lab.drills.work import Work
from lab.drills.writers import WRITERS, Writers
from lab.measure import fence, witness
from lab.measure.batch_evidence import PATHS, Written, commit_stamps
from lab.measure.causes import Explained
from lab.operations import read_operations
from lab.runs import new_run
from lab.stack.stack import Stack, running_stack
from twinpath.detection.rules import RULES, configured
from twinpath.settings import Settings, run_settings

MODES = tuple(PATHS.values())
HOLDERS = 4
LONGEST_HOLD_S = 60.0
HOLD_SHARE = 0.4  # of the load's length, at most LONGEST_HOLD_S


class BatchDrill:
    """One torture of the batch modes on one PostgreSQL."""

    def __init__(self, stack: Stack, settings: Settings, folder: Path, rounds: int) -> None:
        self._stack = stack
        self._settings = settings
        self._folder = folder
        self._rounds = rounds
        self._progress = stack.progress
        self._rules = [configured(name, settings.rule_parameters) for name in RULES]
        self._longest_s = min(LONGEST_HOLD_S, settings.duration * HOLD_SHARE)
        self._environment = job_environment(settings, stack.credentials)
        self._ran: list[Ran] = []
        self._failed: list[Exception] = []
        dsn = stack.credentials.dsn("twinpath_writer", settings.source_database)
        self._writers = Writers(dsn, folder, settings.seed, settings.rate, self._more(settings.seed))

    def run(self) -> BatchTorture:
        """Load with runs in the middle, one more run of each mode, compare."""
        settings = self._settings
        scope = self._stack.scope(settings)
        scope.create_databases(scope.open_as_lab)
        start_lsn = fence.current_lsn(self._lab("postgres"))
        with warm_session(self._environment, self._folder / "session.log") as session:
            with self._progress.step("Spark session") as step:
                session.ready()
                step.done = "open"
            self._load(session)
            self._progress.say("fence: the writers have stopped; each mode runs once more")
            self._keep("safe", "spark-submit", submit(self._environment, self._folder, ["--mode", "safe"]))
            for mode in MODES[1:]:
                self._warm(session, mode)
        with self._progress.step("comparing each mode with the operation log") as step:
            found = self._compare(start_lsn)
            step.done = "done"
        return BatchTorture(
            run_id=settings.run_id,
            command=f"twinpath drill batch --seed {settings.seed} --duration {settings.duration:g} "
            f"--rate {settings.rate} --rounds {self._rounds}",
            seed=settings.seed,
            duration_s=settings.duration,
            rate=settings.rate,
            longest_hold_s=self._longest_s,
            writers=dict(sorted(self._writers.counts.items())),
            runs_wanted=self._rounds + 1,
            ran=self._ran,
            found=found,
        )

    def _more(self, seed: int) -> Sequence[Work]:
        """Those who hold their transactions, and those who end in reverse."""
        writers = WRITERS + HOLDERS + REVERSED
        longest_us = int(self._longest_s * 1_000_000)
        held = [HeldWork(seed, WRITERS + number, writers, longest_us) for number in range(HOLDERS)]
        reverse = [ReversedWork(seed, WRITERS + HOLDERS + place, writers, place) for place in range(REVERSED)]
        return [*held, *reverse]

    def _load(self, session: WarmSession) -> None:
        """Write for the whole duration, and longer when the runs take longer."""
        duration_s = self._settings.duration
        submitted = threading.Thread(target=self._submit, name="spark-submit")
        self._writers.start()
        try:
            for number in range(1, self._rounds + 1):
                self._writers.wait_until(duration_s * number / (self._rounds + 1))
                if number == (self._rounds + 1) // 2:
                    submitted.start()  # on top of the others, the one of its own mode among them
                for mode in MODES if number % 2 else reversed(MODES):
                    self._warm(session, mode)
            self._writers.wait_until(duration_s)
        finally:
            if submitted.ident is not None:
                submitted.join()
            self._writers.stop()
        if self._failed:
            raise self._failed[0]
        rows = ", ".join(f"{count} {name}" for name, count in sorted(self._writers.counts.items()))
        self._progress.say(f"load: {self._writers.seconds():.1f} s: {rows}")

    def _warm(self, session: WarmSession, mode: str) -> None:
        self._keep(mode, "session", session.run(["--mode", mode]))

    def _submit(self) -> None:
        try:
            self._keep("safe", "spark-submit", submit(self._environment, self._folder, ["--mode", "safe"]))
        except Exception as problem:  # told by the thread that waits for us
            self._failed.append(problem)

    def _keep(self, mode: str, how: str, summary: Summary) -> None:
        merged = {name: summary[name] for name in ("merged", "rows_read", "alerts_written", "seconds")}
        ran = msgspec.convert({"mode": mode, "how": how, "at_s": round(self._writers.seconds(), 1), **merged}, Ran)
        self._ran.append(ran)
        fate = "" if ran.merged else ", discarded: another run was merged meanwhile"
        self._progress.say(f"{mode} by {how}: {ran.rows_read} rows in {ran.seconds['whole']:.1f} s{fate}")

    def _compare(self, start_lsn: int) -> Found:
        operations = list(read_operations(self._folder / "operations.jsonl"))
        commits = witness.commit_lsns(self._lab("postgres"), start_lsn, fence.current_lsn(self._lab("postgres")))
        unknown = {one.full_xid for one in operations if one.outcome == "unknown"}
        settled = witness.settle_unknown(self._lab("postgres"), unknown)
        committed = {one.xid for one in operations if one.outcome == "committed" or settled.get(one.full_xid)}
        written = Written(operations, commits, commit_stamps(self._lab("postgres"), committed), settled)
        encoder = msgspec.json.Encoder()
        with (
            (self._folder / "causes.jsonl").open("wb") as causes,
            closing(psycopg2.connect(self._lab(self._settings.source_database))) as source,
            closing(psycopg2.connect(self._lab(self._settings.alerts_database))) as alerts,
            source.cursor() as from_source,
            alerts.cursor() as from_alerts,
        ):

            def tell(path: str, rule: str, one: Explained) -> None:
                causes.write(encoder.encode({"path": path, "rule": rule, **msgspec.structs.asdict(one)}) + b"\n")

            return compare_modes(from_source, from_alerts, written, self._rules, tell)

    def _lab(self, database: str) -> str:
        return self._stack.credentials.dsn("twinpath_lab", database)


def batch(progress: Progress, *, rounds: int = 3, keep: bool = False, **overrides: object) -> tuple[BatchTorture, Path]:
    """Run the drill on databases of its own; returns what came of it, and the path of its JSON."""
    run_id, folder = new_run()
    with running_stack(progress, True, **overrides) as stack:
        settings = run_settings(stack.settings, run_id)
        try:
            result = BatchDrill(stack, settings, folder, rounds).run()
            path = write(result, folder)
        finally:
            shutil.copytree(stack.home.logs, folder / "logs")
            if not keep:
                stack.scope(settings).drop_databases()
    for problem in (*result.unequal(), *result.untried()):
        progress.say(f"{result.verdict}: {problem}")
    return result, path
