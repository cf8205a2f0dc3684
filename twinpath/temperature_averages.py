"""Averages of temperatures per sensor and window, by SQL: what the consumer and the DAG both run.

A window is half-open, [begin, end), and its bounds are instants: times of any zone, compared in UTC. Its result is
a function of the readings alone, so that a window can be computed again when late rows came.

Which sensors have a row: every one that was heard in the day before the window's end, with `readings` 0 and no
average when it was silent in the window. When none was heard, there is one row without a sensor and with `readings`
0, so that an empty window is a result, too. Readings without a sensor id are one sensor, whose id is NULL.

Bounds are sent as text without a type: it takes the type of the column `recorded_at`. A column with zone is so
compared by instants; a column without zone by its digits, which is to say that it is read as UTC. Neither depends
on the session's time zone, and both use the index.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from twinpath.errors import ConfigurationError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HEARD_FOR = timedelta(days=1)  # a sensor that was silent for longer is no longer listed

# NULL, NaN and infinities are no temperatures, and a sum of squares overflows beyond 1e154: they are counted apart.
# The order makes the sum, and with it the last digit, the same at each run.
_COMPUTED = """
WITH heard AS (
    SELECT sensor_id::text AS sensor_id, recorded_at, temperature, recorded_at >= %(begin)s AS inside,
           (temperature BETWEEN -1e100 AND 1e100) IS TRUE AS usable
    FROM temperature_readings
    WHERE recorded_at >= %(heard_since)s AND recorded_at < %(end)s
), of_sensors AS (
    SELECT sensor_id,
           (avg(temperature ORDER BY recorded_at, temperature) FILTER (WHERE inside AND usable))::float8 AS average,
           count(*) FILTER (WHERE inside AND usable) AS readings,
           count(*) FILTER (WHERE inside AND NOT usable) AS unusable
    FROM heard
    GROUP BY sensor_id
), computed AS (
    SELECT * FROM of_sensors
    UNION ALL
    SELECT NULL, NULL, 0, 0 WHERE NOT EXISTS (SELECT FROM of_sensors)
)"""
_RESULT = """
SELECT sensor_id, average, readings, unusable FROM computed ORDER BY sensor_id COLLATE "C" NULLS LAST"""
AVERAGE = f"{_COMPUTED}{_RESULT}"

# Two runs of one window take turns, so that the last one to write is the last one to read. Fails outside of a
# transaction, where it would hold nothing.
LOCK = "LOCK TABLE temperature_averages IN SHARE ROW EXCLUSIVE MODE"
# What a re-run finds unchanged is not written again. A row whose sensor has no longer anything to do with the
# window goes: late rows came where nobody had been heard, or readings were removed.
STORE = f"""{_COMPUTED}, gone AS (
    DELETE FROM temperature_averages AS kept
    WHERE window_start = %(window_start)s::timestamptz AND window_end = %(window_end)s::timestamptz
      AND NOT EXISTS (SELECT FROM computed WHERE computed.sensor_id IS NOT DISTINCT FROM kept.sensor_id)
), stored AS (
    INSERT INTO temperature_averages AS kept (window_start, window_end, sensor_id, average, readings, unusable)
    SELECT %(window_start)s::timestamptz, %(window_end)s::timestamptz, sensor_id, average, readings, unusable
    FROM computed
    ON CONFLICT (window_start, window_end, sensor_id) DO UPDATE
    SET average = excluded.average, readings = excluded.readings, unusable = excluded.unusable, computed_at = now()
    WHERE (kept.average, kept.readings, kept.unusable)
          IS DISTINCT FROM (excluded.average, excluded.readings, excluded.unusable)
){_RESULT}"""  # noqa: S608  constants only
# Times far off are somebody's mistake, and some of them no datetime can hold.
NEWEST = """
SELECT extract(epoch FROM max(recorded_at))::float8 FROM temperature_readings
WHERE recorded_at BETWEEN '1970-01-01' AND '9999-01-01'"""


class Cursor(Protocol):
    """What is used of a cursor; psycopg2 and psycopg 3 both have it."""

    def execute(self, query: Any, parameters: Any = None, /) -> Any:
        """Run one statement."""

    def fetchall(self) -> list[Any]:
        """All rows of the last statement."""


@dataclass(frozen=True)
class Average:
    """One sensor's mean over one window; `average` is None when `readings` is 0.

    `unusable` counts its rows in the window whose temperature is NULL, NaN, infinite or beyond 1e100.
    """

    sensor_id: str | None
    average: float | None
    readings: int
    unusable: int


def in_utc(moment: datetime) -> datetime:
    """The same instant in UTC; ConfigurationError for a time without zone, which is no instant."""
    if moment.utcoffset() is None:
        raise ConfigurationError(f"found the time {moment} without zone, wanted one such as 2026-11-23T10:00:00Z")
    return moment.astimezone(UTC)


def window_ending(end: datetime, length: timedelta) -> tuple[datetime, datetime]:
    """The window [begin, end) of this length, in UTC.

    `length` is time that passes: in Python a time in a local zone minus ten minutes is ten minutes by the wall
    clock, which may be 70 when the clocks change; hence UTC first.
    """
    end = in_utc(end)
    return end - length, end


def last_full(moment: datetime, interval: timedelta) -> datetime:
    """The last multiple of `interval` since 1970 (UTC) that is not after `moment`: 10:03 gives 10:00."""
    return EPOCH + (in_utc(moment) - EPOCH) // interval * interval


def next_end(last: datetime, now: datetime, interval: timedelta) -> datetime:
    """When the window after the one that ended at `last` ends: the next multiple of `interval`.

    When that one and others have passed already, the latest of them.
    """
    return max(last_full(last, interval) + interval, last_full(now, interval))


def parameters(begin: datetime, end: datetime) -> dict[str, str]:
    """What AVERAGE and STORE are run with; ConfigurationError when there is no time between the bounds."""
    begin, end = in_utc(begin), in_utc(end)
    if begin >= end:
        raise ConfigurationError(f"found a window from {begin} to {end}, wanted one that ends after it begins")
    heard_since = min(begin, end - HEARD_FOR)
    bounds = {"begin": begin, "end": end, "heard_since": heard_since, "window_start": begin, "window_end": end}
    return {name: moment.isoformat(sep=" ") for name, moment in bounds.items()}


def average(cursor: Cursor, begin: datetime, end: datetime) -> list[Average]:
    """Each sensor's average over [begin, end), by sensor id; never empty."""
    cursor.execute(AVERAGE, parameters(begin, end))
    return [Average(*row) for row in cursor.fetchall()]


def store(cursor: Cursor, begin: datetime, end: datetime) -> list[Average]:
    """The same, written into temperature_averages by one statement; can be repeated, wants a transaction."""
    cursor.execute(LOCK)
    cursor.execute(STORE, parameters(begin, end))
    return [Average(*row) for row in cursor.fetchall()]


def clock(cursor: Cursor) -> datetime:
    """What the database's clock shows."""
    cursor.execute("SELECT clock_timestamp()")
    ((now,),) = cursor.fetchall()
    return in_utc(now)


def newest_reading(cursor: Cursor) -> datetime | None:
    """The time of the newest reading of all sensors, which may be in the future; None when there is none."""
    cursor.execute(NEWEST)
    ((newest,),) = cursor.fetchall()
    return None if newest is None else EPOCH + timedelta(seconds=newest)
