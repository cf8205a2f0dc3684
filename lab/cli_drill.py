"""`twinpath drill NAME`: break the line on purpose, and say whether it is still exact."""

import sys
from typing import Annotated, Literal

import typer

from lab.console import Progress

Name = Annotated[Literal["torture"], typer.Argument(help="Which drill: torture.")]
Seed = Annotated[int | None, typer.Option(help="Seed of the work and of the order of the faults (SEED, default 7).")]
Duration = Annotated[float | None, typer.Option(help="Least length of the load in seconds (DURATION, default 60).")]
Rate = Annotated[int | None, typer.Option(help="Rows per second of the eight writers (RATE, default 500).")]
Rounds = Annotated[int, typer.Option(min=1, help="Kills of Connect and of each agent.")]


def drill(
    name: Name,
    seed: Seed = None,
    duration: Duration = None,
    rate: Rate = None,
    rounds: Rounds = 3,
    keep: Annotated[bool, typer.Option("--keep", help="Leave what the run made on the running stack.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress on stderr.")] = False,
) -> None:
    """Load with faults, fence, compare; prints a table's row and the path of its JSON; exit status 0 only when passed.

    Uses the running stack when there is one: its broker, its Connect and its PostgreSQL are killed and started again.
    """
    from lab.drills.outcome import table
    from lab.drills.torture import torture

    drills = {"torture": torture}
    options = {"seed": seed, "duration": duration, "rate": rate}
    result, path = drills[name](Progress(quiet=quiet), rounds=rounds, keep=keep, **options)
    sys.stdout.write(f"{table([result.row()])}\n{path}\n")
    raise typer.Exit(0 if result.verdict == "passed" else 1)
