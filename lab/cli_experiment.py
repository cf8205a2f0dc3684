"""The sub-commands of `twinpath experiment`; each a module of lab/experiments, run as a bench is."""

from collections.abc import Callable
from typing import Annotated

import typer

from lab.cli_bench import Parts, Quiet, Rounds, Seed, run_measurement, sub_commands

Rate = Annotated[int, typer.Option(min=1, help="One-row commits per second.")]
Seconds = Annotated[float, typer.Option(min=0.5, help="Seconds that rows are written for, in each phase.")]
Rows = Annotated[int, typer.Option(min=1000, help="Rows of the table beforehand, in whole thousands.")]
Interval = Annotated[float, typer.Option(min=0.1, help="Seconds between two looks of a polling job.")]


def bill(
    rounds: Rounds = 5,
    rate: Rate = 300,
    seconds: Seconds = 10,
    rows: Rows = 1_000_000,
    interval: Interval = 1,
    seed: Seed = 7,
    only: Parts = None,
    quiet: Quiet = False,
) -> None:
    """What PostgreSQL pays for agents and for each polling mode (agents, safe, naive-id, full, shared).

    Beside an idle server and writers alone. P8 is judged with --rate 1000 or more.
    """
    from lab.experiments import bill as module

    run_measurement(
        module, quiet, only, rounds=rounds, rate=rate, seconds=seconds, rows=rows, interval=interval, seed=seed
    )


def consumers(
    rounds: Rounds = 5,
    rate: Rate = 300,
    seconds: Seconds = 8,
    rows: Rows = 100_000,
    interval: Interval = 4,
    most: Annotated[int, typer.Option("--consumers", min=1, max=4, help="Consumers at the most.")] = 4,
    seed: Seed = 7,
    only: Parts = None,
    quiet: Quiet = False,
) -> None:
    """What the n-th consumer costs PostgreSQL, as an agent and as a polling job (agents, polling)."""
    from lab.experiments import consumers as module

    run_measurement(
        module,
        quiet,
        only,
        rounds=rounds,
        rate=rate,
        seconds=seconds,
        rows=rows,
        interval=interval,
        consumers=most,
        seed=seed,
    )


def crossover(
    rounds: Rounds = 5,
    rate: Annotated[
        list[int] | None, typer.Option(min=1, help="Rows per second, may be repeated; 100, 500, 2000.")
    ] = None,
    interval: Annotated[list[float] | None, typer.Option(min=0.1, help="Seconds between polls; 1, 10.")] = None,
    rows: Annotated[list[int] | None, typer.Option(min=1000, help="Rows in the table; 10000, 100000, 1000000.")] = None,
    seconds: Annotated[int, typer.Option(min=1, help="Length of each writing phase.")] = 5,
    polls: Annotated[int, typer.Option(min=1, help="Polls of each load.")] = 3,
    seed: Seed = 7,
    only: Parts = None,
    quiet: Quiet = False,
) -> None:
    """What CDC and polls cost PostgreSQL by rate, interval, table size and consumers (cdc, polls, schedule, cold)."""
    from lab.experiments import crossover as module

    grid = module.Grid(
        tuple(rate or module.RATES), tuple(interval or module.INTERVALS_S), tuple(rows or module.ROWS), seconds, polls
    )
    run_measurement(module, quiet, only, rounds=rounds, grid=grid, seed=seed)


def temperature(
    rounds: Rounds = 5,
    seconds: Annotated[int, typer.Option(min=1, help="Length of each quiet phase.")] = 15,
    runs: Annotated[int, typer.Option(min=1, help="Windows that are averaged; 144 are a day.")] = 144,
    wal: Annotated[int, typer.Option(min=1, help="MB written into another database of the server.")] = 64,
    seed: Seed = 7,
    only: Parts = None,
    quiet: Quiet = False,
) -> None:
    """One row a minute: averages by SQL, and what CDC would take for it (sql, cdc)."""
    from lab.experiments import temperature as module

    run_measurement(module, quiet, only, rounds=rounds, seconds=seconds, runs=runs, wal_mb=wal, seed=seed)


def staleness(
    rounds: Rounds = 5,
    rate: Rate = 300,
    seconds: Annotated[float, typer.Option(min=1, help="Seconds of each round; two intervals at least.")] = 20,
    interval: Annotated[
        list[float] | None, typer.Option(min=0.1, help="Seconds between two runs of the kept session; 1, 10.")
    ] = None,
    seed: Seed = 7,
    only: Parts = None,
    quiet: Quiet = False,
) -> None:
    """How late alerts are by agents, by a kept session at several intervals, by Airflow each minute (loop, airflow)."""
    from lab.experiments import staleness as module

    run_measurement(
        module, quiet, only, rounds=rounds, rate=rate, seconds=seconds, intervals=tuple(interval or (1, 10)), seed=seed
    )


COMMANDS: tuple[Callable[..., None], ...] = (staleness, bill, consumers, crossover, temperature)


def group(parent: typer.Typer, wrapped: Callable[[Callable[..., None]], Callable[..., None]]) -> typer.Typer:
    """Add `experiment` with its sub-commands to `parent`; each command is wrapped as the others are."""
    help_ = "Compare: what each side costs and gives, in paired rounds."
    return sub_commands(parent, "experiment", help_, COMMANDS, wrapped)
