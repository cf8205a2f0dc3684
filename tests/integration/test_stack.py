"""The stack itself: ports, readiness, what it leaves behind."""

import json
import os
import socket
import stat
import threading

import httpx
import psutil
import pytest

from lab.console import Progress
from lab.stack import connect, process
from lab.stack.home import STATE, Home
from lab.stack.stack import Stack
from lab.stack.sweep import sweep_private
from tests.conftest import Line
from twinpath.errors import ConfigurationError, EnvironmentFault
from twinpath.settings import load_settings

pytestmark = pytest.mark.integration


def test_starting_again_finds_everything_running(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    before = {name: process.running(stack.home, name).pid for name in ("postgres", "kafka", "connect")}
    Stack(stack.home, stack.settings, Progress()).start_services()
    said = capsys.readouterr().err
    for name, pid in before.items():
        assert f"{name}: already running (pid {pid})" in said
        assert process.running(stack.home, name).pid == pid


def test_a_taken_port_names_its_owner_and_the_setting() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(EnvironmentFault, match=f"port {port}, .*process {os.getpid()} .*PGPORT"):
            process.check_port(port, "postgres", "PGPORT")


def test_another_host_than_loopback_is_refused_before_anything_starts(stack: Stack) -> None:
    elsewhere = stack.settings.model_copy(update={"pghost": "db.example"})
    one = Stack(stack.home, elsewhere, Progress(quiet=True))
    with pytest.raises(ConfigurationError, match="PGHOST is db.example"):
        one.postgres.start()


def test_a_folder_that_is_not_ours_is_never_removed(tmp_path) -> None:
    (tmp_path / "precious").write_text("x")
    with pytest.raises(EnvironmentFault, match="nothing was removed"):
        Home(tmp_path).remove()
    with pytest.raises(EnvironmentFault, match="a folder of its own"):
        Stack(Home(tmp_path), load_settings(), Progress(quiet=True))
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]
    assert (tmp_path / "precious").exists()


def test_what_a_killed_command_left_is_swept(capsys: pytest.CaptureFixture[str]) -> None:
    home = Home(STATE / "private" / f"test{os.getpid()}")
    home.make()
    (home.path / "owner").write_text(json.dumps({"pid": 2**22 + 1}))
    left = process.start(home, "sleeper", ["sleep", "600"])
    sweep_private(Progress())
    assert not left.is_running() or left.status() == psutil.STATUS_ZOMBIE
    assert not home.path.exists()
    assert "left over from a killed command" in capsys.readouterr().err


def test_a_saved_process_id_that_was_given_to_another_process_is_not_signalled(tmp_path) -> None:
    home = Home(tmp_path / "home")
    home.make()
    saved = {"pid": os.getpid(), "started": psutil.Process().create_time() - 1000}
    (home.processes / "me.json").write_text(json.dumps(saved))
    assert process.running(home, "me") is None
    assert process.stop(home, "me") is False


def test_connect_can_read_the_connectors_password_and_no_other(line: Line) -> None:
    config = connect.connector_config(line.stack.home, line.settings)
    stolen = f"${{file:{line.stack.home.secrets / 'passwords.json'}:postgres}}"
    url = f"{line.settings.connect_url}/connector-plugins/PostgresConnector/config/validate"
    answer = httpx.put(url, json=config | {"database.password": stolen, "database.user": "postgres"}, timeout=60)
    assert line.stack.credentials.password("postgres") not in answer.text
    shown = httpx.get(f"{line.settings.connect_url}/connectors/{line.settings.connector}/config").text
    assert line.stack.credentials.password("twinpath_cdc") not in shown


def test_data_is_closed_to_other_users(stack: Stack) -> None:
    assert stat.S_IMODE(stack.postgres.data.stat().st_mode) == 0o700


def test_a_session_that_the_lab_may_not_end_does_not_stop_the_removal_once_it_left(store_line: Line) -> None:
    foreign = store_line.session("twinpath_alerts", store_line.settings.alerts_database)
    leaving = threading.Timer(1.0, foreign.close)
    leaving.start()
    store_line.scope.drop()
    leaving.join()
    found = store_line.rows(
        "SELECT datname FROM pg_database WHERE datname = %s", [store_line.settings.alerts_database], "postgres"
    )
    assert found == []
