"""Planted defects on real services: what tests/unit/test_planted_defects.py catches in memory is caught here, too.

Two are planted by the environment, in the test's own alert store, without a line in the product: a trigger
that keeps the epoch as it was (zombie writes are no longer refused), and one that lets an owner begin at
the log's end (`latest`) instead of the stored offset. The third is one of the Spark stream: a micro-batch that
runs again counts as a new one.
"""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from spark_jobs import stream_store
from streaming.simulation import scheduler, world
from streaming.simulation.log import Gate
from streaming.simulation.store import Kept, Tables
from tests.conftest import Line
from tests.integration import micro_batches
from tests.integration.publishing import publish, usual_payments
from tests.planted import Planted, Row
from twinpath.alert_rows import Checkpoint, DeadLetter, PartitionKey, Written, read_alerts
from twinpath.alert_store import AlertStore
from twinpath.detection.model import Alert
from twinpath.detection.rules import RULES
from twinpath.errors import AlertStoreUnavailable

pytestmark = pytest.mark.integration
SEEDS = range(20)
TABLES = "alert_log, dead_letters, sources, checkpoints, state_buckets, counters"
EPOCHS_STAND_STILL = """
CREATE FUNCTION planted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.epoch := OLD.epoch; RETURN NEW; END';
CREATE TRIGGER planted BEFORE UPDATE ON checkpoints FOR EACH ROW EXECUTE FUNCTION planted();
"""
OWNERS_BEGIN_AT_9 = """
CREATE FUNCTION planted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.next_offset := 9; RETURN NEW; END';
CREATE TRIGGER planted BEFORE UPDATE ON checkpoints FOR EACH ROW
WHEN (NEW.epoch > OLD.epoch AND OLD.partition = 0) EXECUTE FUNCTION planted();
"""


class PostgresTables(Tables):
    """The tables of a line's alert store, emptied at first; a simulation reads them as it reads those in memory."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._session = line.stack.postgres.connect(line.settings.alerts_database)
        self.sessions: list[AlertStore] = []
        with self._session, self._session.cursor() as cursor:
            cursor.execute(f"TRUNCATE {TABLES}")

    def session(self) -> AlertStore:
        self.sessions.append(AlertStore(self._line.stack.credentials.alerts_dsn(self._line.settings), "agent"))
        return self.sessions[-1]

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with self._session, self._session.cursor() as cursor:
            cursor.execute(query, parameters)
            return cursor.fetchall()

    def alert_rows(self) -> list[Alert]:
        with self._session, self._session.cursor() as cursor:
            return [one for rule in world.RULES for one in read_alerts(cursor, "agent", rule.name, rule.version)]

    @property
    def letters(self) -> dict[tuple[Any, ...], DeadLetter]:  # type: ignore[override]
        found = self.rows("SELECT path, rule, rule_version, topic_id, partition, kafka_offset FROM dead_letters")
        return {row: DeadLetter(row[4], row[5], "", None, None) for row in found}

    def raise_epoch(self, partition: int) -> None:
        with self._session, self._session.cursor() as cursor:
            cursor.execute("UPDATE checkpoints SET epoch = epoch + 1 WHERE partition = %s", [partition])

    def kept(self, key: PartitionKey) -> Kept:
        """A checkpoint as it is stored."""
        ours = [key.rule_version, key.partition]
        ((*row,),) = self.rows(
            "SELECT epoch, partitions, buckets, next_offset FROM checkpoints "
            "WHERE rule_version = %s AND partition = %s",
            *ours,
        )
        parts: dict[int, dict[int, bytes]] = {}
        for bucket, part, state in self.rows(
            "SELECT bucket, part, state FROM state_buckets WHERE rule_version = %s AND partition = %s", *ours
        ):
            parts.setdefault(bucket, {})[part] = bytes(state)
        counters = self.rows("SELECT name, value FROM counters WHERE rule_version = %s AND partition = %s", *ours)
        return Kept(*row, parts, dict(counters))

    def close(self) -> None:
        for session in self.sessions:
            session.close()
        self._session.close()


class PostgresStore:
    """A session on them that passes the simulation's gates before and after each call."""

    def __init__(self, tables: PostgresTables, path: str, gate: Gate) -> None:
        self._tables = tables
        self._gate = gate
        self._store = tables.session()

    def _call(self, name: str, *arguments: Any) -> Any:
        if self._gate(f"store.{name}"):
            raise AlertStoreUnavailable("made to fail")
        found = getattr(self._store, name)(*arguments)
        if name == "save":
            self._tables.after_save(arguments[0], self._tables.kept(arguments[0]))
        if self._gate(f"store.{name}, committed"):
            raise AlertStoreUnavailable("made to die in COMMIT")
        return found

    def write_all(self, *arguments: Any) -> list[Written]:
        return self._call("write_all", *arguments)

    def incarnations(self, *arguments: Any) -> Any:
        return self._call("incarnations", *arguments)

    def take(self, *arguments: Any) -> Checkpoint:
        return self._call("take", *arguments)

    def save(self, *arguments: Any) -> None:
        self._call("save", *arguments)

    def close(self) -> None:
        self._gate("store.close")
        self._store.close()


def failed_checks(line: Line, seed: int) -> set[str]:
    """Names of the checks that a seed of the simulation fails on the real alert store."""
    with pytest.MonkeyPatch.context() as patched, closing(PostgresTables(line)) as tables:
        patched.setattr(world, "Tables", lambda: tables)
        patched.setattr(world, "MemoryStore", PostgresStore)
        return {said.partition(":")[0] for said in scheduler.simulate(seed).broken}


def plant(line: Line, statements: str) -> None:
    with closing(line.stack.postgres.connect(line.settings.alerts_database)) as session, session:
        session.cursor().execute(statements)


ZOMBIES = "the epoch of a checkpoint is not compared"
AT_THE_END = "an owner begins at the log's end"
AGAIN = "a micro-batch that runs again counts as a new one"


def test_zombie_writes_are_caught_on_the_real_store_and_without_them_agents_hold(
    store_line: Line, planted_bugs: Planted
) -> None:
    assert [seed for seed in SEEDS if failed_checks(store_line, seed)] == []
    plant(store_line, EPOCHS_STAND_STILL)
    check = "checkpoints only go on"
    failed = [check in failed_checks(store_line, seed) for seed in SEEDS]
    assert planted_bugs.note(Row("zombie write", ZOMBIES, "simulation on PostgreSQL", check, failed)).after


def test_a_micro_batch_whose_number_is_ignored_is_counted_twice_and_otherwise_once(
    store_line: Line, planted_bugs: Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [seed for seed in SEEDS if micro_batches.failed_checks(store_line, seed, 2 + seed)] == []
    monkeypatch.setattr(stream_store, "_parted", lambda alerts, marks: ([], [one.stamped for one in alerts]))
    failed = [micro_batches.COUNTS in micro_batches.failed_checks(store_line, seed, 100 + seed) for seed in SEEDS]
    assert planted_bugs.note(Row("batchId ignored", AGAIN, "micro-batches", micro_batches.COUNTS, failed)).after


def restart_and_judge(line: Line, until: int) -> int:
    """Payments judged in all, once an agent begun anew has checkpointed payment `until`, published after its start."""
    line.agents.start("spending")
    line.agents.wait("spending")
    publish(line.settings, usual_payments(7, until, ["10.00"]))
    line.wait_until_judged(RULES["spending"])
    line.agents.stop("spending")
    assert line.rows("SELECT sum(next_offset)::int FROM checkpoints") == [(until,)]
    return line.rows("SELECT sum(value)::int FROM counters WHERE name = 'judged'")[0][0]


@pytest.fixture
def published(topic_line: Line) -> Iterator[Line]:
    publish(topic_line.settings, usual_payments(7, 1, ["10.00"] * 3))
    yield topic_line


def test_an_agent_that_begins_at_the_end_is_caught_and_one_that_does_not_judges_everything(
    published: Line, planted_bugs: Planted
) -> None:
    assert restart_and_judge(published, 4) == 4
    publish(published.settings, usual_payments(7, 5, ["10.00"] * 2))
    assert restart_and_judge(published, 7) == 7
    publish(published.settings, usual_payments(7, 8, ["10.00"] * 2))
    plant(published, OWNERS_BEGIN_AT_9)
    judged = restart_and_judge(published, 10)
    assert judged == 8, "8 and 9 were never judged, and this check sees it"
    check = "every committed row is judged"
    planted_bugs.note(Row("`latest`", AT_THE_END, "live agent", check, [judged < 10]))
