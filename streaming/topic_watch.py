"""Is the topic that we read still the one that we began with? One made anew has other records at our offsets.

Neither client tells: both go on at the old offsets when the new topic is long enough.
"""

import threading
from collections.abc import Callable

from twinpath.errors import RESYNC, ChangeLogUnavailable, ConfigurationError, GapError, TwinpathError

EVERY_S = 2.0


class TopicWatch:
    """Asks for the topic's id again and again, beside the loop."""

    def __init__(self, topic: str, describe: Callable[[], tuple[str, int]]) -> None:
        self._topic = topic
        self._describe = describe
        self._began_with = ""
        self._over = threading.Event()
        self._problem: TwinpathError | None = None

    def start(self) -> None:
        """Note the topic's id as it is now and watch it from now on. Raises what `describe` raises."""
        if not self._began_with:
            self._began_with, _ = self._describe()
            threading.Thread(target=self._watch, name="topic-watch", daemon=True).start()

    def check(self) -> None:
        """GapError when the topic is gone or was made anew; costs nothing."""
        if self._problem is not None:
            raise self._problem

    def stop(self) -> None:
        """Ask no more."""
        self._over.set()

    def _watch(self) -> None:
        while not self._over.wait(EVERY_S):
            try:
                found, _ = self._describe()
            except ChangeLogUnavailable:
                continue
            except ConfigurationError:
                self._problem = GapError(f"topic {self._topic} is gone. {RESYNC}")
                return
            if found != self._began_with:
                self._problem = GapError(f"topic {self._topic} was made anew while we read it. {RESYNC}")
                return
