"""`twinpath env`: where passwords and DSNs are, and on request the DSNs themselves for a shell."""

import shlex
import sys

from lab.stack import airflow_config
from lab.stack.credentials import FILE, ROLES, SUPERUSER
from lab.stack.stack import Stack
from twinpath.settings import Settings


def dsns(settings: Settings) -> dict[str, tuple[str, str]]:
    """The DSNs that `--export` prints, by name: role and database."""
    found = {f"{role.removeprefix('twinpath_').upper()}_DSN": (role, settings.source_database) for role in ROLES}
    return found | {
        "ALERTS_DSN": ("twinpath_alerts", settings.alerts_database),
        "READER_DSN": ("twinpath_reader", settings.alerts_database),
        "TEMPERATURE_DSN": ("twinpath_writer", settings.temperature_database),
        "AVERAGES_DSN": ("twinpath_averages", settings.temperature_database),
        "SOURCE_DSN": ("twinpath_reader", settings.source_database),
        "SUPERUSER_DSN": (SUPERUSER, settings.source_database),
    }


def show(stack: Stack, *, export: bool) -> None:
    """Print addresses and the password file, or `export` lines with the passwords in them."""
    settings, credentials = stack.settings, stack.credentials
    known = dsns(settings)
    if export:
        for name, (role, database) in known.items():
            dsn = credentials.alerts_dsn(settings) if name == "ALERTS_DSN" else credentials.dsn(role, database)
            sys.stdout.write(f"export {name}={shlex.quote(dsn)}\n")
        values = {
            "PGHOST": settings.pghost,
            "PGPORT": str(settings.pgport),
            "PGDATABASE": settings.source_database,
            "PGUSER": "twinpath_writer",
            "PGPASSWORD": credentials.password("twinpath_writer"),
            "KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
            "CONNECT_URL": settings.connect_url,
        }
        if stack.airflow.known():
            values["AIRFLOW_HOME"] = str(airflow_config.folder(stack.home))
        for name, value in values.items():
            sys.stdout.write(f"export {name}={shlex.quote(value)}\n")
        return
    sys.stdout.write(f"passwords: {stack.home.secrets / FILE} (readable by its owner only)\n")
    sys.stdout.write(f"logs:      {stack.home.logs}\n")
    sys.stdout.write(f"Kafka:     {settings.kafka_bootstrap_servers}, topic {settings.topic}\n")
    sys.stdout.write(f"Connect:   {settings.connect_url}\n")
    if stack.airflow.known():
        where = stack.home.secrets / airflow_config.ADMIN_FILE
        sys.stdout.write(
            f"Airflow:   {airflow_config.url(settings)}, user {airflow_config.ADMIN}, password in {where}\n"
        )
    for name, (role, database) in known.items():
        host = f"{settings.pghost}:{settings.pgport}"
        sys.stdout.write(f"{name + ':':<16} role {role} on {host}, database {database}\n")
    sys.stdout.write('for a subshell, passwords included: ( eval "$(twinpath env --export)"; your command )\n')
