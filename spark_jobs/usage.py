"""What a job took of its machine: CPU and memory of the driver, its JVM and their Python workers.

Executors on other machines are not in it.
"""

import re
from pathlib import Path

import psutil

SUBMIT = "org.apache.spark.deploy.SparkSubmit"


def usage() -> dict[str, float]:
    """CPU seconds until now and peak resident MB, of the whole job where spark-submit started this process."""
    ours = psutil.Process()
    parent = ours.parent()
    root = parent if parent is not None and SUBMIT in parent.cmdline() else ours
    cpu_s, peak_mb = 0.0, 0.0
    for one in (root, *root.children(recursive=True)):
        try:
            times = one.cpu_times()
            cpu_s += times.user + times.system + times.children_user + times.children_system
            peak_mb += _peak_mb(one)
        except psutil.NoSuchProcess:
            continue  # a worker that ended just now; its parent has its time
    return {"cpu_s": round(cpu_s, 2), "peak_rss_mb": round(peak_mb, 1)}


def _peak_mb(one: psutil.Process) -> float:
    """Peak where the system tells it (Linux), else what is resident now."""
    try:
        found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{one.pid}/status").read_text())
    except OSError:
        found = None
    return int(found[1]) / 1024 if found else one.memory_info().rss / 2**20
