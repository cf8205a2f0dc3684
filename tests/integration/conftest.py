"""A PostgreSQL with a database of temperatures, and nothing else of a stack: it starts in two seconds."""

import re
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection

from lab.console import Progress
from lab.stack.home import Home
from lab.stack.process import free_ports
from lab.stack.stack import Stack
from temperature.office import Office
from temperature.program import Ending
from twinpath.logs import configure
from twinpath.settings import LOOPBACK, load_settings, run_settings


class Temperatures:
    """A database of temperatures of the tests' own."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.settings = run_settings(stack.settings, "t")
        self.scope = stack.scope(self.settings)
        self.database = self.settings.temperature_database
        self.scope.create_temperatures(self.scope.open_as_lab)
        self._sessions: list[Connection] = []

    def dsn(self, role: str = "twinpath_averages") -> str:
        return self.stack.credentials.dsn(role, self.database)

    def session(self, role: str = "twinpath_averages", **options: Any) -> Connection:
        self._sessions.append(psycopg2.connect(self.dsn(role), **options))
        return self._sessions[-1]

    def run(self, statement: str, values: Any = None) -> None:
        with closing(self.scope.open_as_lab(self.database)) as session, session.cursor() as cursor:
            cursor.execute(statement, values)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with closing(psycopg2.connect(self.dsn("twinpath_reader"))) as session, session.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchall()

    def read(self, *readings: tuple[str | None, float | None, str]) -> None:
        """Rows of (sensor, temperature, time); a time such as 10:00:00 is UTC on 2026-11-23."""
        for sensor, temperature, moment in readings:
            whole = f"2026-11-23T{moment}Z" if re.match(r"\d\d:", moment) else moment
            self.run(
                "INSERT INTO temperature_readings (sensor_id, temperature, recorded_at) VALUES (%s, %s, %s)",
                [sensor, temperature, whole],
            )

    def kept(self) -> list[tuple[Any, ...]]:
        return self.rows(
            "SELECT window_start, window_end, sensor_id, average, readings, unusable, computed_at "
            "FROM temperature_averages ORDER BY 1, 2, 3"
        )

    def waiting(self) -> list[int]:
        """Process ids of the database's sessions that wait for a lock."""
        query = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        with closing(self.stack.postgres.connect(self.database)) as session, session.cursor() as cursor:
            cursor.execute(query)
            return [pid for (pid,) in cursor.fetchall()]

    def office(self, role: str, **options: Any) -> Office:
        return Office(self.dsn(role), Ending(), configure("test"), **options)

    def close_sessions(self) -> None:
        while self._sessions:
            self._sessions.pop().close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A PostgreSQL that a test may restart; nothing else of a stack."""
    (port,) = free_ports(1)
    home = Home(tmp_path_factory.mktemp("server") / "home")
    own = {"pghost": LOOPBACK, "pgport": port, "twinpath_home": str(home.path), "postgres_password": ""}
    stack = Stack(home, load_settings(**own), Progress(quiet=True))
    try:
        stack.postgres.start()
        stack.postgres.wait()
        stack.postgres.set_up_roles()
        yield stack
    finally:
        stack.postgres.stop()
        home.remove()


@pytest.fixture(scope="session")
def one_database(server: Stack) -> Temperatures:
    return Temperatures(server)


@pytest.fixture
def room(one_database: Temperatures) -> Iterator[Temperatures]:
    one_database.run("TRUNCATE temperature_readings, temperature_averages RESTART IDENTITY")
    yield one_database
    one_database.close_sessions()
