"""`twinpath compare`."""

import sys
from typing import Annotated

import typer

from lab.console import Progress
from twinpath.errors import ConfigurationError


def compare(
    size: Annotated[str, typer.Option("--profile", help="tiny, default or stress.")] = "default",
    rate: Annotated[int | None, typer.Option(min=1, help="Rows per second; the profile's by default.")] = None,
    duration: Annotated[
        float | None, typer.Option(min=5, help="Seconds of the load; the profile's by default.")
    ] = None,
    interval: Annotated[float | None, typer.Option(min=0.1, help="Seconds between two runs of the batch job.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the workload (SEED, default 7).")] = None,
    workload: Annotated[str | None, typer.Option(help="labelled or uniform (PROFILE, default labelled).")] = None,
    paths: Annotated[str, typer.Option(help="Which paths, by comma; agent is always one.")] = (
        "agent,spark_stream,spark_batch"
    ),
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of it all; 5 for a published figure.")] = 1,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 for a missed performance goal too.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress on stderr.")] = False,
) -> None:
    """All paths under one load, proved equal, then what each costs; the last line is the path of the report."""
    from lab.bench.cpu import adopt_orphans
    from lab.compare import SIZES
    from lab.compare import compare as run

    if size not in SIZES:
        raise ConfigurationError(f"--profile: found {size}, wanted one of {', '.join(SIZES)}")
    adopt_orphans()
    known = SIZES[size]
    wanted = known._replace(
        rate=rate or known.rate, duration_s=duration or known.duration_s, interval_s=interval or known.interval_s
    )
    given = {"seed": seed, "profile": workload}
    path, passed = run(Progress(quiet=quiet), wanted, paths.split(","), size, rounds, strict=strict, **given)
    sys.stdout.write(f"{path}\n")
    raise typer.Exit(0 if passed else 1)
