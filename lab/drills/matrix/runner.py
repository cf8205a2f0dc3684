"""Runs drills of the matrix: each on a line of its own; one stack for all but those that want one of their own."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from lab.console import Progress
from lab.drills.equality import Found
from lab.drills.line import Line
from lab.drills.matrix.registry import Drill
from lab.drills.matrix.result import Result, commit_p99_ratio, path_of, read, write
from lab.drills.matrix.scene import TROUBLE, Scene
from lab.drills.oracles import judge
from lab.drills.writers import Writers
from lab.measure import fence
from lab.runs import RUNS, new_run
from lab.stack.stack import Stack, private_stack, running_stack
from lab.surroundings import environment
from twinpath.errors import first_line
from twinpath.settings import run_settings

RESULTS = RUNS / "drills"
RATE, ROUNDS = 300, 3
WARM_UP_S = 8.0


class Options(NamedTuple):
    """How each drill is run; `duration_s` is the least length of the load, each drill's own when left out."""

    rate: int = RATE
    duration_s: float | None = None
    rounds: int = ROUNDS
    keep: bool = False

    def seconds(self, drill: Drill) -> float:
        """The least length of a drill's load."""
        return drill.duration_s if self.duration_s is None else self.duration_s


def run_all(
    progress: Progress, runs: Sequence[tuple[Drill, int]], folder: Path, options: Options, *, resume: bool = False
) -> list[Result]:
    """Run drills one after the other; each result is written at once. With `resume` those that are there are read.

    Those on the shared stack come first.
    """
    results = []
    with ExitStack() as shared:
        stacks: list[Stack] = []
        for number, (drill, seed) in enumerate(sorted(runs, key=lambda run: run[0].stage is not None), 1):
            path = path_of(folder, drill.name, seed)
            if resume and path.exists():
                results.append(read(path))
                continue
            progress.say(f"{number} of {len(runs)}: {drill.name}, seed {seed}: {drill.title}")
            if drill.stage is not None:
                shared.close()
                result = _run_on_own_stack(progress, drill, seed, options)
            else:
                stacks = stacks or [shared.enter_context(running_stack(progress))]
                result = run_one(stacks[0], drill, seed, options)
            write(result, folder)
            for problem in (*result.wrong(), *result.untried()):
                progress.say(f"{drill.name}: {result.verdict}: {problem}")
            progress.say(f"{drill.name}, seed {seed}: {result.verdict}")
            results.append(result)
    return results


def _run_on_own_stack(progress: Progress, drill: Drill, seed: int, options: Options) -> Result:
    try:
        with private_stack(progress) as stack, _staged(drill, stack) as stage:
            return run_one(stack, drill, seed, options, stage)
    except TROUBLE as problem:
        return _result(drill, seed, options, stopped=first_line(problem))


@contextmanager
def _staged(drill: Drill, stack: Stack) -> Iterator[Any]:
    if drill.stage is None:
        yield None
        return
    with drill.stage(stack) as stage:
        yield stage


def run_one(stack: Stack, drill: Drill, seed: int, options: Options, stage: Any = None) -> Result:
    """One drill with one seed on one stack, of which a drill before may have left a part down."""
    run_id, folder = new_run()
    wanted = {"seed": seed, "rate": options.rate, "duration": options.seconds(drill)}
    line = Line(stack, run_settings(stack.settings.model_copy(update=wanted), run_id))
    result = None
    try:
        stack.start_services()
        line.set_up()
        result = _drilled(line, folder, drill, options, stage)
    except TROUBLE as problem:
        result = _result(drill, seed, options, run_id=run_id, stopped=first_line(problem))
    finally:
        if result is None or result.verdict != "passed":
            shutil.copytree(stack.home.logs, folder / "logs")
        if not options.keep:
            line.clean_up(verdict_stands=result is not None)
    return result


def _drilled(line: Line, folder: Path, drill: Drill, options: Options, stage: Any) -> Result:
    """Load, break, fence, compare."""
    settings = line.settings
    dsn = line.stack.credentials.dsn("twinpath_writer", settings.source_database)
    more = drill.more_work(settings.seed)
    writers = Writers(dsn, folder, settings.seed, settings.rate, more, drill.recipes)
    scene = Scene(line, writers, folder, options.rounds, fence.current_lsn(line.lab()), stage)
    stopped = _load(scene, drill, settings.duration)
    found: Found | None = None
    unjudged = ""
    if drill.judged:
        found, unjudged = scene.unequal or judge(line, scene.oracles)
    if drill.afterwards is not None and not stopped:
        stopped = _stopped_by(partial(drill.afterwards, scene))
    ratio = commit_p99_ratio(writers.commits, scene.began_s or 0.0, scene.ended_s or 0.0)
    return msgspec.structs.replace(
        _result(drill, settings.seed, options, run_id=settings.run_id, stopped=stopped),
        writers=dict(sorted(writers.counts.items())),
        rows_in_fault=scene.rows_in_fault,
        faults=scene.struck,
        checks=scene.checks,
        found=found,
        commit_p99_ratio=ratio,
        unjudged=unjudged,
        fences=scene.fences,
        memory=scene.memory,
    )


def _result(drill: Drill, seed: int, options: Options, *, run_id: str = "", stopped: str) -> Result:
    """What is known of a run before it began."""
    return Result(
        name=drill.name,
        seed=seed,
        command=f"twinpath drill {drill.name} --seed {seed} --rate {options.rate} "
        f"--duration {options.seconds(drill):g} --rounds {options.rounds}",
        run_id=run_id,
        rate=options.rate,
        writers={},
        rows_in_fault=0,
        faults=[],
        checks=[],
        found=None,
        judged=drill.judged,
        server_stays=drill.server_stays,
        wants=list(drill.wants),
        recovery_limit_s=drill.recovery_s,
        unjudged="it did not come to that",
        stopped=stopped,
        environment=environment(),
    )


def _load(scene: Scene, drill: Drill, duration_s: float) -> str:
    """Write for the whole duration, and longer when the fault takes longer; returns what ended it before its time."""
    writers = scene.writers

    def load() -> None:
        writers.wait_until(WARM_UP_S)
        if drill.act is not None:
            drill.act(scene)
        writers.wait_until(duration_s)

    writers.start()
    try:
        stopped = _stopped_by(load)
    finally:
        ended = _stopped_by(writers.stop)
    rows = ", ".join(f"{count} {name}" for name, count in sorted(writers.counts.items()))
    scene.line.stack.progress.say(f"load: {writers.seconds():.1f} s: {rows}")
    return stopped or ended


def _stopped_by(do: Callable[[], object]) -> str:
    """Do it; what went wrong as one line, empty when nothing did."""
    try:
        do()
    except TROUBLE as problem:
        return first_line(problem)
    return ""
