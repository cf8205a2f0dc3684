"""What a run of a batch job took, part by part."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping


class Clock:
    """Seconds of each part of a run."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self._last_us = time.time_ns() // 1000
        self.seconds: dict[str, float] = {}

    def lap(self, part: str) -> None:
        """The part that ends now."""
        now = time.monotonic()
        self.seconds[part] = round(now - self._last, 3)
        self._last = now
        self._last_us = time.time_ns() // 1000

    def lap_in_parts(self, lines: Iterable[Mapping[str, int]]) -> None:
        """`read`, `fold` and `stage`, which end now together; `lines` are rows of columns.FOLDED.

        read: until an executor had its first row, which is when all are read, shuffled and sorted; all of it when there
        was none. stage: of the partition that took longest to stage. fold: the rest.
        """
        began_us, staged = self._last_us, Counter[int]()
        for line in lines:
            staged[line["began_us"]] += line["staged_us"]
        self.lap("read")
        if staged:
            whole = self.seconds["read"]
            read = (min(staged) - began_us) / 1_000_000
            stage = max(staged.values()) / 1_000_000
            parts = {"read": read, "fold": whole - read - stage, "stage": stage}
            self.seconds |= {name: round(seconds, 3) for name, seconds in parts.items()}
