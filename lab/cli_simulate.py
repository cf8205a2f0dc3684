"""`twinpath simulate`: the agents under a seeded scheduler of crashes, resends, zombies and a store that fails."""

import sys
from typing import Annotated

import msgspec
import typer

from lab.console import Progress
from twinpath.errors import ConfigurationError

SEEDS, FIRST = 1_000, 1
Seeds = Annotated[int | None, typer.Option(min=1, help=f"How many seeds ({SEEDS:_} when left out).")]
First = Annotated[int | None, typer.Option("--from", min=0, help=f"The first seed ({FIRST} when left out).")]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Replay this one, with everything that happened.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress on stderr.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object.")]


def simulate(
    seeds: Seeds = None, first: First = None, seed: Seed = None, json: Json = False, quiet: Quiet = False
) -> None:
    """Run the agents in memory, without any service, killed at any step; exit status 1 for a seed that fails.

    The real loop, checkpoints and fold, on a fake log, a fake alert store and a fake clock. Records come again and in
    any order across partitions, agents die in the middle of a call or wake up as zombies, the store is slow, refuses
    or loses its answer. Each checkpoint, and in the end everything, is held against replay() of the log.
    """
    from lab.simulate import replay, sweep

    if seed is None:
        found = sweep(Progress(quiet=quiet), FIRST if first is None else first, seeds or SEEDS)
        text = msgspec.json.encode(found.as_json()).decode() if json else found.as_text()
        failed = bool(found.failed)
    elif seeds is None and first is None:
        one = replay(seed)
        lines = [f"{number:5}  {line}" for number, line in enumerate(one.trace)]
        text = msgspec.json.encode(one).decode() if json else "\n".join([*lines, one.said])
        failed = bool(one.broken)
    else:
        raise ConfigurationError(
            "found --seed beside --seeds or --from, wanted one seed to replay (--seed 4711) or several to try "
            "(--seeds 1000 --from 4711)"
        )
    sys.stdout.write(f"{text}\n")
    raise typer.Exit(1 if failed else 0)
