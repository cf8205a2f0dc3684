"""The experiments that belong to a comparison, each in the comparison's own run folder."""

from pathlib import Path
from typing import Any

from lab.console import command_line
from lab.experiments import bill, consumers, crossover, staleness, temperature
from lab.stack.stack import Stack
from twinpath.errors import ServiceFault

MODULES = {
    "staleness": staleness,
    "bill": bill,
    "consumers": consumers,
    "crossover": crossover,
    "temperature": temperature,
}
SMALL_GRID = crossover.Grid(rates=(100, 500, 2_000), rows=(10_000, 500_000), seconds=4, polls=2)
OPTIONS: dict[str, dict[str, dict[str, Any]]] = {
    "default": {
        "staleness": {"rate": 300, "seconds": 20.0, "intervals": (1.0,)},
        "bill": {"rate": 1_000, "seconds": 6.0, "rows": 1_000_000, "interval": 1.0},
        "consumers": {"rate": 300, "seconds": 5.0, "rows": 50_000, "interval": 3.0, "consumers": 3},
        "crossover": {"grid": SMALL_GRID},
        "temperature": {"seconds": 10, "runs": 144, "wal_mb": 32},
    },
    "stress": {
        "staleness": {"rate": 500, "seconds": 30.0, "intervals": (1.0, 10.0)},
        "bill": {"rate": 1_000, "seconds": 10.0, "rows": 1_000_000, "interval": 1.0},
        "consumers": {"rate": 300, "seconds": 8.0, "rows": 100_000, "interval": 4.0, "consumers": 4},
        "crossover": {"grid": crossover.Grid()},
        "temperature": {"seconds": 15, "runs": 144, "wal_mb": 64},
    },
}
"""By the size of the comparison; a tiny one has none."""


def run_all(stack: Stack, run: tuple[str, Path], size: str, rounds: int, seed: int) -> None:
    """Every experiment of this size, into the folder of `run` (id, folder): its JSON, and its tables as Markdown.

    One that fails does not take the others with it; the first ServiceFault is raised at the end.
    """
    run_id, folder = run
    faults: list[ServiceFault] = []
    for number, (name, options) in enumerate(OPTIONS.get(size, {}).items(), 1):
        stack.progress.say(f"experiment {name}, rounds: {rounds}")
        module = MODULES[name]
        own = (f"{run_id}e{number}", folder)  # databases and topics of its own
        try:
            _, page, path = module.measure(
                stack, rounds=rounds, parts=module.PARTS, seed=seed, command=command_line(), run=own, **options
            )
        except ServiceFault as fault:
            stack.progress.say(f"experiment {name} failed: {fault}")
            faults.append(fault)
        else:
            path.with_suffix(".md").write_text(page)
    if faults:
        raise faults[0]
