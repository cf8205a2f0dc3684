"""One session on a PostgreSQL, opened when first used and again after each failure; errors mapped."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

from twinpath.dsn import checked
from twinpath.errors import AlertStoreUnavailable, ConfigurationError, ServiceFault, first_line

STATEMENT_TIMEOUT_MS = 10_000
CONNECT_TIMEOUT_S = 5


class StoreSession:
    """A session on the alert store."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection: Connection | None = None

    def close(self) -> None:
        """End the session."""
        if self._connection is not None:
            try:
                self._connection.close()
            finally:
                self._connection = None

    @contextmanager
    def transaction(self) -> Iterator[Cursor]:
        """One transaction; a session that failed is dropped, so that the next call opens a new one."""
        try:
            if self._connection is None:
                self._connection = connect(self._dsn)
            with self._connection, self._connection.cursor() as cursor:
                yield cursor
        except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
            self.close()
            raise AlertStoreUnavailable(f"alert store: {first_line(error)}") from None
        except psycopg2.errors.UndefinedTable as error:
            raise ServiceFault(f"alert store: {first_line(error)}. Run: twinpath up") from None
        except psycopg2.Error as error:
            self.close()
            raise ServiceFault(f"alert store: {first_line(error)} ({error.pgcode})") from None


def connect(dsn: str) -> Connection:
    """Open a session; ConfigurationError for what trying again cannot mend."""
    if not dsn.strip():
        raise ConfigurationError(
            "ALERTS_DSN is empty, wanted the DSN of the alert store. `twinpath env --export` prints one"
        )
    try:
        return psycopg2.connect(
            checked("ALERTS_DSN", dsn),
            connect_timeout=CONNECT_TIMEOUT_S,
            keepalives_idle=5,
            keepalives_interval=2,
            keepalives_count=3,
            tcp_user_timeout=STATEMENT_TIMEOUT_MS,  # a cut link is noticed while data is unacknowledged, too
            application_name="twinpath",
            options=f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c timezone=UTC "
            f"-c idle_in_transaction_session_timeout={STATEMENT_TIMEOUT_MS}",  # a process asleep keeps no row locked
        )
    except psycopg2.OperationalError as error:
        final = ("password authentication failed", "does not exist", "no password supplied", "permission denied for")
        if any(words in str(error) for words in final):
            raise ConfigurationError(f"ALERTS_DSN: {first_line(error)}") from None
        raise
