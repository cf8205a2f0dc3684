"""Commands that show a running stack at work: watch, follow. Registered in lab/cli.py."""

from typing import Annotated

import typer

from lab.console import Progress
from twinpath.errors import ConfigurationError

Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


def watch(
    once: Annotated[bool, typer.Option("--once", help="One frame, then end; so does a pipe.")] = False,
    every: Annotated[float, typer.Option(help="Seconds from one frame to the next.", min=0.2)] = 1.0,
    json: Json = False,
) -> None:
    """Both sides on the same stream, live: rates, lag, alerts, Spark's and Airflow's last run, slot. q leaves."""
    from lab.live import watch as live
    from lab.stack.stack import standard_stack

    live.show(standard_stack(Progress(quiet=True)), once=once, as_json=json, every_s=every)


def follow(
    tx: Annotated[int | None, typer.Argument(help="The transaction's id: of its row, as `alerts` shows it.")] = None,
    next_one: Annotated[bool, typer.Option("--next", help="Wait for the next alert, and follow its payment.")] = False,
    wait: Annotated[
        float, typer.Option(help="Seconds to wait until agents and Spark stream have judged it.", min=0)
    ] = 10.0,
    json: Json = False,
) -> None:
    """One transaction from its commit to its alert, with the ms of each hop, and its fate on every other path."""
    from lab.live import follow as journey
    from lab.stack.stack import standard_stack

    if (tx is None) is not next_one:
        found = "neither" if tx is None else "both"
        raise ConfigurationError(f"follow: found {found}, wanted the id of a transaction or --next")
    journey.show(standard_stack(Progress(quiet=True)), tx, wait_s=wait, as_json=json)
