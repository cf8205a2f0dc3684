"""One look at a stack: what several checks need is asked once."""

import shlex
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cached_property

import psycopg2
from psycopg2.extensions import cursor as Cursor

from lab.check_source import Verdict, judge
from lab.measure.fence import end_offsets
from lab.source_facts import SourceFacts, Wanted, gather
from lab.stack import connect
from lab.stack.stack import Stack
from twinpath.kafka_topic import KafkaTopic

CAPTURING = "twinpath_cdc"
CONNECT_TIMEOUT_S = 5


class View:
    """What is asked of PostgreSQL, Connect and Kafka during one walk; every property asks when it is first read."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.settings = stack.settings

    @cached_property
    def source(self) -> SourceFacts:
        """What the source database says of itself and of the role that captures it."""
        settings = self.settings
        wanted = Wanted(publication=settings.publication, slot=settings.slot, role=CAPTURING)
        return gather(self.stack.credentials.dsn("twinpath_lab", settings.source_database), wanted)

    @cached_property
    def verdicts(self) -> list[Verdict]:
        """The same verdicts that `twinpath check-source` gives."""
        settings = self.settings
        wanted = Wanted(publication=settings.publication, slot=settings.slot, role=CAPTURING)
        return judge(self.source, wanted)

    @cached_property
    def connector(self) -> tuple[str, list[tuple[str, str]]]:
        """State of the connector and of its tasks, each with the end of its trace."""
        return connect.connector_state(self.settings)

    @cached_property
    def topic(self) -> tuple[str, int]:
        """Id and number of partitions of the topic."""
        return KafkaTopic(self.settings.kafka_bootstrap_servers, self.settings.topic).describe()

    @cached_property
    def ends(self) -> dict[int, int]:
        """The end of each partition."""
        return end_offsets(self.settings)

    @contextmanager
    def cursor(self, dsn: str) -> Iterator[Cursor]:
        """A cursor of a session of its own that reads only."""
        with closing(psycopg2.connect(dsn, connect_timeout=CONNECT_TIMEOUT_S)) as session:
            session.set_session(readonly=True)
            with session.cursor() as cursor:
                yield cursor

    def lab_dsn(self, database: str) -> str:
        """DSN of the lab's role."""
        return self.stack.credentials.dsn("twinpath_lab", database)

    def sql(self, *statements: str) -> str:
        """A line for a shell that runs statements on the source database as its superuser."""
        psql = shlex.quote(str(self.stack.postgres.binaries() / "psql"))
        given = " ".join(f"-c {shlex.quote(statement)}" for statement in statements)
        return f'( eval "$(twinpath env --export)"; {psql} -q "$SUPERUSER_DSN" {given} )'
