"""`twinpath drill NAME`: break the line on purpose, and say whether it is still exact."""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from lab.console import Progress

Name = Annotated[Literal["torture", "batch"], typer.Argument(help="Which drill: torture (of the line), or batch.")]
Seed = Annotated[int | None, typer.Option(help="Seed of the work and of the order of the faults (SEED, default 7).")]
Duration = Annotated[float | None, typer.Option(help="Least length of the load in seconds (DURATION, default 60).")]
Rate = Annotated[int | None, typer.Option(help="Rows per second of the eight writers (RATE, default 500).")]
Rounds = Annotated[int, typer.Option(min=1, help="Kills of Connect and of each agent; runs of each batch mode.")]


def drill(
    name: Name,
    seed: Seed = None,
    duration: Duration = None,
    rate: Rate = None,
    rounds: Rounds = 3,
    keep: Annotated[bool, typer.Option("--keep", help="Leave what the run made on the running stack.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress on stderr.")] = False,
) -> None:
    """Load, break, fence, compare; prints a table and the path of its JSON; exit status 0 only when passed.

    Uses the running stack when there is one: torture kills its broker, its Connect and its PostgreSQL and starts them
    again. batch breaks nothing: its writers are the trouble.
    """
    options = {"rounds": rounds, "keep": keep, "seed": seed, "duration": duration, "rate": rate}
    verdict, shown, path = {"torture": _torture, "batch": _batch}[name](Progress(quiet=quiet), options)
    sys.stdout.write(f"{shown}\n{path}\n")
    raise typer.Exit(0 if verdict == "passed" else 1)


def _torture(progress: Progress, options: dict[str, Any]) -> tuple[str, str, Path]:
    from lab.drills.outcome import table
    from lab.drills.torture import torture

    result, path = torture(progress, **options)
    return result.verdict, table([result.row()]), path


def _batch(progress: Progress, options: dict[str, Any]) -> tuple[str, str, Path]:
    from lab.drills.batch import batch
    from lab.drills.batch_outcome import table

    result, path = batch(progress, **options)
    return result.verdict, table(result.rows()), path
