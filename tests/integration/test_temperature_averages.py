"""Averages of temperatures on a real PostgreSQL: windows, late rows, zones, drivers, roles."""

import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import psycopg2
import pytest

from lab.stack.stack import Stack
from temperature.office import Office
from temperature.program import Ending
from temperature.temperature_data_producer import Producer
from temperature.walk import walk
from tests.conftest import wait_for
from tests.integration.conftest import Temperatures
from twinpath.logs import configure
from twinpath.settings import run_settings
from twinpath.temperature_averages import Average, average, clock, newest_reading, store

pytestmark = pytest.mark.integration
BEGIN, END = datetime(2026, 11, 23, 10, 0, tzinfo=UTC), datetime(2026, 11, 23, 10, 10, tzinfo=UTC)


def averages(room: Temperatures, action: Any = average, begin: datetime = BEGIN, end: datetime = END) -> list[Average]:
    with closing(psycopg2.connect(room.dsn())) as session, session, session.cursor() as cursor:
        return action(cursor, begin, end)


# averages


def test_a_window_holds_its_beginning_and_not_its_end(room: Temperatures) -> None:
    room.read(
        ("lab", 99, "09:59:59.999999"),
        ("lab", 20, "10:00:00"),
        ("lab", 22.5, "10:09:59.999999"),
        ("lab", 99, "10:10:00"),
        ("office", 18, "10:05:00"),
    )
    assert averages(room) == [Average("lab", 21.25, 2, 0), Average("office", 18.0, 1, 0)]


def test_what_is_no_temperature_is_counted_apart(room: Temperatures) -> None:
    wrong = [None, float("nan"), float("inf"), float("-inf"), 1e300, -1e300]
    room.read(("lab", 20, "10:01:00"), *(("lab", each, "10:02:00") for each in wrong), ("odd", None, "10:03:00"))
    room.read((None, 5, "10:04:00"), (None, 6, "10:04:00"))
    assert averages(room) == [Average("lab", 20.0, 1, 6), Average("odd", None, 0, 1), Average(None, 5.5, 2, 0)]


def test_a_sensor_that_fell_silent_is_listed_for_a_day(room: Temperatures) -> None:
    room.read(("silent", 20, "2026-11-22T10:10:00Z"), ("gone", 20, "2026-11-22T10:09:59.999999Z"))
    room.read(("lab", 20, "10:05:00"), ("later", 20, "10:10:00"))
    assert averages(room) == [Average("lab", 20.0, 1, 0), Average("silent", None, 0, 0)]
    assert averages(room, begin=BEGIN - timedelta(days=2))[0] == Average("gone", 20.0, 1, 0)


def test_a_window_of_which_nobody_was_heard_is_one_row_without_a_sensor(room: Temperatures) -> None:
    assert averages(room) == averages(room, store) == [Average(None, None, 0, 0)]
    assert [row[:-1] for row in room.kept()] == [(BEGIN, END, None, None, 0, 0)]


def test_the_last_digit_does_not_depend_on_the_order_of_the_rows(room: Temperatures) -> None:
    readings = [("lab", 1e16, "10:01:00"), ("lab", -1e16, "10:02:00"), ("lab", 3.0, "10:03:00")]
    for order in (readings, readings[::-1], readings[1:] + readings[:1]):
        room.run("TRUNCATE temperature_readings")
        room.read(*order)
        assert averages(room) == [Average("lab", 1.0, 3, 0)]


def test_a_window_that_is_stored_again_changes_nothing_and_late_rows_repair_it(room: Temperatures) -> None:
    assert averages(room, store) == [Average(None, None, 0, 0)]
    room.read(("lab", 20, "10:01:00"), ("office", 18, "10:02:00"))
    assert averages(room, store) == [Average("lab", 20.0, 1, 0), Average("office", 18.0, 1, 0)]
    first = room.kept()
    assert [row[2:6] for row in first] == [("lab", 20.0, 1, 0), ("office", 18.0, 1, 0)]
    averages(room, store)
    assert room.kept() == first
    room.read(("lab", 22, "10:03:00"))
    averages(room, store)
    lab, office = room.kept()
    assert (lab[2:6], office) == (("lab", 21.0, 2, 0), first[1])
    assert lab[6] > first[0][6]
    averages(room, store, END, END + timedelta(minutes=10))
    room.run("DELETE FROM temperature_readings WHERE sensor_id = 'lab'")
    averages(room, store)
    assert [(row[0], *row[2:6]) for row in room.kept()] == [
        (BEGIN, "office", 18.0, 1, 0),
        (END, "lab", None, 0, 0),
        (END, "office", None, 0, 0),
    ]


def test_of_two_overlapping_runs_the_last_one_to_write_has_read_everything(room: Temperatures) -> None:
    room.read(("lab", 20, "10:01:00"))
    first = room.session()
    with first.cursor() as cursor:
        store(cursor, BEGIN, END)
    found: list[list[Average]] = []
    second = threading.Thread(target=lambda: found.append(averages(room, store)))
    second.start()
    wait_for(room.waiting, "the second run waits for the first")
    room.read(("lab", 22, "10:02:00"))
    first.commit()
    second.join()
    assert found == [[Average("lab", 21.0, 2, 0)]]
    assert [row[2:5] for row in room.kept()] == [("lab", 21.0, 2)]


def test_storing_outside_of_a_transaction_is_refused(room: Temperatures) -> None:
    session = room.session()
    session.autocommit = True
    with session.cursor() as cursor, pytest.raises(psycopg2.errors.NoActiveSqlTransaction):
        store(cursor, BEGIN, END)


def test_both_drivers_find_and_store_the_same(room: Temperatures) -> None:
    room.read(("lab", 20, "10:01:00"), ("office", 18, "09:02:00"))
    with psycopg.connect(room.dsn()) as session, session.cursor() as cursor:
        assert average(cursor, BEGIN, END) == averages(room)
        assert store(cursor, BEGIN, END) == averages(room)
        assert newest_reading(cursor) == BEGIN + timedelta(minutes=1)
        assert abs(clock(cursor) - datetime.now(UTC)) < timedelta(minutes=1)
    kept = room.kept()
    averages(room, store)
    assert room.kept() == kept


def test_the_newest_reading_leaves_out_what_is_no_time(room: Temperatures) -> None:
    with closing(psycopg2.connect(room.dsn())) as session, session.cursor() as cursor:
        assert newest_reading(cursor) is None
        room.read(("lab", 1, "10:01:00"))
        room.read(*(("lab", 1, moment) for moment in ("infinity", "-infinity", "20000-01-01", "0044-03-15 BC")))
        assert newest_reading(cursor) == BEGIN + timedelta(minutes=1)


# times without zone


KOLKATA = "Asia/Kolkata"
LOCAL = [datetime(2026, 11, 23, 15, minute) for minute in (29, 30, 39, 40)]  # noqa: DTZ001  10:00 UTC is 15:30 there
INSERT = "INSERT INTO temperature_readings (sensor_id, temperature, recorded_at) VALUES ('theirs', %s, %s)"


@pytest.mark.parametrize("way", ["statement", "option", "PGTZ", "database"])
def test_local_times_of_a_foreign_producer_land_in_their_window_by_its_sessions_zone(
    room: Temperatures, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "PGTZ":
        monkeypatch.setenv("PGTZ", KOLKATA)
    if way == "database":
        room.run(f"ALTER DATABASE {room.database} SET timezone = '{KOLKATA}'")
    session = room.session("twinpath_writer", options=f"-c timezone={KOLKATA}" if way == "option" else None)
    with session, session.cursor() as cursor:
        if way == "statement":
            cursor.execute(f"SET TimeZone = '{KOLKATA}'")
        cursor.executemany(INSERT, [(number, moment) for number, moment in enumerate(LOCAL)])
    try:
        assert averages(room) == [Average("theirs", 1.5, 2, 0)]
        assert averages(room, store) == [Average("theirs", 1.5, 2, 0)]
        assert [row[:2] for row in room.kept()] == [(BEGIN, END)]
    finally:
        room.run(f"ALTER DATABASE {room.database} RESET timezone")


def test_local_times_are_instants_over_the_change_of_the_clocks_but_for_the_hour_that_comes_twice(
    room: Temperatures,
) -> None:
    session = room.session("twinpath_writer", options="-c timezone=Europe/Berlin")
    local = ("2026-03-29 01:59", "2026-03-29 03:01", "2026-10-25 01:59", "2026-10-25 02:30", "2026-10-25 03:00")
    with session, session.cursor() as cursor:
        cursor.executemany(INSERT, list(enumerate(local)))
    found = [moment for (moment,) in room.rows("SELECT recorded_at FROM temperature_readings ORDER BY id")]
    instants = ("03-29T00:59", "03-29T01:01", "10-24T23:59", "10-25T01:30", "10-25T02:00")
    assert found == [datetime.fromisoformat(f"2026-{moment}:00+00:00") for moment in instants]


@pytest.mark.parametrize("zone", ["UTC", KOLKATA, "America/St_Johns"])
def test_a_table_of_the_users_own_without_zone_is_read_as_utc_in_every_session(room: Temperatures, zone: str) -> None:
    try:
        room.run("ALTER TABLE temperature_readings ALTER COLUMN recorded_at TYPE timestamp")
        session = room.session("twinpath_writer", options=f"-c timezone={zone}")
        with session, session.cursor() as cursor:
            cursor.executemany(INSERT, [(number, f"2026-11-23 {m}") for number, m in enumerate(("09:59", "10:00"))])
        session = room.session(options=f"-c timezone={zone}")
        with session, session.cursor() as cursor:
            assert average(cursor, BEGIN, END) == store(cursor, BEGIN, END) == [Average("theirs", 1.0, 1, 0)]
            assert newest_reading(cursor) == BEGIN
        assert [row[:5] for row in room.kept()] == [(BEGIN, END, "theirs", 1.0, 1)]
    finally:
        room.run("TRUNCATE temperature_readings")
        room.run("ALTER TABLE temperature_readings ALTER COLUMN recorded_at TYPE timestamptz")


def test_a_leap_second_is_the_first_second_of_the_next_window(room: Temperatures) -> None:
    room.read(("lab", 1, "2016-12-31T23:59:60Z"))
    midnight = datetime(2017, 1, 1, tzinfo=UTC)
    assert averages(room, begin=midnight - timedelta(minutes=10), end=midnight) == [Average(None, None, 0, 0)]
    assert averages(room, begin=midnight, end=midnight + timedelta(minutes=10)) == [Average("lab", 1.0, 1, 0)]


@pytest.mark.parametrize("column", ["timestamptz DEFAULT now()", "timestamp"])
def test_an_existing_table_is_taken_as_it_is(server: Stack, column: str) -> None:
    settings = run_settings(server.settings, "theirs")
    scope = server.scope(settings)
    connect = server.postgres.connect
    database = settings.temperature_database
    with closing(connect("postgres")) as session, session.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {database}")
    try:
        with closing(connect(database)) as session, session.cursor() as cursor:
            cursor.execute(
                f"CREATE TABLE temperature_readings (id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, "
                f"sensor_id text, temperature real, recorded_at {column})"
            )
            cursor.execute(INSERT, [20.5, "2026-11-23 10:05:00"])
            for _ in range(2):
                scope.create_temperatures(connect)
        office = Office(server.credentials.dsn("twinpath_averages", database), Ending(), configure("test"))
        assert office.do(lambda cursor: store(cursor, BEGIN, END)) == [Average("theirs", 20.5, 1, 0)]
        writer = Office(server.credentials.dsn("twinpath_writer", database), Ending(), configure("test"))
        Producer({"ours": walk(7, "ours")}, writer, 0.01, Ending(), configure("test")).run(2)
    finally:
        with closing(connect("postgres")) as session, session.cursor() as cursor:
            cursor.execute(f"DROP DATABASE {database} WITH (FORCE)")


# roles


ROW = "INSERT INTO temperature_readings (sensor_id, temperature) VALUES ('a', 1)"
KEPT = "INSERT INTO temperature_averages VALUES ('2026-11-23 10:00Z', '2026-11-23 10:10Z', 'a', 1, 1, 0)"
DENIED = [
    ("twinpath_averages", ROW),
    ("twinpath_averages", "UPDATE temperature_readings SET temperature = 0"),
    ("twinpath_averages", "DELETE FROM temperature_readings"),
    ("twinpath_averages", "SELECT nextval('temperature_readings_id_seq')"),
    ("twinpath_averages", "TRUNCATE temperature_averages"),
    ("twinpath_averages", "DROP TABLE temperature_averages"),
    ("twinpath_averages", "CREATE TABLE mine (x int)"),
    ("twinpath_writer", KEPT),
    ("twinpath_writer", "SELECT * FROM temperature_averages"),
    ("twinpath_writer", "DELETE FROM temperature_averages"),
    ("twinpath_writer", "UPDATE temperature_readings SET temperature = 0"),
    ("twinpath_writer", "DELETE FROM temperature_readings"),
    ("twinpath_reader", ROW),
    ("twinpath_reader", KEPT),
    ("twinpath_reader", "DELETE FROM temperature_readings"),
    ("twinpath_reader", "DELETE FROM temperature_averages"),
    ("twinpath_cdc", "SELECT * FROM temperature_readings"),
    ("twinpath_cdc", "SELECT * FROM temperature_averages"),
    ("twinpath_alerts", "SELECT * FROM temperature_readings"),
    ("twinpath_alerts", "SELECT * FROM temperature_averages"),
]
ALLOWED = [
    ("twinpath_writer", ROW),
    ("twinpath_writer", "SELECT * FROM temperature_readings"),
    ("twinpath_averages", "SELECT * FROM temperature_readings"),
    ("twinpath_averages", KEPT),
    ("twinpath_averages", "UPDATE temperature_averages SET average = 2"),
    ("twinpath_averages", "DELETE FROM temperature_averages"),
    ("twinpath_reader", "SELECT * FROM temperature_readings, temperature_averages"),
]


def test_every_role_is_denied_what_is_not_its_own(room: Temperatures) -> None:
    passed = []
    for role, statement in DENIED:
        with closing(psycopg2.connect(room.dsn(role))) as session, session.cursor() as cursor:
            try:
                cursor.execute(statement)
            except psycopg2.errors.InsufficientPrivilege:
                continue
        passed.append((role, statement))
    assert passed == []


def test_every_role_may_do_its_work(room: Temperatures) -> None:
    refused = []
    for role, statement in ALLOWED:
        with closing(psycopg2.connect(room.dsn(role))) as session, session, session.cursor() as cursor:
            try:
                cursor.execute(statement)
            except psycopg2.Error as error:
                refused.append((role, statement, str(error)))
    assert refused == []


def test_the_role_of_the_averages_sees_neither_payments_nor_alerts(room: Temperatures) -> None:
    settings, scope = room.settings, room.scope
    scope.create_databases(scope.open_as_lab)
    for database, table in ((settings.source_database, "transactions"), (settings.alerts_database, "alert_log")):
        dsn = room.stack.credentials.dsn("twinpath_averages", database)
        with closing(psycopg2.connect(dsn)) as session, session.cursor() as cursor:
            cursor.execute("SELECT has_table_privilege(%s, 'select')", [table])
            assert cursor.fetchall() == [(False,)]
