"""The small case beside a run: an hour of temperatures, one a minute, averaged by Airflow every ten minutes.

The readings are of the past, so that a short run has full windows: Airflow's backfill averages them. In one window
one sensor is silent, in another both are: a window without data is a result, too.
"""

import random
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import msgspec
import psycopg2
from psycopg2.extras import execute_values

from lab.stack.airflow_api import AirflowApi
from twinpath.errors import ServiceFault
from twinpath.temperature_averages import last_full

DAG = "temperature_average"
WINDOW = timedelta(minutes=10)
WINDOWS = 6
SENSORS = ("office-1", "office-2")
SILENT = {2: ("office-2",), 4: SENSORS}  # window -> who sends nothing in it
TIMEOUT_S = 120.0
EVERY_S = 0.5
TOLERANCE = 1e-9  # degrees
Reading = tuple[str, float, datetime]


class Average(msgspec.Struct, frozen=True):
    """One sensor's window, [start, end); `average` is None without readings."""

    start: datetime
    end: datetime
    sensor_id: str
    readings: int
    average: float | None


class TemperatureSide:
    """Past readings in one database, and what Airflow made of them."""

    def __init__(self, dsn: str, seed: int) -> None:
        self._dsn = dsn
        self.begin = past_hour(datetime.now(tz=UTC))
        self.readings = past_readings(self.begin, seed)

    def write(self) -> None:
        """Insert the readings, as a producer would have done."""
        with closing(psycopg2.connect(self._dsn)) as session, session, session.cursor() as cursor:
            execute_values(
                cursor,
                "INSERT INTO temperature_readings (sensor_id, temperature, recorded_at) VALUES %s",
                self.readings,
            )

    def average_all(self, api: AirflowApi) -> None:
        """Have Airflow fill every window."""
        api.switch_on(DAG)
        api.backfill(DAG, self.begin, self.begin + (WINDOWS - 1) * WINDOW)

    def wait(self) -> list[Average]:
        """What Airflow stored, when every window is there."""
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            found = self._stored()
            if len({one.start for one in found}) == WINDOWS:
                return found
            if time.monotonic() > deadline:
                raise ServiceFault(f"{DAG} has stored {len(found)} averages in {TIMEOUT_S:.0f} s; look at its tasks")
            time.sleep(EVERY_S)

    def _stored(self) -> list[Average]:
        with closing(psycopg2.connect(self._dsn)) as session, session.cursor() as cursor:
            cursor.execute(
                "SELECT window_start, window_end, sensor_id, readings, average FROM temperature_averages "
                "WHERE window_start >= %s AND window_end <= %s ORDER BY window_start, sensor_id",
                [self.begin, self.begin + WINDOWS * WINDOW],
            )
            return [Average(*row) for row in cursor.fetchall()]


def past_hour(now: datetime) -> datetime:
    """When the windows begin: they end one interval before the latest one, which the schedule itself makes a run of.

    Airflow's scheduler ends with an error when schedule and backfill make a run of one date at the same moment.
    """
    return last_full(now, WINDOW) - (WINDOWS + 1) * WINDOW


def past_readings(begin: datetime, seed: int) -> list[Reading]:
    """One a minute and sensor for six windows from `begin`, in hundredths of a degree; none of who is silent."""
    chance = random.Random(f"temperatures/{seed}")  # noqa: S311  a sequence that can be repeated
    return [
        (sensor, chance.randint(1800, 2500) / 100, begin + number * WINDOW + timedelta(minutes=minute))
        for number in range(WINDOWS)
        for minute in range(WINDOW // timedelta(minutes=1))
        for sensor in SENSORS
        if sensor not in SILENT.get(number, ())
    ]


def expected(readings: list[Reading], begin: datetime) -> list[Average]:
    """The windows that these readings call for, by exact arithmetic."""
    by_window: dict[tuple[datetime, str], list[Fraction]] = {}
    for number in range(WINDOWS):
        for sensor in SENSORS:
            by_window[begin + number * WINDOW, sensor] = []
    for sensor, temperature, at in readings:
        by_window[last_full(at, WINDOW), sensor].append(Fraction(str(temperature)))
    return [
        Average(start, start + WINDOW, sensor, len(found), float(sum(found) / len(found)) if found else None)
        for (start, sensor), found in by_window.items()
    ]


def differing(found: list[Average], wanted: list[Average]) -> list[Average]:
    """The wanted windows that were stored otherwise or not at all, and the stored ones that nobody wanted."""
    stored = {(one.start, one.sensor_id): one for one in found}
    called_for = {(one.start, one.sensor_id): one for one in wanted}
    unwanted = [one for place, one in stored.items() if place not in called_for]
    return [*unwanted, *(one for place, one in called_for.items() if not _same(one, stored.get(place)))]


def _same(wanted: Average, found: Average | None) -> bool:
    """Equal but for the last digits of a sum in floating point."""
    if found is None or (wanted.end, wanted.readings) != (found.end, found.readings):
        return False
    if wanted.average is None or found.average is None:
        return wanted.average == found.average
    return abs(wanted.average - found.average) < TOLERANCE
