"""Commands on the folders of runs. Registered in lab/cli.py."""

import sys
from pathlib import Path
from typing import Annotated

import typer

From = Annotated[str | None, typer.Option("--from", help="Folder, name or id of a run; the newest when left out.")]
Publish = Annotated[
    Path | None,
    typer.Option(help="Copy figures and page into this folder, for a repository; also prints the headline tables."),
]
Run = Annotated[str, typer.Argument(help="Folder, name or id of a run.")]


def report(source: From = None, publish: Publish = None) -> None:
    """Make report.html of a run anew from its saved data, without any service; prints its path."""
    from lab.report.html.index import write_index
    from lab.report.html.page import render
    from lab.report.moved import find_run, latest_run
    from lab.runs import RUNS

    folder = latest_run() if source is None else find_run(source)
    if publish is not None:
        from lab.report.publish import headline_tables
        from lab.report.publish import publish as copy

        path = copy(folder, publish)
        sys.stdout.write("\n".join([*headline_tables(publish), "", str(path), ""]))
        return
    path = render(folder)
    if folder.resolve().parent == RUNS:
        write_index(RUNS)
    sys.stdout.write(f"{path}\n")


def compare_runs(a: Run, b: Run) -> None:
    """Show which figures of two runs moved, and by how much."""
    from lab.report import moved

    sys.stdout.write(f"{moved.compare_runs(moved.find_run(a), moved.find_run(b))}\n")


def lab_check(
    answers: Annotated[Path, typer.Argument(help="Your file with lines `id: answer`, as in docs/lab-sheet.md.")],
    source: From = None,
) -> None:
    """Hold the answers to the lab sheet against the figures of your own run; exit status 1 for a wrong one."""
    from lab.lab_sheet import mark, read_answers
    from lab.report.moved import find_run, latest_run
    from lab.report.saved import read_summary

    folder = latest_run() if source is None else find_run(source)
    found = list(mark(read_answers(answers), read_summary(folder)))
    for one in found:
        verdict = {True: "right", False: "wrong", None: "open"}[one.ok]
        why = "" if one.ok is not None else " (this run cannot tell)" if one.wanted is None else " (no answer)"
        sys.stdout.write(f"{verdict:<5} {one.question.id}: {one.given or '-'}{why}\n")
    right, wrong = sum(one.ok is True for one in found), sum(one.ok is False for one in found)
    sys.stdout.write(f"{right} of {len(found)} right, {wrong} wrong, by {folder.name}\n")
    raise typer.Exit(1 if wrong else 0)
