"""A wrong clock for one Python process: `time.time` is off by the seconds that the file TWINPATH_CLOCK_FILE holds.

The file is read at each look, so that the clock can step while the process runs.
"""

import os
import time

FILE = "TWINPATH_CLOCK_FILE"
_right_ns = time.time_ns


def _wrong_ns() -> int:
    try:
        with open(os.environ[FILE], encoding="ascii") as file:
            shift_s = float(file.read())
    except (OSError, KeyError, ValueError):  # half written: once right, then wrong again
        shift_s = 0.0
    return _right_ns() + int(shift_s * 1_000_000_000)


def _wrong_s() -> float:
    return _wrong_ns() / 1_000_000_000


if FILE in os.environ:
    time.time_ns = _wrong_ns
    time.time = _wrong_s
