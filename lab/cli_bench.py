"""The sub-commands of `twinpath bench`."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from lab.console import Progress
from twinpath.errors import ConfigurationError

Rounds = Annotated[int, typer.Option(min=1, help="Rounds, each with every variant once; 5 for a published figure.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of what is written and of the bootstrap.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress on stderr.")]
Parts = Annotated[list[str] | None, typer.Option("--only", help="A part to run; may be given several times.")]


def latency(
    rounds: Rounds = 5,
    rate: Annotated[int, typer.Option(min=1, help="One-row commits per second.")] = 1000,
    seconds: Annotated[float, typer.Option(min=0.5, help="Seconds of each round that count.")] = 20,
    settle: Annotated[float, typer.Option(min=0, help="Seconds of each round before that, dropped.")] = 3,
    warm_up: Annotated[float, typer.Option(min=0, help="Seconds before the first round, dropped.")] = 60,
    seed: Seed = 7,
    only: Parts = None,
    quiet: Quiet = False,
) -> None:
    """Commit to topic against stock Debezium, commit to alert, one setting at a time (topic, alerts, ablation)."""
    from lab.bench import latency as module
    from lab.bench.pace import Pace
    from lab.bench.result import command_line

    _, page, path = module.bench(
        Progress(quiet=quiet),
        rounds=rounds,
        pace=Pace(rate, seconds, settle, seed),
        warm_up_s=warm_up,
        parts=_parts(only, module.PARTS),
        command=command_line(),
    )
    _show(page, path)


def group(parent: typer.Typer, wrapped: Callable[[Callable[..., None]], Callable[..., None]]) -> typer.Typer:
    """Add `bench` with its sub-commands to `parent`; each command is wrapped as the others are."""
    help_ = "Measure: each figure in paired rounds, beside its limit, with the goals it meets or misses."
    bench = typer.Typer(name="bench", help=help_, no_args_is_help=True, rich_markup_mode=None)
    for command in (latency,):
        bench.command()(wrapped(command))
    parent.add_typer(bench)
    return bench


def _parts(given: list[str] | None, known: tuple[str, ...]) -> tuple[str, ...]:
    """The parts that were asked for, all by default; ConfigurationError for an unknown one."""
    unknown = set(given or ()) - set(known)
    if unknown:
        raise ConfigurationError(f"--only {sorted(unknown)[0]}: wanted one of {', '.join(known)}")
    return tuple(part for part in known if not given or part in given)


def _show(page: str, path: Path) -> None:
    """The tables, and the path of the JSON as the last line."""
    sys.stdout.write(f"{page}\n{path}\n")
