"""The sub-commands of `twinpath experiment`; each a module of lab/experiments, run as a bench is."""

from collections.abc import Callable

import typer

from lab.cli_bench import sub_commands

COMMANDS: tuple[Callable[..., None], ...] = ()


def group(parent: typer.Typer, wrapped: Callable[[Callable[..., None]], Callable[..., None]]) -> typer.Typer:
    """Add `experiment` with its sub-commands to `parent`; each command is wrapped as the others are."""
    help_ = "Compare: what each side costs and gives, in paired rounds."
    return sub_commands(parent, "experiment", help_, COMMANDS, wrapped)
