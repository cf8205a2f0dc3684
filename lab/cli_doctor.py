"""`twinpath status` and `twinpath doctor`. Registered in lab/cli.py."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from lab.console import Progress

Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


def status(json: Json = False) -> None:
    """Every hop with a verdict: services, source, slot, connector, topic, alert store, agents."""
    from lab.doctor import checks, show
    from lab.stack.stack import standard_stack

    found = checks.walk(standard_stack(Progress(quiet=True)))
    show.show(found, as_json=json)
    raise typer.Exit(0 if all(hop.ok for hop in found) else 4)


def doctor(
    json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    bundle: Annotated[
        Path | None,
        typer.Option(
            help="Also write this zip file: versions, settings, every hop, the end of each log; no passwords."
        ),
    ] = None,
) -> None:
    """Walk the hops in order and name the first broken one, with its evidence and its mend.

    Exit status 0 when every hop holds, 4 when one does not.
    """
    from lab.doctor import bundle as bundles
    from lab.doctor import checks, show
    from lab.stack.stack import standard_stack

    stack = standard_stack(Progress(quiet=True))
    found = checks.walk(stack, stop_at_first=bundle is None)
    if bundle is not None:
        bundles.write(stack, found, bundle)
        sys.stderr.write(f"bundle: {bundle} (look into it before you hand it on)\n")
    show.show_diagnosis(found, as_json=json)
    raise typer.Exit(0 if checks.first_broken(found) is None else 4)
