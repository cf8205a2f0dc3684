"""CPU seconds by process, from saved process ids; and whether somebody else used the machine meanwhile.

A process counts with its children, those that ended included, so that PostgreSQL's backends are not lost.
"""

import ctypes
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import msgspec
import psutil

from lab.stack import process
from lab.stack.home import Home

FOREIGN_LIMIT = 0.05
"""Of one core: what others may use in a round before it is marked as disturbed."""

SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER
KERNEL_THREADS = 2  # Linux: the process id of their parent

Read = Callable[[], float]
"""CPU seconds used so far."""


class Usage(msgspec.Struct):
    """What a span of time cost: seconds on the clock, CPU seconds by part, CPU of others as share of one core,
    and the share of the machine that the hypervisor took (steal)."""

    wall_s: float = 0.0
    cpu_s: dict[str, float] = msgspec.field(default_factory=dict)
    foreign: float = 0.0
    steal: float = 0.0

    @property
    def disturbed(self) -> bool:
        """True when foreign processes used more than 5 % of a core."""
        return self.foreign > FOREIGN_LIMIT


def own(process_: psutil.Process) -> float:
    """CPU seconds of one process alone; 0 when it is gone."""
    try:
        times = process_.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def tree(process_: psutil.Process) -> float:
    """CPU seconds of a process, its living children and the children that it has seen end."""
    try:
        family = [process_, *process_.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0.0
    return sum(_with_ended(one) for one in family)


def adopt_orphans() -> None:
    """From now on, a process that outlives the one that started it comes to us (Linux): its CPU counts as ours.

    Spark's Python workers outlive its Java machine. They stay as ended processes until this one ends.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)


def ended() -> float:
    """CPU seconds of all that this process started and that has ended, adopted processes included."""
    ours = psutil.Process()
    times = ours.cpu_times()
    adopted = [one for one in ours.children() if _is_zombie(one)]
    return float(times.children_user + times.children_system) + sum(_with_ended(one) for one in adopted)


def _is_zombie(one: psutil.Process) -> bool:
    try:
        return bool(one.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _with_ended(one: psutil.Process) -> float:
    try:
        times = one.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system + times.children_user + times.children_system)


def parts(homes: Iterable[Home]) -> dict[str, Read]:
    """A reader for each process that runs in these homes now."""
    found: dict[str, Read] = {}
    for home in homes:
        for name in process.names(home):
            running = process.running(home, name)
            if running is not None:
                label = name.partition("_")[0]  # without the run's id
                found[f"{label}-2" if label in found else label] = lambda running=running: tree(running)  # type: ignore[misc]
    return found


def backend(pid: int) -> Read | None:
    """A reader for one process of a server, such as the one that serves a slot; None when it has just ended."""
    try:
        found = psutil.Process(pid)
    except psutil.NoSuchProcess:
        return None
    return lambda: own(found)


@contextmanager
def metered(homes: Iterable[Home], more: Mapping[str, Read] | None = None) -> Iterator[Usage]:
    """Measure the block; the Usage is filled when it ends.

    Processes of the homes that start or end inside count as ours (not as foreign) but have no row of their own.
    """
    homes = list(homes)
    readers = {**parts(homes), **(more or {})}
    before = {name: read() for name, read in readers.items()}
    ours, machine, began = _ours(homes), psutil.cpu_times(), time.monotonic()
    usage = Usage()
    try:
        yield usage
    finally:
        usage.wall_s = time.monotonic() - began
        usage.cpu_s = {name: round(max(0.0, read() - before[name]), 3) for name, read in readers.items()}
        later = psutil.cpu_times()
        busy = sum(getattr(later, name) - getattr(machine, name) for name in ("user", "nice", "system"))
        usage.foreign = round(max(0.0, busy - (_ours(homes) - ours)) / usage.wall_s, 4)
        cores = psutil.cpu_count() or 1
        usage.steal = round((later.steal - machine.steal) / (usage.wall_s * cores), 4) if hasattr(later, "steal") else 0


def _ours(homes: Iterable[Home]) -> float:
    """CPU seconds of this process, of what it started, of the stacks and of the kernel's threads, which work
    for us (write-back, loopback); ended processes included."""
    roots = [psutil.Process(), *(psutil.Process(pid) for pid in (KERNEL_THREADS,) if psutil.pid_exists(pid))]
    for home in homes:
        roots += [found for name in process.names(home) if (found := process.running(home, name)) is not None]
    family = {one.pid: one for root in roots for one in _family(root)}
    return sum(_with_ended(one) for one in family.values())


def _family(root: psutil.Process) -> list[psutil.Process]:
    try:
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
