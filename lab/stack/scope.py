"""What one set of names owns on a stack: databases, publication, slot, topic, connector, alert store.

The standard names are made by `twinpath up`; a measured run makes its own, ending in `_<run id>`, and
removes them afterwards.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import closing

import psycopg2
from kafka.errors import KafkaError
from psycopg2 import sql
from psycopg2.extensions import connection as Connection
from psycopg2.extras import Json

from lab.stack import connect, kafka, slot_gap
from lab.stack.credentials import Credentials
from lab.stack.home import Home
from lab.stack.postgres import run_file
from twinpath.errors import RESYNC, ForeignCheckpoint, ServiceFault, TwinpathError, first_line
from twinpath.settings import Settings

TOPIC_CONFIG = {
    "message.timestamp.type": "LogAppendTime",  # the record's stamp is then the hop into the broker
    "retention.ms": "-1",
    "max.message.bytes": "10485760",
}
Open = Callable[[str], Connection]
"""Opens an autocommit session on a database, with the right to create what a scope needs."""


class Scope:
    """Create, check and remove what belongs to one set of names."""

    def __init__(self, home: Home, settings: Settings, credentials: Credentials) -> None:
        self._home = home
        self.settings = settings
        self._credentials = credentials

    def open_as_lab(self, database: str) -> Connection:
        """A session of the lab's role, autocommit."""
        session = psycopg2.connect(self._credentials.dsn("twinpath_lab", database))
        session.autocommit = True
        return session

    def create_databases(self, opened: Open) -> None:
        """The source database with its table and publication, and the alert store; idempotent."""
        settings = self.settings
        for name in (settings.source_database, settings.alerts_database):
            with closing(opened("postgres")) as session:
                create_database(session, name)
        with closing(opened(settings.source_database)) as session:
            with session.cursor() as cursor:
                cursor.execute("SELECT set_config('twinpath.publication', %s, false)", [settings.publication])
            run_file(session, "020_transactions.sql")
        with closing(opened(settings.alerts_database)) as session:
            create_alert_store(session)

    def create_temperatures(self, opened: Open) -> None:
        """The database of the temperatures, with its two tables; idempotent."""
        with closing(opened("postgres")) as session:
            create_database(session, self.settings.temperature_database)
        with closing(opened(self.settings.temperature_database)) as session:
            run_file(session, "030_temperature_readings.sql")
            run_file(session, "031_temperature_averages.sql")

    def create_line(self, opened: Open) -> None:
        """Databases, topic, source and connector: returns when changes can flow; idempotent."""
        self.create_databases(opened)
        self.create_topic()
        self.register_source(opened)
        self.start_connector()

    def create_topic(self) -> None:
        """The topic of the changes, so that agents have something to wait on before the first row."""
        settings = self.settings
        kafka.create_topic(settings, settings.topic, settings.topic_partitions, TOPIC_CONFIG)

    def register_source(self, opened: Open) -> None:
        """Note which PostgreSQL and slot feed the topic; another server behind a kept topic is refused."""
        topic, slot = self.settings.topic, self.settings.slot
        topic_id, system = self.topic_id(), self.system_identifier(opened)
        with closing(opened(self.settings.alerts_database)) as session, session.cursor() as cursor:
            cursor.execute(
                "INSERT INTO sources (topic, topic_id, incarnation, system_identifier, slot) "
                "VALUES (%s, %s, 1, %s, %s) ON CONFLICT DO NOTHING",
                [topic, topic_id, system, slot],
            )
            cursor.execute(  # an agent that came first knew the topic only
                "UPDATE sources SET system_identifier = %s, slot = %s "
                "WHERE topic = %s AND topic_id = %s AND system_identifier IS NULL",
                [system, slot, topic, topic_id],
            )
        known = self.known_source(opened)
        if known != (topic_id, system, slot):
            raise ForeignCheckpoint(
                f"the alert store knows topic {topic} as (topic id, system, slot) = {known}, found "
                f"{(topic_id, system, slot)}: positions would not compare. {RESYNC}"
            )

    def known_source(self, opened: Open) -> tuple[str, str, str] | None:
        """(topic id, system, slot) of the topic's last source, as the alert store knows it."""
        with closing(opened(self.settings.alerts_database)) as session, session.cursor() as cursor:
            cursor.execute(
                "SELECT topic_id, system_identifier, slot FROM sources WHERE topic = %s "
                "ORDER BY incarnation DESC LIMIT 1",
                [self.settings.topic],
            )
            found: tuple[str, str, str] | None = cursor.fetchone()
        return found

    def renew_source(self, opened: Open, first_offsets: Mapping[int, int]) -> int:
        """Note a new source behind the topic, whose records begin at these offsets; returns its incarnation."""
        names = [self.settings.topic, self.topic_id(), self.system_identifier(opened), self.settings.slot]
        with closing(opened(self.settings.alerts_database)) as session, session.cursor() as cursor:
            cursor.execute(
                "INSERT INTO sources (topic, topic_id, incarnation, system_identifier, slot, first_offsets) "
                "SELECT %s, %s, coalesce(max(incarnation), 0) + 1, %s, %s, %s FROM sources WHERE topic = %s "
                "RETURNING incarnation",
                [*names, Json({str(number): offset for number, offset in first_offsets.items()}), names[0]],
            )
            (raised,) = cursor.fetchone() or (0,)
        return int(raised)

    def system_identifier(self, opened: Open) -> str:
        """PostgreSQL's own id of this server's data."""
        with closing(opened("postgres")) as session, session.cursor() as cursor:
            cursor.execute("SELECT system_identifier::text FROM pg_control_system()")
            (system,) = cursor.fetchone() or ("",)
        return str(system)

    def topic_id(self) -> str:
        """Kafka's id of the topic."""
        return kafka.topic_id(self.settings, self.settings.topic)

    def start_connector(self, timeout_s: float = 60.0) -> None:
        """Put the connector, wake one that was there, and wait for each of its tasks and for its slot.

        `timeout_s` is for its first snapshot. Raises GapError when changes that it has not read are gone.
        """
        slot_gap.refuse_own(self.settings, self._credentials.dsn("twinpath_lab", "postgres"))
        connect.put_connector(self.settings, connect.connector_config(self._home, self.settings))
        connect.wake_connector(self.settings)
        connect.wait_for_tasks(self.settings)
        self.wait_for_slot(timeout_s)
        connect.wait_for_offset(self.settings, timeout_s)

    def wait_for_slot(self, timeout_s: float = 60.0) -> None:
        """Wait until the slot is read: only then are new changes on their way. A FAILED task is named at once."""
        deadline = time.monotonic() + timeout_s
        with closing(self.open_as_lab("postgres")) as session, session.cursor() as cursor:
            while True:
                cursor.execute("SELECT active FROM pg_replication_slots WHERE slot_name = %s", [self.settings.slot])
                found = cursor.fetchone()
                if found == (True,):
                    return
                if time.monotonic() > deadline:
                    raise ServiceFault(f"slot {self.settings.slot} is not read after {timeout_s:.0f} s: {found}")
                connect.wait_for_tasks(self.settings)
                time.sleep(0.1)

    def drop(self) -> None:
        """Remove connector, slot, databases, topics and consumer groups of this scope; idempotent.

        A part that cannot be removed does not keep the others; what was left is named at the end.
        """
        settings = self.settings
        left = []
        parts: list[tuple[str, Callable[[], None]]] = [
            (f"connector {settings.connector}", lambda: connect.delete_connector(settings)),
            (f"slot {settings.slot} and databases", self._drop_in_postgres),
            (f"topics of {settings.prefix}", lambda: kafka.delete_topics(settings, settings.prefix)),
            ("consumer groups", lambda: kafka.delete_groups(settings, settings.suffix)),
        ]
        for part, remove in parts:
            try:
                remove()
            except (TwinpathError, KafkaError, psycopg2.Error) as error:
                left.append(f"{part} ({first_line(error)})")
        if left:
            raise ServiceFault(f"could not be removed: {'; '.join(left)}")

    def _drop_in_postgres(self) -> None:
        with closing(self.open_as_lab("postgres")) as session:
            drop_slot(session, self.settings.slot)
        self.drop_databases()

    def drop_databases(self) -> None:
        """Remove the databases of this scope alone: all that a run without a change log has made; idempotent."""
        settings = self.settings
        with closing(self.open_as_lab("postgres")) as session:
            for name in (settings.source_database, settings.alerts_database, settings.temperature_database):
                drop_database(session, name)


def create_database(session: Connection, name: str) -> None:
    """Create a database that is not there yet."""
    with session.cursor() as cursor:
        cursor.execute("SELECT FROM pg_database WHERE datname = %s", [name])
        if cursor.fetchone() is None:
            cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))


def create_alert_store(session: Connection) -> None:
    """The alert store of every path in a session's database; idempotent."""
    for name in ("040_alert_store.sql", "045_batch.sql", "046_stream.sql", "050_latency_view.sql"):
        run_file(session, name)


def create_owned_database(session: Connection, name: str, owner: str) -> None:
    """Create a database that one role owns and nobody else may enter."""
    create_database(session, name)
    names = (sql.Identifier(name), sql.Identifier(owner))
    with session.cursor() as cursor:
        cursor.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(*names))
        cursor.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(names[0]))


def drop_slot(session: Connection, slot: str, timeout_s: float = 30.0) -> None:
    """Drop a slot; the walsender of a connector that was just deleted may hold it for a moment."""
    deadline = time.monotonic() + timeout_s
    with session.cursor() as cursor:
        while True:
            cursor.execute("SELECT active FROM pg_replication_slots WHERE slot_name = %s", [slot])
            found = cursor.fetchone()
            if found is None:
                return
            if found == (False,):
                cursor.execute("SELECT pg_drop_replication_slot(%s)", [slot])
                return
            if time.monotonic() > deadline:
                raise ServiceFault(f"slot {slot} is still read after {timeout_s:.0f} s; nothing was dropped")
            time.sleep(0.1)


def drop_database(session: Connection, name: str) -> None:
    """Drop a database, with the sessions that the lab's role may end.

    An autovacuum worker is none of these and makes WITH (FORCE) fail; the plain form sends it away and
    waits 5 s for others to leave.
    """
    with session.cursor() as cursor:
        try:
            cursor.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        except psycopg2.errors.InsufficientPrivilege:
            cursor.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)))
