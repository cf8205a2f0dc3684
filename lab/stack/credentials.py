"""Passwords: random per install, in one file that only its owner can read; and DSNs made of them."""

import json
import secrets

from psycopg2.extensions import make_dsn

from lab.stack.home import Home
from twinpath.dsn import checked
from twinpath.settings import Settings

SUPERUSER = "postgres"
ROLES = ("twinpath_writer", "twinpath_cdc", "twinpath_reader", "twinpath_alerts", "twinpath_averages", "twinpath_lab")
AIRFLOW = "twinpath_airflow"  # owns Airflow's metadata; has no right on anything else
FILE = "passwords.json"


class Credentials:
    """Passwords by role of one stack, and the DSNs that use them."""

    def __init__(self, home: Home, settings: Settings) -> None:
        self._home = home
        self._settings = settings
        path = home.secrets / FILE
        self._passwords: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
        missing = [role for role in (SUPERUSER, *ROLES, AIRFLOW) if role not in self._passwords]
        if missing:
            given = settings.postgres_password.get_secret_value()
            for role in missing:
                self._passwords[role] = secrets.token_urlsafe(24)
            if SUPERUSER in missing and given:
                self._passwords[SUPERUSER] = given
            self._save()

    def password(self, role: str) -> str:
        """The password of a role."""
        return self._passwords[role]

    def change(self, role: str, password: str) -> None:
        """Note a password that was changed in the database."""
        self._passwords[role] = password
        self._save()

    def dsn(self, role: str, database: str) -> str:
        """A libpq DSN, password included: hand it on by environment, never by argument."""
        return make_dsn(
            host=self._settings.pghost,
            port=self._settings.pgport,
            dbname=database,
            user=role,
            password=self._passwords[role],
        )

    def alerts_dsn(self, settings: Settings, role: str = "twinpath_alerts") -> str:
        """DSN of the alert store of these names: the given one, else the stack's own."""
        given = settings.alerts_dsn.get_secret_value()
        return checked("ALERTS_DSN", given) if given else self.dsn(role, settings.alerts_database)

    def _save(self) -> None:
        self._home.write_private(FILE, json.dumps(self._passwords, indent=1))
        password = self._passwords["twinpath_cdc"]
        self._home.write_private("connect/cdc.properties", f"password={password}\n")
