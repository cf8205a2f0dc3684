"""Bad inputs that need a PostgreSQL or a machine that lacks something: the rest of what unit/test_bad_settings maps.

The programs that are to fail run beside one another: what they wait for is patience, not work.
"""

import http.server
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from lab.source_facts import Wanted, gather
from lab.stack import process
from lab.stack.process import free_ports
from lab.stack.scope import create_database, drop_database
from lab.stack.stack import Stack
from twinpath.settings import ROOT, Settings, run_settings

pytestmark = pytest.mark.integration
PATIENCE_S = 60


class Doomed:
    """A program that is to end by itself: its exit status and what it said."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._child = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | environment, cwd=ROOT
        )

    def ended(self) -> tuple[int, str]:
        said, _ = self._child.communicate(timeout=PATIENCE_S)
        return self._child.returncode, said


def agent(settings: Settings, dsn: str) -> Doomed:
    environment = settings.environment() | {"ALERTS_DSN": dsn, "METRICS_PORT": "0"}
    return Doomed([sys.executable, "-m", "streaming.agent", "--rule", "spending"], environment)


@pytest.fixture(scope="module")
def web() -> Iterator[int]:
    """A port that speaks HTTP and nothing else."""
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def doomed(server: Stack, web: int) -> dict[str, Doomed]:
    """Agents with a store that refuses them, and agents whose broker is none."""
    settings = run_settings(server.settings, "bad")
    server.scope(settings).create_databases(server.postgres.connect)
    good = server.credentials.dsn("twinpath_alerts", settings.alerts_database)
    password = server.credentials.password("twinpath_alerts")
    (nobody,) = free_ports(1)

    def kafka(port: int, client: str = "confluent") -> Settings:
        return settings.model_copy(update={"kafka_bootstrap_servers": f"127.0.0.1:{port}", "kafka_client": client})

    return {
        "wrong password": agent(settings, good.replace(password, "hunter2")),
        "no such role": agent(settings, good.replace("twinpath_alerts", "hunter2")),
        "no such database": agent(settings, good.replace(settings.alerts_database, "nowhere")),
        "no DSN": agent(settings, "postgresql://role:hunter2:x@db:1:2/alerts"),
        "nobody answers": agent(kafka(nobody), good),
        "nobody answers kafka-python": agent(kafka(nobody, "kafka-python"), good),
        "HTTP answers": agent(kafka(web), good),
        "HTTP answers kafka-python": agent(kafka(web, "kafka-python"), good),
    }


def test_postgres_never_runs_as_root(server: Stack, doomed: dict[str, Doomed]) -> None:
    assert process.running(server.home, "postgres").uids().real != 0


def test_sql_in_a_name_stays_a_name(server: Stack, doomed: dict[str, Doomed]) -> None:
    name = 'x"; DROP TABLE transactions;--'
    database = run_settings(server.settings, "bad").source_database
    facts = gather(server.credentials.dsn("twinpath_reader", database), Wanted(table=name, publication=name, role=name))
    assert (facts.table, facts.publication, facts.role) == (None, None, None)
    assert gather(server.credentials.dsn("twinpath_reader", database), Wanted()).table is not None
    with closing(server.postgres.connect("postgres")) as session, session.cursor() as cursor:
        create_database(session, name)
        cursor.execute("SELECT count(*) FROM pg_database WHERE datname = %s", [name])
        assert cursor.fetchone() == (1,)
        drop_database(session, name)


def test_too_few_file_handles_are_named(tmp_path: Path, doomed: dict[str, Doomed]) -> None:
    (port,) = free_ports(1)
    environment = {"TWINPATH_HOME": str(tmp_path / "home"), "PGPORT": str(port)}
    up = f"ulimit -n 30; exec {sys.executable} -m lab.cli up"
    status, said = Doomed(["bash", "-c", up], environment).ended()
    assert status in (3, 4), said
    assert "insufficient file descriptors" in said or "Too many open files" in said
    assert "Traceback" not in said
    Doomed([sys.executable, "-m", "lab.cli", "down", "--purge"], environment).ended()
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("options", "words"), [("size=4k", "No space left on device"), ("ro", "Read-only file system")]
)
def test_a_full_and_a_read_only_disk_are_named(tmp_path: Path, options: str, words: str) -> None:
    mount = f"mount -t tmpfs -o {options} none {tmp_path}"
    apart = ["unshare", "--mount", "bash", "-c"]
    if shutil.which("unshare") is None or subprocess.run([*apart, mount], capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount")
    command = [*apart, f"{mount} && exec {sys.executable} -m lab.cli status"]
    status, said = Doomed(command, {"TWINPATH_HOME": str(tmp_path / "home")}).ended()
    assert status == 3, said
    assert f"twinpath: {tmp_path}/home" in said
    assert words in said
    assert "Traceback" not in said


def test_what_no_waiting_mends_ends_a_program_at_once(doomed: dict[str, Doomed]) -> None:
    wanted = {
        "wrong password": "ALERTS_DSN: .*password authentication failed",
        "no such role": "ALERTS_DSN: ",
        "no such database": 'ALERTS_DSN: .*database "nowhere" does not exist',
        "no DSN": "ALERTS_DSN is ",
    }
    for name, words in wanted.items():
        status, said = doomed[name].ended()
        assert (name, status) == (name, 2), said
        assert f"agent spending stopped: ConfigurationError: {words}".partition(".*")[0] in said
        assert words.rpartition(".*")[2] in said
        assert "Traceback" not in said
        assert name == "no such role" or "hunter2" not in said


def test_a_broker_that_is_none_is_given_up_with_its_address(doomed: dict[str, Doomed]) -> None:
    for name in [name for name in doomed if "answers" in name]:
        status, said = doomed[name].ended()
        assert (name, status) == (name, 4), said
        assert "agent spending stopped: ChangeLogUnavailable: " in said, name
        assert "127.0.0.1:" in said.rpartition("ChangeLogUnavailable")[2], name
        assert "Traceback" not in said, name


def test_a_killed_server_starts_again_over_its_stale_lock(server: Stack) -> None:
    found = process.running(server.home, "postgres")
    for one in [*found.children(recursive=True), found]:
        try:
            one.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs([found], timeout=10)
    assert (server.postgres.data / "postmaster.pid").exists()
    server.postgres.stop()
    server.postgres.start()
    server.postgres.wait()
    with closing(server.postgres.connect("postgres")) as session, session.cursor() as cursor:
        cursor.execute("SELECT 1")
