"""Stopping processes of ours, and nobody else's."""

import json
import os
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from lab.stack import process
from lab.stack.home import Home
from tests.conftest import wait_for


def home_in(folder: Path) -> Home:
    home = Home(folder / "home")
    home.make()
    return home


def alive(one: psutil.Process) -> bool:
    return one.is_running() and one.status() != psutil.STATUS_ZOMBIE


def test_what_a_killed_process_left_behind_is_ended(tmp_path: Path) -> None:
    home = home_in(tmp_path)
    leader = process.start(home, "leader", ["bash", "-c", "sleep 600 & wait"])
    both = wait_for(lambda: len(found := process.members(home, "leader")) == 2 and found, "a child", 10)
    (child,) = (one for one in both if one.pid != leader.pid)
    leader.kill()
    process.wait_gone(leader, 5)
    assert alive(child)
    assert process.stop(home, "leader") is False
    assert not alive(child)
    assert process.names(home) == []


def test_what_is_none_in_the_given_environment_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEFT_OUT", "1")
    monkeypatch.setenv("HANDED_ON", "2")
    home = home_in(tmp_path)
    process.start(
        home, "one", ["bash", "-c", 'echo "${LEFT_OUT-unset} $HANDED_ON $MORE"'], {"LEFT_OUT": None, "MORE": "3"}
    )
    log = process.log_of(home, "one")
    assert wait_for(log.read_text, "a line", 10) == "unset 2 3\n"
    process.stop(home, "one")


def test_a_session_without_our_mark_is_somebody_elses(tmp_path: Path) -> None:
    home = home_in(tmp_path)
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as foreign:
        saved = {"pid": foreign.pid, "started": psutil.Process(foreign.pid).create_time() - 1000}
        (home.processes / "leader.json").write_text(json.dumps(saved))
        try:
            assert process.members(home, "leader") == []
            assert process.stop(home, "leader") is False
            assert foreign.poll() is None
        finally:
            foreign.kill()


def test_an_interrupt_waits_until_what_may_not_be_left_half_done_is_done() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), process.uninterrupted():
        os.kill(os.getpid(), signal.SIGINT)
        done.append("the rest of the block")
    assert done == ["the rest of the block"]
