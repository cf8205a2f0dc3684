"""A second PostgreSQL for a bench, as the alert store: what the source's server pays is then the source's alone."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

from pydantic import SecretStr

from lab.stack import process
from lab.stack.home import Home, private_home
from lab.stack.scope import create_alert_store, create_database
from lab.stack.stack import Stack
from twinpath.settings import Settings


class Second:
    """Another server of ours, PostgreSQL only."""

    def __init__(self, stack: Stack) -> None:
        (port,) = process.free_ports(1)
        self.home: Home = private_home()
        self._stack = Stack(self.home, stack.settings.model_copy(update={"pgport": port}), stack.progress)

    def start(self) -> None:
        """Start it, with the roles of every stack."""
        postgres = self._stack.postgres
        with self._stack.progress.step("second postgres") as step:
            postgres.start()
            postgres.wait()
            postgres.set_up_roles()
            step.detail = f"port {self._stack.settings.pgport}"

    def hold(self, settings: Settings, name: str) -> Settings:
        """An empty alert store in a database of this name, and `settings` that lead agents and jobs to it."""
        postgres = self._stack.postgres
        with closing(postgres.connect("postgres")) as session:
            create_database(session, name)
        with closing(postgres.connect(name)) as session:
            create_alert_store(session)
        return settings.model_copy(update={"alerts_dsn": SecretStr(self.dsn(name, "twinpath_alerts"))})

    def dsn(self, database: str, role: str) -> str:
        """A DSN on this server."""
        return self._stack.credentials.dsn(role, database)

    def remove(self) -> None:
        """Stop it and delete what it kept."""
        self._stack.postgres.stop()
        self.home.remove()


@contextmanager
def second_server(stack: Stack) -> Iterator[Second]:
    """A second server for the block."""
    second = Second(stack)
    try:
        second.start()
        yield second
    finally:
        second.remove()
