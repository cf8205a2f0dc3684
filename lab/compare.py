"""`twinpath compare`: every path under one load at its undisturbed best, then what each costs and gives.

The main run is the demo's without kills, with the batch path at its best case: one kept Spark session on an anchored
schedule. It is the proof that the paths agree; without it no figure of theirs counts.
"""

from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import NamedTuple

from lab.batch_loop import batch_loop
from lab.console import Progress
from lab.demo import prove
from lab.experiments.suite import run_all
from lab.report.experiments import add
from lab.report.html.index import write_index
from lab.report.html.page import render
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


SIZES = {"tiny": Size(200, 20, 8, 4), "default": Size(500, 150, 60, 10), "stress": Size(1_000, 300, 60, 10)}


def compare(
    progress: Progress, size: Size, paths: Collection[str], experiments: str, rounds: int, **overrides: object
) -> tuple[Path, bool]:
    """Run the comparison, then the experiments of that name in suite.OPTIONS, if it is there.

    Returns the path of the report and whether every correctness goal was met. What an experiment that fails, or Ctrl-C,
    leaves unmeasured is not in the report, the rest is.
    """
    if set(paths) - set(PATHS) or AGENT not in paths:
        raise ConfigurationError(f"--paths: found {','.join(paths)}, wanted {AGENT} and any of {STREAM}, {BATCH}")
    run_id, folder = new_run()
    loop = partial(batch_loop, interval_s=size.interval_s) if BATCH in paths else None
    given = {"rate": size.rate, "duration": size.duration_s, **overrides}
    with running_stack(progress, **given) as stack:
        settings = run_settings(stack.settings, run_id)
        passed = prove(
            stack, settings, folder, kills=False, stream=STREAM in paths, sides=loop, warm_up_s=size.warm_up_s
        )
        try:
            run_all(stack, (run_id, folder), experiments, rounds, settings.seed)
        finally:
            add(folder)
            page = render(folder)
            write_index(RUNS)
    return page, passed
