"""Bring a line back behind a gap in its log: a slot that is gone, lost or was moved on, a topic that was damaged.

What was not read is never judged. The rows that the table has now are read anew as a snapshot: they teach and raise no
alert, so that agents remember the table as it is; alerts that are stored stay. In this order:

1. readers and connector stop;
2. a topic that lost records which somebody had to read, or was made anew, is made anew; any other is kept;
3. the alert store notes a new incarnation of the source, from the end of the topic on;
4. the slot is dropped, Connect forgets its offset, the connector makes a new slot and takes its snapshot;
5. the log before the gap is held against the snapshot: what is missing is said.

A run that is interrupted is run again: until 4 is done the gap is there, and is refused by `twinpath up`.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import NamedTuple

import psycopg2
from psycopg2.extensions import connection as Connection

from lab.measure.fence import end_offsets
from lab.measure.reference import topic_changes
from lab.stack import connect, kafka, process, slot_gap
from lab.stack.lost import Lost, difference, position, rows_of_log, rows_of_snapshot
from lab.stack.offsets import stored_offset
from lab.stack.scope import TOPIC_CONFIG, Open, drop_slot
from lab.stack.stack import Stack
from twinpath import kafka_access
from twinpath.detection.envelope import EnvelopeDecoder
from twinpath.detection.model import Change
from twinpath.detection.rules import RULES, configured
from twinpath.errors import ConfigurationError, ServiceFault
from twinpath.kafka_topic import KafkaTopic
from twinpath.rule_versions import RuleVersions
from twinpath.settings import Settings

SNAPSHOT_TIMEOUT_S = 6 * 3600.0
QUIET_S = 60.0
AGENT, STREAM = "agent", "spark_stream"


class Place(NamedTuple):
    """How far a reader has judged a partition."""

    path: str
    rule: str
    partition: int
    next_offset: int


class Damage(NamedTuple):
    """What is wrong with a line: the reasons, and whether its topic is whole for everybody who reads it."""

    reasons: list[str]
    topic_is_whole: bool


class Resync:
    """Brings the line of one set of names back; the services but for Connect have to run."""

    def __init__(self, stack: Stack, settings: Settings | None = None) -> None:
        self._stack = stack
        self._settings = settings or stack.settings
        self._scope = stack.scope(self._settings)
        self._topic = KafkaTopic(
            self._settings.kafka_bootstrap_servers, self._settings.topic, kafka_access.librdkafka(self._settings)
        )
        self._decoder = EnvelopeDecoder(self._settings.envelope())

    def run(self, *, anyway: bool = False) -> Lost | None:
        """The five steps. Nothing is changed, and the answer is None, when there is no gap, unless `anyway`.

        The readers are stopped afterwards; whoever started them starts them again.
        """
        damage = self.damage()
        if not damage.reasons and not anyway:
            return None
        self._stop_readers()
        self._quiet_connector()
        stored = stored_offset(self._settings)
        begins, before = self._log_before(damage)
        if not damage.topic_is_whole:
            partitions = self._settings.topic_partitions
            kafka.make_topic_anew(self._settings, self._settings.topic, partitions, TOPIC_CONFIG)
        ends = end_offsets(self._settings)
        incarnation = [self._scope.renew_source(opened, ends) for opened in self._stores()][0]
        self._read_table_anew()
        now, snapshot_lsn = rows_of_snapshot(self._changes(ends, end_offsets(self._settings)))
        found = difference(before, now)
        return Lost(
            reasons=damage.reasons or ["none was found; asked for anyway"],
            incarnation=incarnation,
            topic_made_anew=not damage.topic_is_whole,
            read_up_to=position(stored.lsn if stored else None),
            goes_on_from=position(snapshot_lsn),
            rows=len(now),
            never_judged=len(found.never_judged),
            changed=len(found.changed),
            vanished=len(found.vanished),
            standing_alerts=self._standing(found.changed | found.vanished),
            at_most=not damage.topic_is_whole or any(begins.values()),
        )

    def damage(self) -> Damage:
        """Everything that keeps the line from going on, in words; nothing is changed."""
        lacking = slot_gap.own_gap(self._settings, self._stack.credentials.dsn("twinpath_lab", "postgres"))
        reasons = [] if lacking is None else [lacking.words]
        known = self._scope.known_source(self._open)
        try:
            topic_id, partitions = self._topic.describe()
        except ConfigurationError:
            return Damage([*reasons, f"topic {self._settings.topic} is gone"], topic_is_whole=False)
        if known is not None and known[0] != topic_id:
            words = f"topic {self._settings.topic} was made anew: id {topic_id}, the alert store knows {known[0]}"
            return Damage([*reasons, words], topic_is_whole=False)
        source = (self._scope.system_identifier(self._open), self._settings.slot)
        if known is not None and known[1] is not None and known[1:] != source:
            reasons.append(f"the topic was fed by (system, slot) {known[1:]}, found {source}")
        outside = self._outside(topic_id, partitions)
        return Damage([*reasons, *outside], topic_is_whole=not outside)

    def _outside(self, topic_id: str, partitions: int) -> list[str]:
        """Readers whose next record the topic does not hold any more, or never held."""
        begins, ends = self._topic.begins(partitions), self._topic.ends(partitions)
        found = []
        for one in self._places(topic_id, partitions):
            low, high = begins[one.partition], ends[one.partition]
            if not low <= one.next_offset <= high:
                found.append(
                    f"{one.path} {one.rule} would go on at offset {one.next_offset} of partition {one.partition}, the "
                    f"topic holds {low} to {high}"
                )
        return found

    def _places(self, topic_id: str, partitions: int) -> Iterator[Place]:
        """Where each reader goes on: the agents of all rules, and the Spark stream when it was started."""
        paths = [AGENT, *([STREAM] if self._stack.spark_stream(self._settings).started() else [])]
        dsn = self._stack.credentials.alerts_dsn(self._settings)
        with closing(psycopg2.connect(dsn)) as session, session.cursor() as cursor:
            for path in paths:
                for name in RULES:
                    generation = RuleVersions(dsn, path).generation(name)
                    rule = configured(name, self._settings.rule_parameters, generation)
                    cursor.execute(
                        "SELECT partition, coalesce(next_offset, 0) FROM checkpoints "
                        "WHERE path = %s AND rule = %s AND rule_version = %s AND topic_id = %s",
                        [path, name, rule.version, topic_id],
                    )
                    known = dict(cursor.fetchall())
                    for number in range(partitions):
                        yield Place(path, name, number, known.get(number, 0))

    def _log_before(self, damage: Damage) -> tuple[dict[int, int], Mapping[int, tuple[int, int]]]:
        """Where the partitions begin, and the rows that the part of the log ends with that was judged or will be."""
        try:
            topic_id, partitions = self._topic.describe()
        except ConfigurationError:
            return {}, {}
        begins, ends = self._topic.begins(partitions), self._topic.ends(partitions)
        if not damage.topic_is_whole:  # what lies behind the readers goes with the topic
            for one in self._places(topic_id, partitions):
                ends[one.partition] = min(ends[one.partition], one.next_offset)
        return begins, rows_of_log(self._changes(begins, ends))

    def _changes(self, begins: Mapping[int, int], ends: Mapping[int, int]) -> Iterator[Change]:
        """The changes in the topic between these offsets; what cannot be read is no change."""
        return topic_changes(self._settings, ends, self._decoder, unreadable=[], begins=begins)

    def _stop_readers(self) -> None:
        for name in RULES:
            self._stack.agents(self._settings).stop_all(name)
        self._stack.spark_stream(self._settings).stop()

    def _quiet_connector(self) -> None:
        """Nothing is written to the topic from now on: a task that ended has closed its producer."""
        settings = self._settings
        if not process.running(self._stack.home, connect.NAME) or connect.connector_state(settings)[0] == "ABSENT":
            return
        connect.stop_connector(settings)
        deadline = time.monotonic() + QUIET_S
        while any(state == "RUNNING" for state, _ in connect.connector_state(settings)[1]):
            if time.monotonic() > deadline:
                raise ServiceFault(f"a task of connector {settings.connector} still runs after {QUIET_S:.0f} s")
            time.sleep(0.1)

    def _read_table_anew(self) -> None:
        """Without its slot no connector goes on by itself when Connect starts."""
        with closing(self._scope.open_as_lab("postgres")) as session:
            drop_slot(session, self._settings.slot)
        self._stack.start_services()
        connect.forget_offsets(self._settings, connect.connector_config(self._stack.home, self._settings))
        with self._stack.progress.step("snapshot of the table") as step:
            self._scope.start_connector(SNAPSHOT_TIMEOUT_S)
            step.done = "taken"

    def _stores(self) -> list[Open]:
        """Openers of the alert store that readers use, and of the one on the stack's server when that is another."""
        own = self._scope.open_as_lab
        return [self._open, own] if self._settings.alerts_dsn.get_secret_value() else [own]

    def _open(self, database: str) -> Connection:
        if database != self._settings.alerts_database or not self._settings.alerts_dsn.get_secret_value():
            return self._scope.open_as_lab(database)
        session = psycopg2.connect(self._stack.credentials.alerts_dsn(self._settings))
        session.autocommit = True
        return session

    def _standing(self, rows: set[int]) -> int:
        """Agents' alerts of the active versions that stand on these rows."""
        with closing(self._open(self._settings.alerts_database)) as session, session.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM alerts_current JOIN active_rules USING (path, rule, rule_version) "
                "WHERE path = %s AND status <> 'RETRACTED' AND tx_id = ANY(%s)",
                [AGENT, list(rows)],
            )
            (found,) = cursor.fetchone() or (0,)
        return int(found)
