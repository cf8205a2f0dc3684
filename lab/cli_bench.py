"""The sub-commands of `twinpath bench`."""

import sys
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Annotated, Any

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
    """Commit to topic against stock, commit to alert, one setting at a time (topic, alerts, ablation, heap)."""
    from lab.bench import latency as module
    from lab.bench.pace import Pace

    run_measurement(
        module,
        quiet,
        only,
        rounds=rounds,
        pace=Pace(rate, seconds, settle, seed),
        warm_up_s=warm_up,
    )


def agent(
    rounds: Rounds = 5,
    events: Annotated[int, typer.Option(min=1000, help="Change records in the topic that is drained.")] = 1_200_000,
    users: Annotated[int, typer.Option(min=1, help="Users, of whom histories become full.")] = 9_000,
    many: Annotated[int, typer.Option(min=1, help="Users with five payments each, for the memory part.")] = 1_000_000,
    client: Annotated[list[str] | None, typer.Option(help="confluent or kafka-python; both by default.")] = None,
    seed: Seed = 7,
    only: Parts = None,
    quiet: Quiet = False,
) -> None:
    """Drain a full topic by agents and by bare loops, one client and the other; memory (speed, memory)."""
    from lab.bench import agent as module

    run_measurement(
        module,
        quiet,
        only,
        rounds=rounds,
        events=events,
        users=users,
        many=many,
        clients=chosen("--client", client, module.CLIENTS),
        seed=seed,
    )


def capture(
    rounds: Rounds = 5,
    rows: Annotated[int, typer.Option(min=100, help="Rows of the backlog that a drain reads.")] = 300_000,
    seconds: Annotated[int, typer.Option(min=1, help="Length of each idle and each writing phase.")] = 15,
    warm: Annotated[int, typer.Option(min=0, help="Events through the connector before the warm drains.")] = 1_000_000,
    seed: Seed = 7,
    only: Parts = None,
    quiet: Quiet = False,
) -> None:
    """A connector's drain against stock and the log itself, idle CPU, writers (drain, knobs, cold, idle, writers)."""
    from lab.bench import capture as module

    run_measurement(
        module,
        quiet,
        only,
        rounds=rounds,
        rows=rows,
        seconds=seconds,
        warm_events=warm,
        seed=seed,
    )


def batch(
    rounds: Rounds = 5,
    rows: Annotated[int, typer.Option(min=1000, help="Rows of the table that every run judges.")] = 1_000_000,
    users: Annotated[int, typer.Option(min=1, help="Users whom the rows belong to.")] = 9_000,
    partitions: Annotated[int, typer.Option(min=1, help="JDBC queries at a time of the partitioned read.")] = 2,
    seed: Seed = 7,
    only: Parts = None,
    quiet: Quiet = False,
) -> None:
    """Judge a whole table by the batch job, read plainly and in partitions (warm, cold, read)."""
    from lab.bench import batch as module

    run_measurement(
        module,
        quiet,
        only,
        rounds=rounds,
        rows=rows,
        users=users,
        partitions=partitions,
        seed=seed,
    )


def spark_stream(
    rounds: Rounds = 5,
    rate: Annotated[int, typer.Option(min=1, help="One-row commits per second.")] = 500,
    seconds: Annotated[float, typer.Option(min=0.5, help="Seconds of each latency round that count.")] = 30,
    settle: Annotated[float, typer.Option(min=0, help="Seconds of each latency round before that, dropped.")] = 90,
    events: Annotated[int, typer.Option(min=1000, help="Change records in the topic that is drained.")] = 1_200_000,
    users: Annotated[int, typer.Option(min=1, help="Users, of whom histories become full.")] = 9_000,
    many: Annotated[int, typer.Option(min=1, help="Users of one payment each, for the growth part.")] = 1_000_000,
    per_batch: Annotated[int, typer.Option(min=1, help="Records of one micro-batch at the most.")] = 100_000,
    seed: Seed = 7,
    only: Parts = None,
    quiet: Quiet = False,
) -> None:
    """Drain against its own limit, commit to alert, growth of state (drain, forms, latency, triggers, growth)."""
    from lab.bench import spark_stream as module
    from lab.bench.pace import Pace

    run_measurement(
        module,
        quiet,
        only,
        rounds=rounds,
        pace=Pace(rate, seconds, settle, seed),
        events=events,
        users=users,
        many=many,
        per_batch=per_batch,
    )


def outage(
    rounds: Rounds = 5,
    rate: Annotated[int, typer.Option(min=1, help="One-row commits per second.")] = 500,
    seconds: Annotated[float, typer.Option(min=0.5, help="Length of each round.")] = 300,
    warm_up: Annotated[float, typer.Option(min=0, help="Seconds of commits before the first round, dropped.")] = 60,
    seed: Seed = 7,
    quiet: Quiet = False,
) -> None:
    """Commits while all agents and Connect are dead, beside commits that nobody reads; the WAL kept, the drain."""
    from lab.bench import outage as module
    from lab.bench.pace import Pace

    run_measurement(module, quiet, None, rounds=rounds, pace=Pace(rate, seconds, 0.0, seed), warm_up_s=warm_up)


def group(parent: typer.Typer, wrapped: Callable[[Callable[..., None]], Callable[..., None]]) -> typer.Typer:
    """Add `bench` with its sub-commands to `parent`; each command is wrapped as the others are."""
    help_ = "Measure: each figure in paired rounds, beside its limit, with the goals it meets or misses."
    return sub_commands(parent, "bench", help_, (latency, agent, capture, outage, batch, spark_stream), wrapped)


def sub_commands(
    parent: typer.Typer,
    name: str,
    help_: str,
    commands: Iterable[Callable[..., None]],
    wrapped: Callable[[Callable[..., None]], Callable[..., None]],
) -> typer.Typer:
    """Add a command with these sub-commands to `parent`."""
    one = typer.Typer(name=name, help=help_, no_args_is_help=True, rich_markup_mode=None)
    for command in commands:
        one.command(command.__name__.replace("_", "-"))(wrapped(command))
    parent.add_typer(one, name=name)
    return one


def chosen(option: str, given: list[str] | None, known: tuple[str, ...]) -> tuple[str, ...]:
    """What was asked for, all by default; ConfigurationError for what is unknown."""
    unknown = sorted(set(given or ()) - set(known))
    if unknown:
        raise ConfigurationError(f"{option}: found {unknown[0]}, wanted one of {', '.join(known)}")
    return tuple(one for one in known if not given or one in given)


def run_measurement(module: ModuleType, quiet: bool, only: list[str] | None, **options: Any) -> None:
    """Run a bench on the checkout's running stack, or on a private one; its tables, then the path of its JSON."""
    from lab.bench.cpu import adopt_orphans
    from lab.console import command_line
    from lab.stack.stack import running_stack

    adopt_orphans()
    parts = chosen("--only", only, module.PARTS)
    with running_stack(Progress(quiet=quiet)) as stack:
        _, page, path = module.measure(stack, parts=parts, command=command_line(), **options)
    sys.stdout.write(f"{page}\n{path}\n")
