"""What happens while a load runs: each event at its share of the load's duration, in a thread of its own."""

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from lab.load import Load, LoadResult

Event = tuple[float, Callable[[], None]]
"""When, as a share of the load's duration, and what."""


class MidLoad:
    """A load and its events, none of which waits for another; one that fails ends the load, and is raised."""

    def __init__(self, load: Load, events: Sequence[Event], duration_s: float) -> None:
        self._load = load
        self._events = events
        self._duration_s = duration_s
        self._over = threading.Event()
        self._fault: Exception | None = None
        self._began: list[datetime] = []

    @property
    def first_event(self) -> datetime | None:
        """When the first event began; None before that."""
        return min(self._began, default=None)

    def run(self) -> LoadResult:
        """The whole load; an event whose time has not come when it ends does not happen."""
        threads = [threading.Thread(target=self._act, args=event, name="mid-load") for event in self._events]
        for thread in threads:
            thread.start()
        try:
            result = self._load.run()
        finally:
            self._over.set()
            for thread in threads:
                thread.join()
        if self._fault is not None:
            raise self._fault
        return result

    def _act(self, share: float, act: Callable[[], None]) -> None:
        if self._over.wait(share * self._duration_s):
            return
        self._began.append(datetime.now(tz=UTC))
        try:
            act()
        except Exception as error:
            self._fault = self._fault or error
            self._load.stop()
