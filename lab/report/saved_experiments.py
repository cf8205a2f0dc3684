"""The results of experiments that lie in a run folder, read back; one that is half written is a ConfigurationError."""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from lab.bench.result import SCHEMA_VERSION, Result, shown
from lab.bench.statistics import Estimate, estimate
from lab.experiments.crossover_result import CrossoverResult
from twinpath.errors import ConfigurationError

PREFIX = "experiment-"
NAMES = ("staleness", "bill", "consumers", "crossover", "temperature")


class Experiments(msgspec.Struct, frozen=True):
    """Those of a folder, None where there is none; `unknown` are the files of others, which are left out."""

    staleness: Result | None = None
    bill: Result | None = None
    consumers: Result | None = None
    crossover: CrossoverResult | None = None
    temperature: Result | None = None
    unknown: tuple[str, ...] = ()

    def present(self) -> Iterator[tuple[str, Result]]:
        """Name and result of each that is there."""
        for name in NAMES:
            found: Result | None = getattr(self, name)
            if found is not None:
                yield name, found


def file_of(name: str) -> str:
    """The file of an experiment."""
    return f"{PREFIX}{name}.json"


def read_experiments(folder: Path) -> Experiments:
    """All that lie in the folder."""
    unknown = []
    found: dict[str, Result] = {}
    for path in sorted(folder.glob(file_of("*"))):
        name = path.stem.removeprefix(PREFIX)
        if name in NAMES:
            found[name] = _read(path, name)
        else:
            unknown.append(path.name)
    return Experiments(**found, unknown=tuple(unknown))  # type: ignore[arg-type]


def _read(path: Path, name: str) -> Result:
    again = f"run it again (twinpath experiment {name}), or remove the file to have the report without it"
    try:
        found = msgspec.json.decode(path.read_bytes(), type=CrossoverResult if name == "crossover" else Result)
    except msgspec.ValidationError as error:
        raise ConfigurationError(
            f"{path}: found {error}, wanted a result as this version writes it; the file is of another version or was "
            f"changed by hand: {again}"
        ) from None
    except msgspec.DecodeError as error:
        raise ConfigurationError(
            f"{path}: found half a file or none of JSON ({error}), wanted a whole result; the experiment was cut short "
            f"while it wrote: {again}"
        ) from None
    if (found.bench, found.schema_version) != (name, SCHEMA_VERSION):
        raise ConfigurationError(
            f"{path}: found a result of {found.bench}, schema_version {found.schema_version}, wanted one of {name}, "
            f"schema_version {SCHEMA_VERSION}: {again}"
        )
    return found


def rounds_of(result: Result) -> int:
    """How many rounds there were."""
    return len({one.number for one in result.rounds})


def rounds_said(result: Result) -> str:
    """What a figure over the rounds is."""
    count = rounds_of(result)
    return "one round" if count == 1 else f"medians of {count} rounds with their 95 % intervals"


def over_rounds(result: Result, part: str, variant: str, figure: str) -> Estimate | None:
    """The estimate of a figure; None when a round lacks it."""
    values = result.values(part, variant, figure)
    return estimate(values, result.seed) if values else None


def median_of(result: Result, part: str, variant: str, figure: str) -> float | None:
    """The median of a figure over the rounds that have it."""
    values = [
        float(value)
        for one in result.rounds
        if (one.part, one.variant) == (part, variant) and (value := one.figures.get(figure)) is not None
    ]
    return estimate(values, result.seed).median if values else None


def spread(one: Estimate, unit: str = "") -> str:
    """Median and interval as people read them: 147 µs (120 to 160); of a single round there is no interval."""
    said = f"{shown(one.median)} {unit}".strip()
    return said if len(one.rounds) == 1 else f"{said} ({shown(one.low)} to {shown(one.high)})"
