"""What processes took of their machine: CPU seconds and peak memory, from the system's own books."""

import re
from collections.abc import Iterable
from pathlib import Path

import psutil


def summed(processes: Iterable[psutil.Process]) -> tuple[float, float]:
    """CPU seconds of these processes and of the children that they saw end, and the sum of their peaks of resident
    memory in MB (pages that they share count for each)."""
    cpu_s, peak_mb = 0.0, 0.0
    for one in processes:
        try:
            times = one.cpu_times()
            cpu_s += times.user + times.system + times.children_user + times.children_system
            peak_mb += _peak_mb(one)
        except psutil.NoSuchProcess:
            continue  # it ended just now; its parent has its time
    return cpu_s, peak_mb


def of_family(root: psutil.Process) -> tuple[float, float]:
    """`summed` of a process and all that descend from it."""
    return summed((root, *root.children(recursive=True)))


def _peak_mb(one: psutil.Process) -> float:
    """Peak where the system tells it (Linux), else what is resident now."""
    try:
        found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{one.pid}/status").read_text())
    except OSError:
        found = None
    return int(found[1]) / 1024 if found else float(one.memory_info().rss) / 2**20
