"""`twinpath watch`: the race on the terminal, drawn anew every second; one frame where there is no terminal."""

import os
import select
import sys
import termios
import time
import tty
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import msgspec
from rich.console import Console
from rich.live import Live

from lab.live.look import Look, rates
from lab.live.race import Race
from lab.live.view import frame
from lab.stack.stack import Stack

ONCE_S = 1.0  # between the two looks that the rates of a single frame come from
WINDOW_S = 10.0  # of the rates: some micro-batches long
LEAVE = "q"
Read = Callable[[float], str]
"""Waits so many seconds at the most for keys, and returns what was typed."""


def show(stack: Stack, *, once: bool, as_json: bool, every_s: float) -> None:
    """Draw until `q`; one frame with `once`, as JSON, or when stdout is no terminal that can be drawn on."""
    console = Console(highlight=False)
    with closing(Race(stack)) as race:
        if once or as_json or not sys.stdout.isatty() or console.is_dumb_terminal:
            first = race.look()
            time.sleep(ONCE_S)
            last = race.look()
            sys.stdout.write(f"{encoded(first, last)}\n" if as_json else drawn(console, first, last))
        else:
            with keys() as read, Live(console=console, screen=True, auto_refresh=False) as live:
                _race(race, live, read, every_s)


def _race(race: Race, live: Live, read: Read, every_s: float) -> None:
    looks: deque[Look] = deque()
    while True:
        looks.append(race.look())
        while len(looks) > 2 and looks[-1].at - looks[1].at >= WINDOW_S:  # noqa: PLR2004  two make a rate
            looks.popleft()
        live.update(frame(looks[-1], rates(looks), keys=True), refresh=True)
        due = time.monotonic() + every_s
        while (left := due - time.monotonic()) > 0:
            if LEAVE in read(left).lower():
                return


def drawn(console: Console, first: Look, last: Look) -> str:
    """One frame as text; its rates are those between the two looks."""
    with console.capture() as captured:
        console.print(frame(last, rates([first, last]), keys=False))
    return "".join(f"{line.rstrip()}\n" for line in captured.get().splitlines())


def encoded(first: Look, last: Look) -> str:
    """One frame as a line of JSON; `rates` are per second, by path and rules."""
    found = [{"path": path, "rules": rules, "per_second": rate} for (path, rules), rate in rates([first, last]).items()]
    return msgspec.json.encode({**msgspec.to_builtins(last), "rates": found}).decode()


@contextmanager
def keys() -> Iterator[Read]:
    """Single keys, unseen and without Enter, while the block lasts; when stdin is no terminal there are none."""
    if not sys.stdin.isatty():
        yield _no_keys
        return
    terminal = sys.stdin.fileno()
    former = termios.tcgetattr(terminal)

    def read(timeout_s: float) -> str:
        if not select.select([terminal], [], [], timeout_s)[0]:
            return ""
        return os.read(terminal, 64).decode(errors="replace") or LEAVE  # nothing more will come: the line is gone

    try:
        tty.setcbreak(terminal)
        yield read
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, former)


def _no_keys(timeout_s: float) -> str:
    time.sleep(timeout_s)
    return ""
