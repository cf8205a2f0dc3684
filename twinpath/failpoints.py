"""Crash points for proofs: `TWINPATH_FAIL_AT=after_write:2` kills the whole job when it comes there the second time."""

import os
import signal
from collections import Counter

NAME = "TWINPATH_FAIL_AT"
_passed: Counter[str] = Counter()


def fail_at(point: str) -> None:
    """SIGKILL to the process group (driver, JVM and all) when the environment names this point; else nothing."""
    wanted, _, times = os.environ.get(NAME, "").partition(":")
    if wanted != point:
        return
    _passed[point] += 1
    if _passed[point] >= int(times or 1):
        os.killpg(os.getpgrp(), signal.SIGKILL)
