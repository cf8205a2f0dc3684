"""Virtual time: the loop of an agent sees hours pass in milliseconds, the same ones for the same seed."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

START_US = 1_795_413_600_000_000  # 2026-11-23T06:00:00Z: the first rows are written then
LATER_US = 3_600_000_000  # the agents see them an hour later


class Clock:
    """Stands in for the module `time`; it moves only when somebody moves it."""

    def __init__(self) -> None:
        self._us = START_US + LATER_US

    def advance(self, seconds: float) -> None:
        """Let this much time pass."""
        self._us += round(seconds * 1_000_000)

    sleep = advance

    def monotonic(self) -> float:
        """Seconds."""
        return self._us / 1_000_000

    time = monotonic

    def perf_counter(self) -> float:
        """Seconds; a millisecond passes each time that somebody looks, so that slices of work end."""
        self.advance(0.001)
        return self.monotonic()

    def time_ns(self) -> int:
        """Nanoseconds since 1970 UTC."""
        return self._us * 1000

    monotonic_ns = time_ns

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Within it every module of the agents reads this clock."""
        modules = {name: module for name, module in sys.modules.items() if name.startswith("streaming.")}
        agents = [module for name, module in modules.items() if not name.startswith("streaming.simulation")]
        patched = [module for module in agents if getattr(module, "time", None) is time]
        for module in patched:
            module.time = self  # type: ignore[attr-defined]
        try:
            yield
        finally:
            for module in patched:
                module.time = time  # type: ignore[attr-defined]
