"""Processes that we start: each with a log, a saved process id, and a way to stop exactly that process.

A saved id counts only together with the process's start time, so that a reused id is never signalled. Each runs in
a session of its own, and carries its name in its environment: what it left there is found when it was killed.
"""

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

from lab.stack.home import Home
from twinpath.errors import EnvironmentFault, ServiceFault
from twinpath.process_usage import summed
from twinpath.settings import LOOPBACK

STOP_TIMEOUT_S = 20.0
LEFT_TIMEOUT_S = 5.0
MARK = "TWINPATH_PROCESS"  # in the environment: which home and name a process and its children belong to
HELD_BACK = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_children: dict[int, subprocess.Popen[bytes]] = {}  # so that ended ones are reaped


def start(home: Home, name: str, command: list[str], env: Mapping[str, str | None] | None = None) -> psutil.Process:
    """Start a process in a session of its own (Ctrl-C does not reach it), appending to its log.

    `env` is added to our environment; what is None in it is left out.
    """
    wanted = {**os.environ, **(env or {}), MARK: _mark(home, name)}
    with uninterrupted(), log_of(home, name).open("ab") as log:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={name: value for name, value in wanted.items() if value is not None},
            start_new_session=True,
        )
        _children[child.pid] = child
        process = psutil.Process(child.pid)
        saved = {"pid": child.pid, "started": process.create_time()}
        (home.processes / f"{name}.json").write_text(json.dumps(saved))
    return process


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C and its like back until the block has ended: no process may run whose id was not saved yet, and what
    is being stopped and removed is stopped and removed to the end (each stop has a deadline)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    former = {one: signal.signal(one, lambda number, _: held.append(number)) for one in HELD_BACK}
    try:
        yield
    finally:
        for one, handler in former.items():
            signal.signal(one, handler)
        if held:
            os.kill(os.getpid(), held[0])


def log_of(home: Home, name: str) -> Path:
    """The log file of a service."""
    return home.logs / f"{name}.log"


def running(home: Home, name: str) -> psutil.Process | None:
    """The process that we started under this name, when it still runs."""
    try:
        saved = json.loads((home.processes / f"{name}.json").read_text())
        process = psutil.Process(saved["pid"])
        same = abs(process.create_time() - saved["started"]) < 1.0
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except (OSError, ValueError, KeyError, psutil.NoSuchProcess):
        return None


def names(home: Home) -> list[str]:
    """Names of all processes that were started and not stopped, oldest first."""
    files = sorted(home.processes.glob("*.json"), key=lambda file: file.stat().st_mtime)
    return [file.stem for file in files]


def stop(home: Home, name: str, how: signal.Signals = signal.SIGTERM, timeout_s: float = STOP_TIMEOUT_S) -> bool:
    """Stop one process, with SIGKILL after the deadline, then what it left in its session; True when it ran.

    Idempotent.
    """
    process = running(home, name)
    if process is not None:
        try:
            process.send_signal(how)
            wait_gone(process, timeout_s)
        except psutil.TimeoutExpired:
            process.kill()
            wait_gone(process, timeout_s)
        except psutil.NoSuchProcess:
            pass  # it ended between the look and the signal, which is what was wanted
    _end(members(home, name))
    for pid in [pid for pid, child in _children.items() if child.poll() is not None]:
        del _children[pid]  # those that ended by themselves are reaped, too
    (home.processes / f"{name}.json").unlink(missing_ok=True)
    return process is not None


def members(home: Home, name: str) -> list[psutil.Process]:
    """What runs in the session of the process that we started under this name, itself included."""
    try:
        session = int(json.loads((home.processes / f"{name}.json").read_text())["pid"])
    except (OSError, ValueError, KeyError):
        return []
    found = []
    for pid in psutil.pids():
        try:
            if os.getsid(pid) == session and psutil.Process(pid).environ().get(MARK) == _mark(home, name):
                found.append(psutil.Process(pid))
        except (OSError, psutil.Error):
            continue  # gone meanwhile, or not ours to look at
    return found


def usage(home: Home, name: str) -> tuple[float, float]:
    """CPU seconds and peak MB of a process and of all that it started; zeros when it does not run."""
    cpu_s, peak_mb = summed(members(home, name))
    return round(cpu_s, 1), round(peak_mb, 1)


def _mark(home: Home, name: str) -> str:
    return f"{home.path}/{name}"


def _end(left: list[psutil.Process]) -> None:
    """SIGTERM, then SIGKILL, to processes whose parent is gone."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        for one in left:
            try:
                one.send_signal(how)
            except psutil.NoSuchProcess:
                continue
        _, left = psutil.wait_procs(left, timeout=LEFT_TIMEOUT_S)


def wait_gone(process: psutil.Process, timeout_s: float) -> None:
    """Wait until a process has ended; a child of ours is reaped. Raises psutil.TimeoutExpired."""
    process.wait(timeout=timeout_s)
    child = _children.pop(process.pid, None)
    if child is not None:
        child.poll()


def wait_until(home: Home, name: str, ready: Callable[[], bool], timeout_s: float, what: str = "it answered") -> None:
    """Wait until `ready()`; ServiceFault with the end of the log when the process ends or time runs out."""
    deadline = time.monotonic() + timeout_s
    while True:
        if ready():
            return
        if running(home, name) is None:
            raise ServiceFault(f"{name} ended before {what}; {tail(home, name)}")
        if time.monotonic() > deadline:
            raise ServiceFault(f"{name}: waited {timeout_s:.0f} s until {what}; {tail(home, name)}")
        time.sleep(0.05)


def tail(home: Home, name: str, lines: int = 12) -> str:
    """The end of a service's log, for an error message."""
    path = log_of(home, name)
    try:
        text = path.read_text(errors="replace").splitlines()[-lines:]
    except OSError:
        text = []
    return "\n  ".join([f"the end of {path}:", *text])


def check_port(port: int, service: str, setting: str) -> None:
    """EnvironmentFault that names the owner when a loopback port is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            raise EnvironmentFault(
                f"port {port}, wanted by {service}, is taken by {port_owner(port)}. "
                f"Stop it, or choose another port with {setting}"
            ) from None


def listens(port: int) -> bool:
    """True when something accepts connections on a loopback port."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1):
            return True
    except OSError:
        return False


def port_owner(port: int) -> str:
    """Who listens on a port, as far as this user may see."""
    try:
        for connection in psutil.net_connections(kind="tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.pid and connection.laddr[1:2] == (port,):
                process = psutil.Process(connection.pid)
                return f"process {process.pid} ({process.name()}, user {process.username()})"
    except psutil.Error:
        pass  # looking needs rights that we may lack; the port is named all the same
    return "a process that this user cannot see"


def free_ports(count: int) -> list[int]:
    """Ports that were free just now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind((LOOPBACK, 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()
