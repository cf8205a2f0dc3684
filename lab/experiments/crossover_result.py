"""What `twinpath experiment crossover` leaves: a bench's result with its points and the model fitted to them."""

from pathlib import Path
from typing import Any

import msgspec

from lab.bench.result import Result
from lab.crossover import Fit, Point, Polling
from twinpath.errors import ConfigurationError
from twinpath.settings import ROOT

PUBLISHED = ROOT / "docs" / "results" / "compare" / "experiment-crossover.json"
AGAIN = "Measure anew: twinpath experiment crossover"


class Range(msgspec.Struct, frozen=True):
    """The least and the most that was measured."""

    least: float
    most: float


class Model(msgspec.Struct, frozen=True):
    """The fitted costs, and what an answer needs beside them.

    run_s: seconds on the clock of one run in a kept session (of `safe`); cold_s: of one run by spark-submit.
    rate: rows per second written under CDC; rows: in the polled table; returned: by one poll.
    """

    fit: Fit
    run_s: Polling
    cold_s: float | None
    rate: Range
    rows: Range
    returned: Range


class Need(msgspec.Struct, frozen=True):
    """A program that CDC needs: resident memory, and its CPU while nothing is written (ms per second, by round)."""

    rss_mb: float
    idle_cpu_ms_per_s: list[float]


class CrossoverResult(Result):
    """The result with its points, its model (None when the points are too few), and the programs that CDC needs."""

    points: list[Point] = msgspec.field(default_factory=list)
    model: Model | None = None
    needs: dict[str, Need] = msgspec.field(default_factory=dict)


class Measured(msgspec.Struct):
    """What `advise` reads of such a result."""

    bench: str
    run_id: str
    options: dict[str, Any]
    began: dict[str, Any]
    machine: dict[str, Any]
    not_publishable: list[str]
    model: Model
    needs: dict[str, Need]


def read(path: Path) -> Measured:
    """A result with a model; ConfigurationError for anything else."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Measured)
    except OSError as error:
        raise ConfigurationError(
            f"{path}: {error.strerror or error}, wanted the result of an experiment. {AGAIN}"
        ) from None
    except msgspec.ValidationError as error:
        raise ConfigurationError(
            f"{path}: found {error}, wanted the experiment-crossover.json of a whole run. {AGAIN}"
        ) from None
    except msgspec.DecodeError as error:
        raise ConfigurationError(
            f"{path}: found no JSON ({error}), wanted experiment-crossover.json. {AGAIN}"
        ) from None
    if found.bench != "crossover":
        raise ConfigurationError(f"{path}: found a result of {found.bench}, wanted one of crossover. {AGAIN}")
    return found
