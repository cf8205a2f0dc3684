"""Real services for tests: one private stack on free ports for the session, one set of names for each test."""

import secrets
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection

from lab.console import Progress
from lab.measure import fence
from lab.stack.agents import Agents
from lab.stack.scope import Scope
from lab.stack.stack import Stack, private_stack
from tests.planted import Planted
from twinpath.detection.rules import Rule
from twinpath.settings import Settings, run_settings

DEADLINE_S = 60.0
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as under `make test &`: the programs under test must hear it
    signal.signal(signal.SIGINT, signal.default_int_handler)


def wait_for(condition: Callable[[], Any], what: str, timeout_s: float = DEADLINE_S) -> Any:
    """The first true value of `condition`; fails with `what` when the deadline passes."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"waited {timeout_s:.0f} s in vain: {what}")
        time.sleep(0.05)


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    with private_stack(Progress(quiet=True)) as one:
        yield one


@pytest.fixture(scope="session")
def book() -> Iterator[Any]:
    """The table of injected breaks: rows of every module of a session, written when DOCTOR_TABLE names a file."""
    from tests.breaking import Book  # noqa: PLC0415  it uses what is above

    one = Book()
    yield one
    one.write()


@pytest.fixture(scope="session")
def planted_bugs() -> Iterator[Planted]:
    """The table of planted bugs: rows of every module of a session, written when PLANTED_TABLE names a file."""
    one = Planted()
    yield one
    one.write()


class Line:
    """One test's own database, topic, slot, groups and alert store on the shared stack."""

    def __init__(self, stack: Stack, **settings: Any) -> None:
        self.stack = stack
        self.settings: Settings = run_settings(stack.settings, secrets.token_hex(4)).model_copy(update=settings)
        self.scope: Scope = stack.scope(self.settings)
        self.agents: Agents = stack.agents(self.settings)
        self._sessions: list[Connection] = []

    def session(self, role: str = "twinpath_writer", database: str | None = None) -> Connection:
        """A session that the test's end closes."""
        session = psycopg2.connect(self.stack.credentials.dsn(role, database or self.settings.source_database))
        self._sessions.append(session)
        return session

    def rows(self, query: str, parameters: Any = None, database: str | None = None) -> list[tuple[Any, ...]]:
        """Rows of a query on the alert store (or another database), as the lab's role."""
        dsn = self.stack.credentials.dsn("twinpath_lab", database or self.settings.alerts_database)
        with closing(psycopg2.connect(dsn)) as session, session.cursor() as cursor:
            cursor.execute(query, parameters)
            return cursor.fetchall()

    def insert(self, rows: list[tuple[int, str, str]]) -> list[int]:
        """One commit of (user_id, amount, created_at) rows; returns their ids."""
        session = self.session()
        with session, session.cursor() as cursor:
            ids = []
            for row in rows:
                cursor.execute(
                    "INSERT INTO transactions (user_id, amount, card_type, merchant_id, created_at) "
                    "VALUES (%s, %s, 'visa', 1, %s) RETURNING id",
                    row,
                )
                ids.append(cursor.fetchone()[0])
        return ids

    def wait_until_in_kafka(self) -> dict[int, int]:
        """Wait until everything committed so far is in the topic; returns its end offsets."""
        source = self.stack.credentials.dsn("twinpath_lab", self.settings.source_database)
        fence.wait_for_slot(source, self.settings.slot, fence.mark(source), DEADLINE_S)
        return fence.end_offsets(self.settings)

    def wait_until_judged(self, *rules: Rule) -> dict[int, int]:
        """Wait until these agents have checkpointed everything that is in the topic."""
        ends = fence.end_offsets(self.settings)
        dsn = self.stack.credentials.dsn("twinpath_lab", self.settings.alerts_database)
        names = [(rule.name, rule.version) for rule in rules]
        fence.wait_for_checkpoints(dsn, self.scope.topic_id(), names, ends, DEADLINE_S)
        return ends

    def close(self) -> None:
        for session in self._sessions:
            session.close()
        for rule in ("spending", "velocity"):
            self.agents.stop_all(rule)
        self.scope.drop()


@pytest.fixture
def store_line(stack: Stack) -> Iterator[Line]:
    """Databases only: a source and an alert store."""
    one = Line(stack)
    try:
        one.scope.create_databases(one.scope.open_as_lab)
        yield one
    finally:
        one.close()


@pytest.fixture
def topic_line(store_line: Line) -> Line:
    """Databases and a topic that the test writes itself."""
    store_line.scope.create_topic()
    return store_line


@pytest.fixture
def line(topic_line: Line) -> Line:
    """The whole line: databases, topic and a running connector."""
    topic_line.scope.register_source(topic_line.scope.open_as_lab)
    topic_line.scope.start_connector()
    return topic_line
