"""What Airflow does beside the agents in a run: the batch path, and the averages of the small case."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol, TypeAlias

import msgspec

from lab.batch_side import INTERVAL_S, SCHEDULE, SCHEDULED, BatchRun, BatchSide
from lab.console import Progress
from lab.stack.airflow import Airflow
from lab.stack.run_airflow import run_airflow
from lab.stack.stack import Stack
from lab.temperature_side import Average, TemperatureSide, expected
from twinpath.settings import Settings


class BesideFound(msgspec.Struct):
    """The runs of the batch job, and who started them how often; the windows that Airflow averaged, and those that the
    readings call for: None without Airflow."""

    runs: list[BatchRun]
    windows: list[Average] | None = None
    windows_wanted: list[Average] | None = None
    scheduler: str = "airflow"
    interval_s: float = INTERVAL_S


class Sides(Protocol):
    """What a run has beside its log-fed paths; the batch path begins at this share of the load's duration."""

    begins_at: float

    def begin_batch(self) -> None:
        """In mid-load: the batch path."""

    def finish(self) -> BesideFound:
        """When everything is written: the last runs."""


OpenSides: TypeAlias = Callable[[Stack, Settings, Path], AbstractContextManager[Sides]]
"""Starts them for the names of a run, and stops them."""


class Beside:
    """Both sides of one Airflow, which is healthy."""

    begins_at = 0.5

    def __init__(self, airflow: Airflow, temperatures_dsn: str, seed: int, progress: Progress) -> None:
        self._progress = progress
        self._batch = BatchSide(airflow, progress)
        self._api = airflow.api
        self._temperature = TemperatureSide(temperatures_dsn, seed)
        self._windows: list[Average] = []

    def average_temperatures(self) -> None:
        """The small case, before the load begins."""
        with self._progress.step("temperatures: an hour of readings, averaged by SQL") as step:
            self._temperature.write()
            self._temperature.average_all(self._api)
            self._windows = self._temperature.wait()
            step.done = "done"
            step.detail = f"{len(self._temperature.readings)} readings, {len(self._windows)} windows"

    def begin_batch(self) -> None:
        """In mid-load: the batch path."""
        self._batch.begin()

    def finish(self) -> BesideFound:
        """When everything is written: the last runs."""
        runs = self._batch.finish()
        return BesideFound(runs, self._windows, expected(self._temperature.readings, self._temperature.begin))


class BatchOnly:
    """The batch path of an Airflow alone, `safe` each minute from the beginning of the load on."""

    begins_at = 0.0

    def __init__(self, airflow: Airflow, progress: Progress) -> None:
        self._batch = BatchSide(airflow, progress, (SCHEDULED,))

    def begin_batch(self) -> None:
        """Switch the schedule on."""
        self._batch.begin()

    def finish(self) -> BesideFound:
        """When everything is written: the last run."""
        return BesideFound(self._batch.finish())


@contextmanager
def batch_only(stack: Stack, settings: Settings, folder: Path) -> Iterator[BatchOnly]:
    """An Airflow of the run's own with the batch path at work."""
    with run_airflow(stack, settings, SCHEDULE, folder) as airflow:
        yield BatchOnly(airflow, stack.progress)


@contextmanager
def beside(stack: Stack, settings: Settings, folder: Path) -> Iterator[Beside]:
    """An Airflow of the run's own with both sides at work."""
    scope = stack.scope(settings)
    scope.create_temperatures(scope.open_as_lab)
    with run_airflow(stack, settings, SCHEDULE, folder) as airflow:
        dsn = stack.credentials.dsn("twinpath_lab", settings.temperature_database)
        sides = Beside(airflow, dsn, settings.seed, stack.progress)
        sides.average_temperatures()
        yield sides
