"""What both temperature programs are made of: how they end, and the numbers of their options."""

import argparse
import math
import os
import signal
import sys
import time
from collections.abc import Callable

from twinpath.errors import TemperaturesUnavailable, TwinpathError

SLICE_S = 0.1  # of a wait: after this a signal is noticed
INTERRUPTED = 130
LONGEST_S = 366 * 86_400


class Ending:
    """Whether the program was asked to end. A signal only notes it, so that no write is torn."""

    def __init__(self) -> None:
        self.asked = False
        self.status = 0

    def listen(self) -> "Ending":
        """Take note of Ctrl-C (exit status 130), of SIGTERM and of SIGHUP (0)."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._ask)
        return self

    def _ask(self, number: int, _frame: object) -> None:
        self.asked = True
        self.status = INTERRUPTED if number == signal.SIGINT else 0

    def sleep(self, seconds: float) -> None:
        """Wait, but not after the program was asked to end."""
        deadline = time.monotonic() + seconds
        while not self.asked and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, SLICE_S))


def run(name: str, body: Callable[[Ending], None]) -> int:
    """Run a program's body; its exit status, with one line for an error of ours."""
    ending = Ending().listen()
    try:
        body(ending)
    except TwinpathError as error:
        sys.stderr.write(f"{name}: {error}\n")
        given_up = ending.asked and isinstance(error, TemperaturesUnavailable)  # because it was asked to end
        return ending.status if given_up else error.exit_status
    except BrokenPipeError:  # whoever read our output went away, which is no error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return ending.status


def seconds(text: str) -> float:
    """An option's length of time in seconds, from 0.01 to a year."""
    return _between(text, 0.01, LONGEST_S, "seconds")


def minutes(text: str) -> float:
    """An option's length of time in minutes, from 0.001 to a year."""
    return _between(text, 0.001, LONGEST_S / 60, "minutes")


def _between(text: str, least: float, most: float, unit: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        raise argparse.ArgumentTypeError(f"found {text!r}, wanted a number of {unit} from {least:g} to {most:.0f}")
    return value
