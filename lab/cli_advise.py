"""`twinpath advise`: batch or CDC for given numbers. Registered in lab/cli.py."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def advise(
    rate: Annotated[float, typer.Option(help="Rows per second; one a minute is 0.0167.")],
    rows: Annotated[int, typer.Option(help="Rows in the table.")],
    freshness: Annotated[float, typer.Option(help="Seconds that a row may wait until it is judged.")],
    consumers: Annotated[int, typer.Option(help="Programs that read the rows, each by itself.")] = 1,
    source: Annotated[
        Path | None, typer.Option("--from", help="Result of `experiment crossover`; without it the published one.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Batch or CDC: which side costs PostgreSQL less for a load, by how much, and from where on the other one does."""
    import msgspec

    from lab.advice import Question
    from lab.advice import advise as answer
    from lab.advice_words import text
    from lab.experiments.crossover_result import PUBLISHED, read

    path = source or PUBLISHED
    measured = read(path)
    found = answer(Question(rate, rows, freshness, consumers), measured.model)
    if json:
        about = {"from": str(path), "run_id": measured.run_id, "machine": measured.machine, "began": measured.began}
        trust = {"errors": measured.model.fit.errors, "not_publishable": measured.not_publishable}
        needs = {"needs": measured.needs}
        sys.stdout.write(f"{msgspec.json.encode(msgspec.to_builtins(found) | about | trust | needs).decode()}\n")
    else:
        sys.stdout.write(f"{text(found, measured, path.resolve())}\n")
