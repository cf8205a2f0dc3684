"""Averages the temperatures of the last ten minutes, per sensor, by SQL.

    python temperature/temperature_data_consumer.py --once
    python temperature/temperature_data_consumer.py --store
    python temperature/temperature_data_consumer.py --once --store --to 2026-11-23T10:10:00Z

Windows are half-open, [from, to). The first one ends now, by the database's clock; the next ones end at full
multiples of the interval in UTC (10:10, 10:20, ...), so that they neither drift nor differ from the DAG's. With
--store only such windows are taken, beginning with the last full one, and each is written into temperature_averages.
A window can be computed again when late rows came: --once --store --to its end.
"""

import argparse
import json
import sys
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from psycopg2.extensions import cursor as Cursor

from temperature.office import Office, dsn_of
from temperature.program import Ending, minutes, run, seconds
from twinpath.errors import ConfigurationError
from twinpath.logs import configure
from twinpath.settings import load_settings
from twinpath.temperature_averages import (
    Average,
    average,
    clock,
    in_utc,
    last_full,
    newest_reading,
    next_end,
    store,
    window_ending,
)

NAME = "temperature_data_consumer"
AHEAD = timedelta(minutes=1)  # a clock may be off by so much before we speak of it
EARLIEST = datetime(1980, 1, 1, tzinfo=UTC)
Found = tuple[list[Average], datetime, datetime | None]


def stamp(moment: datetime) -> str:
    """An instant such as 2026-11-23T10:00:00Z."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def counted(number: float, what: str) -> str:
    """Such as 10 minutes and 1 minute."""
    return f"{number:g} {what}{'' if number == 1 else 's'}"


def shown(one: Average, begin: datetime, end: datetime, *, as_json: bool) -> str:
    """One sensor's line."""
    if as_json:
        fields = {"sensor": one.sensor_id, "average": one.average, "readings": one.readings}
        return json.dumps(fields | {"unusable": one.unusable, "from": stamp(begin), "to": stamp(end)})
    found = f"no data in the last {counted((end - begin).total_seconds() / 60, 'minute')}"
    if one.readings:
        found = f"average {one.average:.2f} of {counted(one.readings, 'reading')}"
    if one.unusable:
        found += f" ({one.unusable} without a usable temperature)"
    if one.sensor_id is not None:
        found = f"{one.sensor_id if one.sensor_id.isprintable() else repr(one.sensor_id)}: {found}"
    elif one.readings or one.unusable:
        found = f"(no sensor id): {found}"
    return f"{found}, from {stamp(begin)} to {stamp(end)}"


class Consumer:
    """Looks at one window after the other."""

    def __init__(
        self, office: Office, window: timedelta, ending: Ending, logger: Any, *, stored: bool, as_json: bool
    ) -> None:
        self._office = office
        self._window = window
        self._ending = ending
        self._logger = logger
        self._judge = store if stored else average
        self._stored = stored
        self._as_json = as_json

    def now(self) -> datetime:
        """The database's clock."""
        return self._office.do(clock)

    def look(self, end: datetime) -> None:
        """Compute, store when asked, and print the window that ends at `end`."""
        begin, end = window_ending(end, self._window)
        found, now, newest = self._office.do(partial(self._read, begin, end))
        for one in found:
            sys.stdout.write(f"{shown(one, begin, end, as_json=self._as_json)}\n")
        sys.stdout.flush()
        if newest is not None and newest > now + AHEAD:
            self._logger.warning(
                "readings are dated in the future: a clock is wrong, or times without zone came from a session whose "
                "TimeZone is not that of the producer (README, Temperatures)",
                newest=stamp(newest),
                ahead=str(newest - now),
            )
        elif not any(one.readings for one in found):
            self._logger.info("no data", newest_reading=stamp(newest) if newest else "none at all")

    def _read(self, begin: datetime, end: datetime, cursor: Cursor) -> Found:
        return self._judge(cursor, begin, end), clock(cursor), newest_reading(cursor)

    def run(self, interval: timedelta, turns: int | None = None) -> None:
        """A window now, then one at each full multiple of the interval; for a number of turns, or endless."""
        now = self.now()
        end = last_full(now, interval) if self._stored else now
        while not self._ending.asked and turns != 0:
            self.look(end)
            turns = None if turns is None else turns - 1
            if turns != 0:
                end = self._wait_after(end, interval)

    def _wait_after(self, last: datetime, interval: timedelta) -> datetime:
        """Wait until the next window is over, by the database's clock; say which ones passed unseen."""
        due = next_end(last, last, interval)
        self._logger.info("next window", to=stamp(due))
        while (now := self.now()) < due and not self._ending.asked:
            self._ending.sleep((due - now).total_seconds())
        end = next_end(last, now, interval)
        if end > due:
            self._logger.warning(
                "skipped windows that passed meanwhile; each can be computed with --once --store --to",
                windows=(end - due) // interval,
                first_to=stamp(due),
                last_to=stamp(end - interval),
            )
        return end


def _instant(text: str) -> datetime:
    try:
        moment = in_utc(datetime.fromisoformat(text))
        if moment < EARLIEST:
            raise ValueError
    except (ValueError, OverflowError, ConfigurationError):
        raise argparse.ArgumentTypeError(
            f"found {text!r}, wanted a time since 1980 with its zone such as 2026-11-23T10:10:00Z"
        ) from None
    return moment


def main(arguments: list[str] | None = None) -> int:
    """Look once, or until SIGTERM (exit status 0) or Ctrl-C (130)."""
    parser = argparse.ArgumentParser(
        prog=NAME, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--once", action="store_true", help="one window, then end")
    parser.add_argument("--window", type=minutes, default=10.0, metavar="MINUTES", help="length of a window (10)")
    parser.add_argument("--interval", type=seconds, metavar="SECONDS", help="between windows (as long as a window)")
    parser.add_argument("--to", type=_instant, metavar="TIME", help="end of the window, with --once (now)")
    parser.add_argument("--store", action="store_true", help="write into temperature_averages")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    given = parser.parse_args(arguments)
    if given.to and not given.once:
        parser.error("argument --to: wanted --once with it")

    def body(ending: Ending) -> None:
        settings = load_settings()
        logger = configure("temperature_consumer", run_id=settings.run_id)
        office = Office(dsn_of(settings, settings.averages_dsn), ending, logger)
        window = timedelta(minutes=given.window)
        consumer = Consumer(office, window, ending, logger, stored=given.store, as_json=given.json)
        if given.once:
            consumer.look(given.to or consumer.now())
        else:
            consumer.run(timedelta(seconds=given.interval) if given.interval else window)

    return run(NAME, body)


if __name__ == "__main__":
    sys.exit(main())
