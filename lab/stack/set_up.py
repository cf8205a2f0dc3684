"""Make what the standard names need on a PostgreSQL, a Kafka and a Connect that run already; safe to run again.

    python -m lab.stack.set_up

1 roles and their passwords; 2 databases, tables, publication; 3 topic; 4 which source feeds it; 5 connector and slot.
Addresses come from the settings, passwords from `secrets/passwords.json` in TWINPATH_HOME, the superuser's among them.
The container form runs it once, before agents and jobs; `twinpath up` does the same on the stack that it starts.
"""

import sys
from contextlib import closing

import psycopg2

from lab.console import Progress
from lab.stack.credentials import AIRFLOW, Credentials
from lab.stack.home import Home, standard_home
from lab.stack.postgres import Postgres
from lab.stack.scope import Scope, create_owned_database
from twinpath.errors import ServiceFault, TwinpathError, first_line
from twinpath.settings import Settings, load_settings


def set_up(home: Home, settings: Settings, progress: Progress) -> None:
    """Everything in the order of the module's docstring; ServiceFault names what does not answer."""
    credentials = Credentials(home, settings)
    postgres = Postgres(home, settings, credentials)
    scope = Scope(home, settings, credentials)
    try:
        with progress.step("roles, databases of temperatures and Airflow") as step:
            postgres.set_up_roles()
            scope.create_temperatures(postgres.connect)
            with closing(postgres.connect("postgres")) as session:
                create_owned_database(session, settings.airflow_database, AIRFLOW)
            step.done = "there"
        with progress.step("connector") as step:
            scope.create_line(postgres.connect)
            step.done = "RUNNING"
    except psycopg2.Error as error:
        where = f"{settings.pghost}:{settings.pgport}"
        raise ServiceFault(f"PostgreSQL at {where}: {first_line(error)}") from None


def main() -> int:
    """Set up; the exit status is that of the error."""
    try:
        settings = load_settings(run_id="")
        set_up(standard_home(settings), settings, Progress())
    except TwinpathError as error:
        sys.stderr.write(f"set-up stopped: {type(error).__name__}: {error}\n")
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
