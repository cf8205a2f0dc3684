"""What Airflow does beside the agents in a run: the batch path, and the averages of the small case."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from lab.batch_side import IN_MID_LOAD, SCHEDULE, BatchRun, BatchSide
from lab.console import Progress
from lab.stack.airflow import Airflow
from lab.stack.run_airflow import run_airflow
from lab.stack.stack import Stack
from lab.temperature_side import Average, TemperatureSide, expected
from twinpath.settings import Settings


class BesideFound(msgspec.Struct):
    """The runs of the batch job; the windows that Airflow averaged, and those that the readings call for."""

    runs: list[BatchRun]
    windows: list[Average]
    windows_wanted: list[Average]


class Beside:
    """Both sides of one Airflow, which is healthy."""

    def __init__(self, airflow: Airflow, temperatures_dsn: str, seed: int, progress: Progress) -> None:
        self._progress = progress
        self._batch = BatchSide(airflow, progress)
        self._temperature = TemperatureSide(temperatures_dsn, seed)
        self._temperature.write()
        self._temperature.average_all(airflow.api)
        progress.say(f"temperatures: {len(self._temperature.readings)} past readings inserted, six windows asked for")

    def in_mid_load(self) -> None:
        """Ask for the runs whose watermarks shall stand in the middle of the load."""
        self._batch.trigger(IN_MID_LOAD)

    def finish(self) -> BesideFound:
        """When everything is written: the last runs, and every window."""
        runs = self._batch.finish()
        with self._progress.step("temperatures: six windows averaged by SQL") as step:
            windows = self._temperature.wait()
            step.done = "done"
        return BesideFound(runs, windows, expected(self._temperature.readings, self._temperature.begin))


@contextmanager
def beside(stack: Stack, settings: Settings, folder: Path) -> Iterator[Beside]:
    """An Airflow of the run's own with both sides at work."""
    scope = stack.scope(settings)
    scope.create_temperatures(scope.open_as_lab)
    with run_airflow(stack, settings, SCHEDULE, folder) as airflow:
        dsn = stack.credentials.dsn("twinpath_lab", settings.temperature_database)
        yield Beside(airflow, dsn, settings.seed, stack.progress)
