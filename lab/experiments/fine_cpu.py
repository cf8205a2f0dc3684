"""CPU seconds finer than the ticks of 10 ms in which the system's books are kept: a poll takes only a few of them."""

from pathlib import Path

import psutil

from lab.bench import cpu
from lab.bench.bed import Bed
from lab.bench.cpu import Read
from lab.stack import process
from twinpath.errors import ServiceFault

TICK_S = 0.01
"""What the books of ended processes are read to; one reading has two of them, for user and system time."""


def one(pid: int) -> float:
    """CPU seconds of a process with one thread, such as a session of PostgreSQL; 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
    except (OSError, IndexError):  # gone, or a system without such books
        return cpu.own(psutil.Process(pid)) if psutil.pid_exists(pid) else 0.0


def server(bed: Bed) -> Read:
    """A reader for the source's PostgreSQL: server, sessions, and the sessions that have ended."""
    found = process.running(bed.stack.home, "postgres")
    if found is None:
        raise ServiceFault("found no PostgreSQL of this stack, wanted one that runs; start it: twinpath up")
    return lambda: _tree(found)


def _tree(root: psutil.Process) -> float:
    ended = root.cpu_times()
    family = [root, *root.children(recursive=True)]
    return float(ended.children_user + ended.children_system) + sum(one(member.pid) for member in family)
