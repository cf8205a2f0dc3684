"""The small case without a database: beats, windows, walks, lines, and how the programs end."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from temperature import temperature_data_consumer, temperature_data_producer
from temperature.program import Ending
from temperature.temperature_data_consumer import Consumer, shown
from temperature.temperature_data_producer import Producer, next_beat
from temperature.walk import walk
from twinpath.errors import ConfigurationError
from twinpath.settings import ROOT
from twinpath.temperature_averages import (
    AVERAGE,
    LOCK,
    NEWEST,
    STORE,
    Average,
    last_full,
    next_end,
    parameters,
    window_ending,
)

TEN = timedelta(minutes=10)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


class Log:
    """Keeps what was logged."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def info(self, event: str, **values: Any) -> None:
        self.lines.append((event, values))

    warning = info


class Time(Ending):
    """A clock that only moves when somebody waits or works; asks to end after a time."""

    def __init__(self, ends_after_s: float = float("inf")) -> None:
        super().__init__()
        self.now_s = 1000.0
        self._ends_s = 1000.0 + ends_after_s

    def clock(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s = min(self.now_s + max(seconds, 0.0), self._ends_s)
        self.asked = self.now_s >= self._ends_s


# the producer


def test_a_walk_is_repeated_by_its_seed_and_differs_by_sensor() -> None:
    assert list(islice(walk(7, "lab"), 5)) == [21.86, 21.63, 21.69, 22.14, 22.27]
    assert list(islice(walk(7, "lab"), 100)) == list(islice(walk(7, "lab"), 100))
    assert list(islice(walk(7, "office"), 5)) != list(islice(walk(7, "lab"), 5))
    assert list(islice(walk(8, "lab"), 5)) != list(islice(walk(7, "lab"), 5))


@pytest.mark.parametrize("seed", range(5))
def test_temperatures_are_plausible(seed: int) -> None:
    found = list(islice(walk(seed, "lab"), 20_000))
    assert all(15 < temperature < 27 for temperature in found)
    assert all(abs(after - before) < 1 for before, after in zip(found, found[1:], strict=False))
    assert len(set(found)) > 100


@pytest.mark.parametrize(
    ("last", "elapsed_s", "beat"),
    [
        (0, 0.5, 1),
        (0, 59.999, 1),
        (0, 60.0, 1),
        (0, 60.001, 2),
        (0, 119.0, 2),
        (4, 240.1, 5),
        (4, 250.0, 5),
        (4, 841.0, 15),
    ],
)
def test_the_next_beat_is_the_first_that_is_not_past(last: int, elapsed_s: float, beat: int) -> None:
    assert next_beat(last, elapsed_s, 60.0) == beat


class Beats:
    """An office whose writes take as long as the test says."""

    def __init__(self, time: Time, takes_s: list[float]) -> None:
        self._time = time
        self._takes_s = takes_s
        self.written: list[tuple[float, dict[str, float]]] = []

    def write(self, rows: dict[str, float]) -> None:
        self.written.append((self._time.now_s - 1000, dict(rows)))
        self._time.now_s += self._takes_s[len(self.written) - 1]


def produced(takes_s: list[float], time: Time, count: int | None) -> tuple[Beats, Log]:
    beats, log = Beats(time, takes_s), Log()
    producer = Producer({"a": iter(range(99)), "b": iter(range(100, 199))}, None, 60.0, time, log, time.clock)
    producer.write = beats.write
    producer.run(count)
    return beats, log


def test_beats_do_not_drift_however_long_a_write_takes() -> None:
    beats, _ = produced([0.4, 30.0, 59.0, 0.1, 1.0], Time(), 5)
    assert beats.written == [(60.0 * beat, {"a": beat, "b": 100 + beat}) for beat in range(5)]


def test_beats_that_pass_meanwhile_are_skipped_and_said_and_their_temperatures_too() -> None:
    beats, log = produced([0.1, 200.0, 0.1], Time(), 3)
    assert beats.written == [(0.0, {"a": 0, "b": 100}), (60.0, {"a": 1, "b": 101}), (300.0, {"a": 5, "b": 105})]
    assert [values for event, values in log.lines if "skipped" in event] == [{"beats": 3, "first": 2, "next": 5}]
    assert [values["late_s"] for event, values in log.lines if event == "wrote"] == [0.1, 200.0, 0.1]


def test_a_producer_that_is_asked_to_end_while_it_waits_writes_nothing_more() -> None:
    beats, _ = produced([0.1] * 9, Time(ends_after_s=90), None)
    assert [at_s for at_s, _ in beats.written] == [0.0, 60.0]


# windows


@pytest.mark.parametrize(
    ("end", "begin_in_utc", "end_in_utc"),
    [
        ("2026-11-23T10:00:00+00:00", "2026-11-23T09:50:00", "2026-11-23T10:00:00"),
        ("2026-11-23T15:35:00+05:30", "2026-11-23T09:55:00", "2026-11-23T10:05:00"),
        ("2028-03-01T00:05:00+00:00", "2028-02-29T23:55:00", "2028-03-01T00:05:00"),
        ("2027-03-01T00:05:00+00:00", "2027-02-28T23:55:00", "2027-03-01T00:05:00"),
        ("2027-01-01T00:00:00+00:00", "2026-12-31T23:50:00", "2027-01-01T00:00:00"),
    ],
)
def test_a_window_begins_its_length_before_it_ends(end: str, begin_in_utc: str, end_in_utc: str) -> None:
    assert window_ending(at(end), TEN) == (at(f"{begin_in_utc}+00:00"), at(f"{end_in_utc}+00:00"))
    assert {moment.tzinfo for moment in window_ending(at(end), TEN)} == {UTC}


@pytest.mark.parametrize(
    ("local", "fold", "begin_in_utc"),
    [
        ("2026-03-29T03:05:00", 0, "2026-03-29T00:55:00"),  # from 02:00 to 03:00: no such hour
        ("2026-10-25T02:05:00", 0, "2026-10-24T23:55:00"),  # the first 02:05 of that night
        ("2026-10-25T02:05:00", 1, "2026-10-25T00:55:00"),  # the second one
        ("2026-10-25T03:05:00", 0, "2026-10-25T01:55:00"),
    ],
)
def test_a_window_lasts_ten_minutes_when_the_clocks_change(local: str, fold: int, begin_in_utc: str) -> None:
    begin, end = window_ending(at(local).replace(tzinfo=ZoneInfo("Europe/Berlin"), fold=fold), TEN)
    assert (begin, end - begin) == (at(f"{begin_in_utc}+00:00"), TEN)


@pytest.mark.parametrize(
    ("moment", "minutes", "full"),
    [
        ("2026-11-23T10:03:27.5+00:00", 10, "2026-11-23T10:00:00+00:00"),
        ("2026-11-23T10:00:00+00:00", 10, "2026-11-23T10:00:00+00:00"),
        ("2026-11-23T09:59:59.999999+00:00", 10, "2026-11-23T09:50:00+00:00"),
        ("2026-11-23T15:33:00+05:30", 60, "2026-11-23T10:00:00+00:00"),
        ("2026-10-25T02:35:00+01:00", 60, "2026-10-25T01:00:00+00:00"),
    ],
)
def test_full_multiples_are_counted_in_utc(moment: str, minutes: int, full: str) -> None:
    assert last_full(at(moment), timedelta(minutes=minutes)) == at(full)


@pytest.mark.parametrize(
    ("last", "now", "end"),
    [
        ("10:00:00", "10:00:01", "10:10:00"),
        ("10:03:27", "10:03:28", "10:10:00"),  # the first window ended when the program began
        ("10:00:00", "10:10:00", "10:10:00"),
        ("10:00:00", "10:19:59", "10:10:00"),  # late, and still the next one
        ("10:00:00", "10:47:00", "10:40:00"),  # 10:10, 10:20 and 10:30 passed unseen
        ("10:00:00", "09:58:00", "10:10:00"),  # the clock was set back
    ],
)
def test_the_next_window_ends_at_the_next_full_multiple(last: str, now: str, end: str) -> None:
    day = "2026-11-23T{}+00:00"
    assert next_end(at(day.format(last)), at(day.format(now)), TEN) == at(day.format(end))


def test_bounds_are_handed_over_in_utc_as_text_without_a_type() -> None:
    assert parameters(at("2026-11-23T15:20:00+05:30"), at("2026-11-23T15:30:00+05:30")) == {
        "begin": "2026-11-23 09:50:00+00:00",
        "end": "2026-11-23 10:00:00+00:00",
        "heard_since": "2026-11-22 10:00:00+00:00",
        "window_start": "2026-11-23 09:50:00+00:00",
        "window_end": "2026-11-23 10:00:00+00:00",
    }
    week = parameters(at("2026-11-16T00:00:00+00:00"), at("2026-11-23T00:00:00+00:00"))
    assert week["heard_since"] == week["begin"]


def test_a_time_without_zone_and_a_window_without_time_are_refused() -> None:
    moment = at("2026-11-23T10:00:00+00:00")
    with pytest.raises(ConfigurationError, match="2026-11-23 10:00:00 without zone"):
        window_ending(datetime(2026, 11, 23, 10), TEN)  # noqa: DTZ001
    for begin, end in ((moment, moment), (moment, moment - TEN)):
        with pytest.raises(ConfigurationError, match="wanted one that ends after it begins"):
            parameters(begin, end)


# the consumer


@pytest.mark.parametrize(
    ("average", "minutes", "line"),
    [
        (Average("lab", 21.3456, 10, 0), 10, "lab: average 21.35 of 10 readings"),
        (Average("lab", 21.0, 1, 2), 1, "lab: average 21.00 of 1 reading (2 without a usable temperature)"),
        (Average("lab", None, 0, 0), 10, "lab: no data in the last 10 minutes"),
        (Average("lab", None, 0, 1), 11, "lab: no data in the last 11 minutes (1 without a usable temperature)"),
        (Average("a\nb\x1b", None, 0, 0), 1, "'a\\nb\\x1b': no data in the last 1 minute"),
        (Average(None, 20.0, 3, 0), 0.5, "(no sensor id): average 20.00 of 3 readings"),
        (Average(None, None, 0, 0), 0.5, "no data in the last 0.5 minutes"),
    ],
)
def test_a_line_says_sensor_average_readings_and_bounds(average: Average, minutes: float, line: str) -> None:
    begin, end = window_ending(at("2026-11-23T15:40:00.5+05:30"), timedelta(minutes=minutes))
    start = begin.isoformat().replace("+00:00", "Z")
    wanted = f"{line}, from {start} to 2026-11-23T10:10:00.500000Z"
    assert shown(average, begin, end, as_json=False) == wanted


def test_a_line_as_json_keeps_every_digit() -> None:
    begin, end = window_ending(at("2026-11-23T10:10:00+00:00"), TEN)
    assert shown(Average(None, None, 0, 4), begin, end, as_json=True) == (
        '{"sensor": null, "average": null, "readings": 0, "unusable": 4, '
        '"from": "2026-11-23T10:00:00Z", "to": "2026-11-23T10:10:00Z"}'
    )
    assert '"sensor": "lab", "average": 21.123456789,' in shown(
        Average("lab", 21.123456789, 1, 0), begin, end, as_json=True
    )


class FakeOffice:
    """A database whose clock is the test's, and in which each look takes a while."""

    def __init__(self, time: Time, began: str, takes_s: list[float], ahead_s: float = 0.0) -> None:
        self._time = time
        self._began = at(began)
        self._takes_s = takes_s
        self._ahead = timedelta(seconds=ahead_s)
        self.statements: list[tuple[str, Any]] = []
        self._answer: list[Any] = []

    def do(self, action: Callable[[Any], Any]) -> Any:
        return action(self)

    def execute(self, query: str, given: Any = None, /) -> None:
        now = self._began + timedelta(seconds=self._time.now_s - 1000)
        self._answer = [(now,)]
        if query == NEWEST:
            self._answer = [((now + self._ahead).timestamp(),)]
        elif query in (AVERAGE, STORE):
            self._answer = [("lab", 21.0, 1, 0)]
            self._time.now_s += self._takes_s.pop(0) if self._takes_s else 0.0
        if query in (AVERAGE, STORE, LOCK):
            self.statements.append((query, given and (given["begin"][11:19], given["end"][11:19])))

    def fetchall(self) -> list[Any]:
        return self._answer


def consumed(office: FakeOffice, time: Time, *, stored: bool = False, turns: int | None = 3) -> Log:
    log = Log()
    Consumer(office, TEN, time, log, stored=stored, as_json=False).run(TEN, turns)
    return log


def test_the_first_window_ends_now_and_the_next_ones_at_full_multiples(capsys: pytest.CaptureFixture[str]) -> None:
    time = Time()
    office = FakeOffice(time, "2026-11-23T10:03:27+00:00", [7.0, 0.3, 90.0])
    consumed(office, time)
    windows = [("09:53:27", "10:03:27"), ("10:00:00", "10:10:00"), ("10:10:00", "10:20:00")]
    assert office.statements == [(AVERAGE, window) for window in windows]
    assert capsys.readouterr().out.splitlines()[1] == (
        "lab: average 21.00 of 1 reading, from 2026-11-23T10:00:00Z to 2026-11-23T10:10:00Z"
    )


def test_windows_that_are_stored_are_full_ones_beginning_with_the_last() -> None:
    time = Time()
    office = FakeOffice(time, "2026-11-23T10:03:27+00:00", [])
    consumed(office, time, stored=True)
    windows = [("09:50:00", "10:00:00"), ("10:00:00", "10:10:00"), ("10:10:00", "10:20:00")]
    assert office.statements == [pair for window in windows for pair in ((LOCK, None), (STORE, window))]


def test_a_late_window_is_still_computed_and_those_before_it_are_said_to_be_skipped() -> None:
    time = Time()
    office = FakeOffice(time, "2026-11-23T10:00:00+00:00", [900.0, 2300.0])
    log = consumed(office, time, turns=4)
    ends = [window[1] for _, window in office.statements]
    assert ends == ["10:00:00", "10:10:00", "10:50:00", "11:00:00"]
    assert [values for event, values in log.lines if "skipped" in event] == [
        {"windows": 3, "first_to": "2026-11-23T10:20:00Z", "last_to": "2026-11-23T10:40:00Z"}
    ]


def test_a_consumer_that_is_asked_to_end_while_it_waits_ends() -> None:
    time = Time(ends_after_s=700)
    office = FakeOffice(time, "2026-11-23T10:03:00+00:00", [])
    consumed(office, time, turns=None)
    assert [window[1] for _, window in office.statements] == ["10:03:00", "10:10:00"]


@pytest.mark.parametrize(("ahead_s", "warned"), [(0.0, []), (59.0, []), (19_800.0, ["5:30:00"]), (-19_800.0, [])])
def test_readings_of_the_future_are_warned_of(ahead_s: float, warned: list[str]) -> None:
    time = Time()
    log = consumed(FakeOffice(time, "2026-11-23T10:00:00+00:00", [], ahead_s), time, turns=1)
    assert [values["ahead"] for event, values in log.lines if "dated in the future" in event] == warned


# the programs


@pytest.mark.parametrize(
    ("program", "arguments", "words"),
    [
        (temperature_data_producer, ["--interval", "0"], "found '0', wanted a number of seconds from 0.01 to 31622400"),
        (temperature_data_producer, ["--interval", "nan"], "found 'nan'"),
        (temperature_data_producer, ["--interval", "1e99"], "found '1e99'"),
        (temperature_data_producer, ["--count", "0"], "found '0', wanted a number from 1 up"),
        (temperature_data_producer, ["--sensor", "a", "--sensor", "a"], "wanted each name once"),
        (temperature_data_producer, ["--sensor", ""], "found '', wanted a name of 1 to 50 characters"),
        (temperature_data_producer, ["--sensor", "x" * 51], "wanted a name of 1 to 50 characters"),
        (temperature_data_consumer, ["--window", "-1"], "found '-1', wanted a number of minutes"),
        (temperature_data_consumer, ["--to", "2026-11-23T10:10:00Z"], "wanted --once with it"),
        (
            temperature_data_consumer,
            ["--once", "--to", "2026-11-23T10:10:00"],
            "wanted a time since 1980 with its zone",
        ),
        (temperature_data_consumer, ["--once", "--to", "9999-12-31T23:59:59-10:00"], "wanted a time since 1980"),
    ],
)
def test_usage_errors_say_what_is_wrong(
    program: Any, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        program.main(arguments)
    assert stopped.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "how", "status"),
    [
        (["temperature/temperature_data_producer.py"], signal.SIGTERM, 0),
        (["-m", "temperature.temperature_data_consumer", "--once"], signal.SIGINT, 130),
    ],
)
def test_a_program_waits_for_its_database_and_ends_when_it_is_asked_to(
    command: list[str], how: signal.Signals, status: int
) -> None:
    nobody = "host=127.0.0.1 port=1 dbname=x user=x"
    environment = os.environ | {"TEMPERATURE_DSN": nobody, "AVERAGES_DSN": nobody}
    with subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stderr is not None
        assert '"event": "trying again"' in running.stderr.readline()
        running.send_signal(how)
        rest = running.stderr.read()
        assert running.wait(timeout=30) == status
    assert "Connection refused" in rest
    assert "Traceback" not in rest


def test_a_dsn_that_is_none_is_named_at_once() -> None:
    environment = os.environ | {"TEMPERATURE_DSN": "nonsense"}
    command = [sys.executable, "temperature/temperature_data_producer.py"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "TEMPERATURE_DSN or AVERAGES_DSN is no DSN" in done.stderr
