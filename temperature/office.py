"""The database of the temperatures: one session for each transaction, and patience while it is away.

Beats are minutes apart, so no session is kept in between: a database that was restarted meanwhile is not noticed.
"""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any, TypeVar

import psycopg2
import tenacity
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor
from psycopg2.extensions import make_dsn
from pydantic import SecretStr

from temperature.program import Ending
from twinpath.dsn import checked
from twinpath.errors import ConfigurationError, ServiceFault, TemperaturesUnavailable, first_line
from twinpath.settings import Settings

CONNECT_TIMEOUT_S = 5
STATEMENT_TIMEOUT_MS = 10_000
PATIENCE_S = 300.0  # longer than a restart takes, shorter than an outage that somebody must hear of
LONGEST_WAIT_S = 5.0  # between two attempts
LACKS = ("password authentication failed", "no password supplied", "does not exist", "no pg_hba.conf entry")
EXPORT = '( eval "$(twinpath env --export)"; ... )'
T = TypeVar("T")


class Office:
    """Runs actions on the database, each in one transaction, until they succeed."""

    def __init__(self, dsn: str, ending: Ending, logger: Any, patience_s: float = PATIENCE_S) -> None:
        self._dsn = dsn
        self._logger = logger
        self._patience_s = patience_s
        enough = tenacity.stop_after_delay(patience_s)
        self._retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(TemperaturesUnavailable),
            wait=tenacity.wait_exponential(multiplier=0.1, max=LONGEST_WAIT_S),
            stop=lambda state: ending.asked or enough(state),
            sleep=ending.sleep,
            before_sleep=self._note_failure,
            reraise=True,
        )

    def do(self, action: Callable[[Cursor], T]) -> T:
        """Run an action that can be repeated; TemperaturesUnavailable when patience or the program ends."""

        def attempt() -> T:
            with self.transaction() as cursor:
                return action(cursor)

        result = self._retrying(attempt)
        if self._retrying.statistics.get("attempt_number", 1) > 1:
            self._logger.info("back")
        return result

    @contextmanager
    def transaction(self) -> Iterator[Cursor]:
        """One transaction in a session of its own; foreign errors are mapped."""
        try:
            with closing(connect(self._dsn)) as session, session, session.cursor() as cursor:
                yield cursor
        except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
            raise TemperaturesUnavailable(
                f"database of the temperatures: {first_line(error)}. If it does not run: twinpath up"
            ) from None
        except psycopg2.errors.UndefinedTable as error:
            raise ServiceFault(f"database of the temperatures: {first_line(error)}. Run: twinpath up") from None
        except psycopg2.errors.InsufficientPrivilege as error:
            raise ServiceFault(
                f"database of the temperatures: {first_line(error)}. The producer wants the role twinpath_writer, "
                f"the consumer twinpath_averages: TEMPERATURE_DSN and AVERAGES_DSN, which {EXPORT} sets"
            ) from None
        except psycopg2.Error as error:
            raise ServiceFault(f"database of the temperatures: {first_line(error)} ({error.pgcode})") from None

    def _note_failure(self, state: tenacity.RetryCallState) -> None:
        if state.attempt_number == 1:
            problem = state.outcome.exception() if state.outcome else None
            self._logger.warning("trying again", problem=str(problem), for_s=self._patience_s)


def connect(dsn: str) -> Connection:
    """A session in UTC; ConfigurationError for what trying again cannot mend."""
    try:
        return psycopg2.connect(
            checked("TEMPERATURE_DSN or AVERAGES_DSN", dsn),
            connect_timeout=CONNECT_TIMEOUT_S,
            keepalives_idle=5,
            keepalives_interval=2,
            keepalives_count=3,
            tcp_user_timeout=STATEMENT_TIMEOUT_MS,
            application_name="twinpath-temperature",
            options=f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c timezone=UTC",
        )
    except psycopg2.OperationalError as error:
        if any(words in str(error) for words in LACKS):
            raise ConfigurationError(
                f"database of the temperatures: {first_line(error)}. With the stack of `twinpath up`: {EXPORT}; "
                "with a server of your own: TEMPERATURE_DSN and AVERAGES_DSN, or PGHOST, PGPORT, PGUSER, PGPASSWORD"
            ) from None
        raise


def dsn_of(settings: Settings, given: SecretStr) -> str:
    """The given DSN; else host, port and database of the settings, and libpq's own user and password."""
    return given.get_secret_value() or make_dsn(
        host=settings.pghost, port=settings.pgport, dbname=settings.temperature_database
    )
