"""Writes one temperature a minute for each sensor into temperature_readings.

    python temperature/temperature_data_producer.py
    python temperature/temperature_data_producer.py --sensor lab --sensor office --interval 10 --count 6

Beat k is due k intervals after the start, however long a write took. While the database is away the row of the beat
is kept, and is written late; beats that passed meanwhile are skipped, and said. No row is written twice: each gets
its id first, and a repeated write of that id does nothing. The database gives recorded_at.
"""

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any

from psycopg2.extensions import cursor as Cursor
from psycopg2.extras import execute_values

from temperature.office import Office, dsn_of
from temperature.program import Ending, run, seconds
from temperature.walk import walk
from twinpath.logs import configure
from twinpath.settings import load_settings

NAME = "temperature_data_producer"
LONGEST_SENSOR = 50  # characters of the column sensor_id
DRAW = "SELECT nextval(pg_get_serial_sequence('temperature_readings', 'id')) FROM generate_series(1, %s)"
WRITE = "INSERT INTO temperature_readings (id, sensor_id, temperature) VALUES %s ON CONFLICT (id) DO NOTHING"


def next_beat(last: int, elapsed_s: float, interval_s: float) -> int:
    """The first beat after `last` that is not past; those in between are skipped."""
    return max(last + 1, math.ceil(elapsed_s / interval_s))


class Producer:
    """Writes one row per sensor and beat."""

    def __init__(
        self,
        walks: Mapping[str, Iterator[float]],
        office: Office,
        interval_s: float,
        ending: Ending,
        logger: Any,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._walks = walks
        self._office = office
        self._interval_s = interval_s
        self._ending = ending
        self._logger = logger
        self._clock = clock

    def run(self, count: int | None = None) -> None:
        """Write `count` beats, or until the program is asked to end."""
        started = self._clock()
        beat = written = 0
        while not self._ending.asked:
            rows = {sensor: next(values) for sensor, values in self._walks.items()}
            self.write(rows)
            late_s = self._clock() - started - beat * self._interval_s
            self._logger.info("wrote", beat=beat, late_s=round(late_s, 3), temperatures=rows)
            written += 1
            if written == count:
                return
            beat = self._wait_after(beat, started)

    def write(self, rows: Mapping[str, float]) -> None:
        """One transaction for one beat, repeated until it is known to be committed."""
        ids = self._office.do(partial(_draw, len(rows)))
        self._office.do(partial(_write, [(number, *row) for number, row in zip(ids, rows.items(), strict=True)]))

    def _wait_after(self, last: int, started: float) -> int:
        """Wait for the next beat that is not past; the temperatures of skipped ones are passed over."""
        beat = next_beat(last, self._clock() - started, self._interval_s)
        skipped = beat - last - 1
        if skipped:
            self._logger.warning("skipped beats that passed meanwhile", beats=skipped, first=last + 1, next=beat)
            for values in self._walks.values():
                next(islice(values, skipped - 1, None))
        self._ending.sleep(started + beat * self._interval_s - self._clock())
        return beat


def _draw(count: int, cursor: Cursor) -> list[int]:
    cursor.execute(DRAW, [count])
    return [number for (number,) in cursor.fetchall()]


def _write(rows: Sequence[tuple[int, str, float]], cursor: Cursor) -> None:
    execute_values(cursor, WRITE, rows, page_size=len(rows))


def _sensor(text: str) -> str:
    if not text.strip() or len(text) > LONGEST_SENSOR or not text.isprintable():
        raise argparse.ArgumentTypeError(f"found {text!r}, wanted a name of 1 to {LONGEST_SENSOR} characters")
    return text


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, wanted a number from 1 up")
    return int(text)


def main(arguments: list[str] | None = None) -> int:
    """Produce until SIGTERM (exit status 0), Ctrl-C (130) or the count."""
    parser = argparse.ArgumentParser(
        prog=NAME, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--interval", type=seconds, default=60.0, metavar="SECONDS", help="between beats (60)")
    parser.add_argument("--count", type=_count, metavar="N", help="end after N beats (default: never)")
    parser.add_argument("--sensor", type=_sensor, action="append", metavar="NAME", help="repeatable (sensor-1)")
    parser.add_argument("--seed", type=int, help="of the temperatures (SEED, default 7)")
    given = parser.parse_args(arguments)
    sensors = given.sensor or ["sensor-1"]
    if len(set(sensors)) < len(sensors):
        parser.error(f"argument --sensor: found {sensors}, wanted each name once")

    def body(ending: Ending) -> None:
        settings = load_settings(seed=given.seed)
        logger = configure("temperature_producer", run_id=settings.run_id)
        office = Office(dsn_of(settings, settings.temperature_dsn), ending, logger)
        walks = {sensor: walk(settings.seed, sensor) for sensor in sensors}
        Producer(walks, office, given.interval, ending, logger).run(given.count)

    return run(NAME, body)


if __name__ == "__main__":
    sys.exit(main())
