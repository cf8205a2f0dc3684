"""The demo: every path under one load, with two processes killed, proved equal; then the page of it."""

from pathlib import Path

from lab.beside import beside
from lab.console import Progress
from lab.proof import prove
from lab.report.html.index import write_index
from lab.report.html.page import render
from lab.runs import RUNS, new_run
from lab.stack.stack import running_stack
from twinpath.settings import run_settings


def demo(
    progress: Progress,
    *,
    kills: bool = True,
    batch: bool = True,
    stream: bool = True,
    keep: bool = False,
    **overrides: object,
) -> tuple[Path, bool]:
    """Run the demo; returns the path of its report and whether every correctness goal was met."""
    run_id, folder = new_run()
    sides = beside if batch else None
    with running_stack(progress, **overrides) as stack:
        settings = run_settings(stack.settings, run_id)
        passed = prove(stack, settings, folder, kills=kills, stream=stream, sides=sides, keep=keep)
    path = render(folder)
    write_index(RUNS)
    return path, passed
