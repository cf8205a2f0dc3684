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
from lab.report.html.index import write_index
from lab.report.html.page import render
from lab.runs import RUNS, new_run
from lab.stack.stack import running_stack
from twinpath.errors import ConfigurationError
from twinpath.settings import run_settings

AGENT, STREAM, BATCH = PATHS = ("agent", "spark_stream", "spark_batch")


class Size(NamedTuple):
    """Rows per second, seconds of the load, and seconds between two runs of the batch job."""

    rate: int
    duration_s: float
    interval_s: float


SIZES = {"tiny": Size(200, 30, 5), "default": Size(500, 120, 10), "stress": Size(1_000, 300, 10)}


def compare(progress: Progress, size: Size, paths: Collection[str], **overrides: object) -> tuple[Path, bool]:
    """Run the comparison; returns the path of its report and whether every correctness goal was met."""
    if unknown := sorted(set(paths) - set(PATHS)) or AGENT not in paths:
        raise ConfigurationError(
            f"--paths: found {','.join(paths)}, wanted agent and any of {STREAM}, {BATCH}; not known: {unknown}"
        )
    run_id, folder = new_run()
    loop = partial(batch_loop, interval_s=size.interval_s) if BATCH in paths else None
    given = {"rate": size.rate, "duration": size.duration_s, **overrides}
    with running_stack(progress, **given) as stack:
        settings = run_settings(stack.settings, run_id)
        passed = prove(stack, settings, folder, kills=False, stream=STREAM in paths, sides=loop)
        page = render(folder)
    write_index(RUNS)
    return page, passed
