"""What happens while a load runs: each event at its share of the load's duration, in a thread of its own."""

import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from lab.load import Load, LoadResult

Event = tuple[float, Callable[[], None]]
"""When, as a share of the load's duration, and what."""


class MidLoad:
    """A load and its events; one that fails ends the load, and is raised."""

    def __init__(self, load: Load, events: Sequence[Event], duration_s: float) -> None:
        self._load = load
        self._events = events
        self._duration_s = duration_s
        self._over = threading.Event()
        self._fault: Exception | None = None
        self.first_event: datetime | None = None

    def run(self) -> LoadResult:
        """The whole load."""
        during = threading.Thread(target=self._act, name="mid-load")
        during.start()
        try:
            result = self._load.run()
        finally:
            self._over.set()
            during.join()
        if self._fault is not None:
            raise self._fault
        return result

    def _act(self) -> None:
        began = time.monotonic()
        try:
            for share, act in self._events:
                if self._over.wait(max(0.0, began + share * self._duration_s - time.monotonic())):
                    return
                self.first_event = self.first_event or datetime.now(tz=UTC)
                act()
        except Exception as error:
            self._fault = error
            self._load.stop()
