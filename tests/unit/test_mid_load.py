"""Events in mid-load: each in its own time."""

import threading
from typing import Any

import pytest

from lab.mid_load import MidLoad


class Writing:
    """A load that writes until it is stopped, or for so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._stopped = threading.Event()
        self.was_stopped = False

    def run(self) -> str:
        self.was_stopped = self._stopped.wait(self._seconds)
        return "written"

    def stop(self) -> None:
        self._stopped.set()


def mid_load(writing: Writing, *events: tuple[float, Any], duration_s: float = 1.0) -> MidLoad:
    return MidLoad(writing, events, duration_s)  # type: ignore[arg-type]


def test_an_event_that_takes_longer_than_the_load_does_not_keep_the_next_from_happening() -> None:
    happened = []
    second = threading.Event()

    def slow() -> None:
        assert second.wait(10), "the second event came while the first was at work"
        happened.append("first")

    def quick() -> None:
        happened.append("second")
        second.set()

    one = mid_load(Writing(0.5), (0.0, slow), (0.1, quick))
    assert one.run() == "written"
    assert happened == ["second", "first"]
    assert one.first_event is not None


def test_an_event_that_fails_ends_the_load_and_is_raised() -> None:
    def fail() -> None:
        raise ValueError("found nothing to kill")

    writing = Writing(30)
    with pytest.raises(ValueError, match="nothing to kill"):
        mid_load(writing, (0.0, fail)).run()
    assert writing.was_stopped


def test_what_comes_after_the_load_does_not_happen() -> None:
    one = mid_load(Writing(0.0), (1.0, lambda: pytest.fail("the load was over")), duration_s=60)
    assert one.run() == "written"
    assert one.first_event is None
