"""The hour of temperatures beside a run: silent sensors, exact averages, and what counts as different."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from lab.temperature_side import SENSORS, WINDOWS, Average, differing, expected, past_hour, past_readings

BEGIN = datetime(2026, 11, 23, 9, tzinfo=UTC)
TEN = timedelta(minutes=10)


def test_an_hour_has_a_reading_a_minute_but_where_a_sensor_is_silent() -> None:
    readings = past_readings(BEGIN, 7)
    assert len(readings) == 6 * 10 * 2 - 10 - 20
    assert readings == past_readings(BEGIN, 7)
    assert readings != past_readings(BEGIN, 8)
    assert {at.second for _, _, at in readings} == {0}
    assert [at for _, _, at in readings if BEGIN + 4 * TEN <= at < BEGIN + 5 * TEN] == []


@pytest.mark.parametrize("now", [BEGIN, BEGIN + timedelta(minutes=9, seconds=59)])
def test_the_windows_leave_the_latest_interval_to_the_schedule(now: datetime) -> None:
    latest = BEGIN - TEN
    assert past_hour(now) + WINDOWS * TEN == latest


def test_windows_are_averaged_exactly_and_silence_is_a_window() -> None:
    found = expected([("office-1", 20.01, BEGIN), ("office-1", 20.04, BEGIN + TEN - timedelta(seconds=1))], BEGIN)
    assert len(found) == WINDOWS * len(SENSORS)
    assert found[0] == Average(BEGIN, BEGIN + TEN, "office-1", 2, 20.025)
    assert found[1] == Average(BEGIN, BEGIN + TEN, "office-2", 0, None)


@pytest.mark.parametrize(
    ("changed", "differs"),
    [
        ({"average": 20.0 + 1e-12}, False),
        ({"average": 20.001}, True),
        ({"average": None}, True),
        ({"readings": 9}, True),
        ({"end": BEGIN + 2 * TEN}, True),
        ({"sensor_id": "office-3"}, True),
    ],
)
def test_a_window_differs_by_its_values_not_by_the_last_digit(changed: dict, differs: bool) -> None:
    wanted = Average(BEGIN, BEGIN + TEN, "office-1", 10, 20.0)
    assert bool(differing([msgspec.structs.replace(wanted, **changed)], [wanted])) == differs


def test_a_window_that_is_missing_or_that_nobody_wanted_differs() -> None:
    one = Average(BEGIN, BEGIN + TEN, "office-1", 0, None)
    assert differing([], [one]) == [one]
    assert differing([one], []) == [one]
    assert differing([one], [one]) == []
