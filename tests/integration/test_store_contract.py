"""The alert store in PostgreSQL keeps the contract by which the simulation's store in memory is made."""

from collections.abc import Iterator
from contextlib import closing

import psycopg2
import pytest

from tests import store_contract
from tests.conftest import Line
from twinpath.alert_rows import read_alerts
from twinpath.alert_store import AlertStore
from twinpath.detection.model import Alert
from twinpath.detection.rules import Rule

pytestmark = pytest.mark.integration


class RealBench:
    """Sessions on the store of a line."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._sessions: list[AlertStore] = []

    def session(self) -> AlertStore:
        self._sessions.append(AlertStore(self._line.stack.credentials.alerts_dsn(self._line.settings), "agent"))
        return self._sessions[-1]

    def alerts(self, rule: Rule) -> list[Alert]:
        dsn = self._line.stack.credentials.dsn("twinpath_lab", self._line.settings.alerts_database)
        with closing(psycopg2.connect(dsn)) as session, session.cursor() as cursor:
            return read_alerts(cursor, "agent", rule.name, rule.version)

    def letters(self, rule: Rule) -> list[store_contract.Letter]:
        return self._line.rows(
            "SELECT partition, kafka_offset, reason, length(record_key), length(record_value) FROM dead_letters "
            "WHERE rule_version = %s ORDER BY partition, kafka_offset",
            [rule.version],
        )

    def close(self) -> None:
        for session in self._sessions:
            session.close()


@pytest.fixture
def bench(store_line: Line) -> Iterator[RealBench]:
    with closing(RealBench(store_line)) as one:
        yield one


def test_the_store_in_postgresql_keeps_the_contract(bench: RealBench) -> None:
    store_contract.check(bench)
