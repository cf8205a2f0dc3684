"""`twinpath compare`: every path under one load at its undisturbed best, then what each costs and gives.

The main run is the demo's without kills, with the batch path at its best case: one kept Spark session on an anchored
schedule. It is the proof that the paths agree; without it no figure of theirs counts. A round more is the whole of it
again, with the next seed.
"""

from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import NamedTuple

from lab.batch_loop import batch_loop
from lab.bench.result import LEAST_ROUNDS
from lab.console import Progress
from lab.experiments.suite import run_all
from lab.proof import prove
from lab.report.experiments import add
from lab.report.html.index import write_index
from lab.report.html.page import render
from lab.report.rounds import add_rounds, folder_of
from lab.report.saved import read_summary
from lab.runs import RUNS, new_run
from lab.stack.stack import running_stack
from twinpath.errors import ConfigurationError
from twinpath.settings import run_settings

AGENT, STREAM, BATCH = PATHS = ("agent", "spark_stream", "spark_batch")


class Size(NamedTuple):
    """Rows per second; seconds of the load, of its warm-up, and between two runs of the batch job."""

    rate: int
    duration_s: float
    warm_up_s: float
    interval_s: float


SIZES = {"tiny": Size(200, 20, 8, 4), "default": Size(200, 130, 60, 10), "stress": Size(1_000, 300, 60, 10)}


def compare(
    progress: Progress,
    size: Size,
    paths: Collection[str],
    experiments: str,
    rounds: int,
    *,
    strict: bool = False,
    **overrides: object,
) -> tuple[Path, bool]:
    """Run the comparison `rounds` times, then the experiments of that name in suite.OPTIONS, if it is there.

    Returns the path of the report and whether every correctness goal was met; `strict`: and every performance goal
    that was judged, which takes LEAST_ROUNDS. What an experiment that fails, or Ctrl-C,
    leaves unmeasured is not in the report, the rest is.
    """
    if set(paths) - set(PATHS) or AGENT not in paths:
        raise ConfigurationError(f"--paths: found {','.join(paths)}, wanted {AGENT} and any of {STREAM}, {BATCH}")
    if strict and rounds < LEAST_ROUNDS:
        raise ConfigurationError(f"--strict: found {rounds} rounds, wanted {LEAST_ROUNDS} or more: --rounds")
    run_id, folder = new_run()
    loop = partial(batch_loop, interval_s=size.interval_s) if BATCH in paths else None
    given = {"rate": size.rate, "duration": size.duration_s, **overrides}
    with running_stack(progress, **given) as stack:
        seed = stack.settings.seed
        proved = partial(prove, stack, kills=False, stream=STREAM in paths, sides=loop, warm_up_s=size.warm_up_s)
        proved(run_settings(stack.settings, run_id), folder)
        try:
            for number in range(2, rounds + 1):
                own = {"seed": seed + number - 1}
                progress.say(f"round {number} of {rounds}, seed {own['seed']}")
                place = folder_of(folder, number)
                place.mkdir(parents=True)
                proved(run_settings(stack.settings, f"{run_id}r{number}").model_copy(update=own), place)
            run_all(stack, (run_id, folder), experiments, rounds, seed)
        finally:
            add_rounds(folder)
            add(folder)
            page = render(folder)
            write_index(RUNS)
    found = read_summary(folder)
    kinds = ("correctness", "performance") if strict else ("correctness",)
    return page, all(goal.ok is not False for goal in found.goals if goal.kind in kinds)
