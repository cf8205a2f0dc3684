"""`twinpath drill NAME ...`: break the line on purpose, and say whether it is still exact."""

import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from lab.console import Progress
from twinpath.errors import ConfigurationError

Names = Annotated[
    list[str],
    typer.Argument(
        help="torture (of the line), batch, faults of the matrix such as F01 F06, F32 (a soak), all but that, or table."
    ),
]
Seed = Annotated[int | None, typer.Option(help="Seed of the work and of the faults (SEED, default 7).")]
Duration = Annotated[
    float | None, typer.Option(help="Least length of the load in seconds (60; of a fault 30, of F32 3600).")
]
Rate = Annotated[int | None, typer.Option(help="Rows per second of the eight writers (500; of a fault 300).")]
Rounds = Annotated[int, typer.Option(min=1, help="How often a fault strikes; runs of each batch mode.")]
Part = Annotated[str, typer.Option("--shard", help="Only this part of the faults: 2/3 is the second of three.")]
Into = Annotated[Path | None, typer.Option(help="Folder of the faults' results; runs/drills when left out.")]


def drill(
    names: Names,
    seed: Seed = None,
    duration: Duration = None,
    rate: Rate = None,
    rounds: Rounds = 3,
    part: Part = "1/1",
    resume: Annotated[bool, typer.Option("--resume", help="Leave out faults whose result is there.")] = False,
    into: Into = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave what the run made on the running stack.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress on stderr.")] = False,
) -> None:
    """Load, break, fence, compare; prints a table and the path of its JSON; exit status 0 only when passed.

    Uses the running stack when there is one, and kills and restarts its services; batch breaks nothing: its
    writers are the trouble. table prints the page of the results that there are.
    """
    options = {"keep": keep, "seed": seed, "duration": duration, "rate": rate}
    alone = {"torture": _torture, "batch": _batch}
    if len(names) == 1 and names[0] in alone:
        verdict, shown, path = alone[names[0]](Progress(quiet=quiet), options | {"rounds": rounds})
    elif names == ["table"]:
        from lab.drills.matrix.page import page
        from lab.drills.matrix.runner import RESULTS

        sys.stdout.write(page(into or RESULTS))
        return
    else:
        verdict, shown, path = _matrix(Progress(quiet=quiet), names, options | {"rounds": rounds}, part, into, resume)
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


def _matrix(
    progress: Progress, names: list[str], options: dict[str, Any], part: str, into: Path | None, resume: bool
) -> tuple[str, str, Path]:
    from lab.drills.matrix import registry, runner
    from lab.drills.matrix.page import table
    from twinpath.settings import load_settings

    runnable = [one.name for one in registry.MATRIX if one.act is not None]
    for name in names:
        if name not in (*runnable, "all"):
            raise ConfigurationError(f"drill: found {name}, wanted torture, batch, table, all or {' '.join(runnable)}")
    found = re.fullmatch(r"([1-9]\d*)/([1-9]\d*)", part)
    if found is None or int(found[1]) > int(found[2]):
        raise ConfigurationError(f"--shard: found {part}, wanted a part such as 2/3")
    seed = load_settings(seed=options["seed"]).seed
    runs = registry.shard(registry.chosen(names, seed), int(found[1]), int(found[2]))
    how = runner.Options(
        rate=options["rate"] or runner.RATE,
        duration_s=options["duration"],
        rounds=options["rounds"],
        keep=options["keep"],
    )
    folder = into or runner.RESULTS
    results = runner.run_all(progress, runs, folder, how, resume=resume)
    passed = all(one.verdict == "passed" for one in results)
    return "passed" if passed else "failed", table(results, whole=False), folder
