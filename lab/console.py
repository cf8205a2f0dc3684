"""Progress for people, on standard error, each line with the seconds since the command began."""

import sys
import time
from types import TracebackType


class Progress:
    """Lines such as `[  3.2 s] kafka: healthy`; silent when `quiet`."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._started = time.monotonic()
        self._quiet = quiet

    def seconds(self) -> float:
        """Seconds since the command began."""
        return time.monotonic() - self._started

    def say(self, text: str) -> None:
        """One line."""
        if self._quiet:
            return
        try:
            sys.stderr.write(f"[{self.seconds():6.1f} s] {text}\n")
            sys.stderr.flush()
        except OSError:  # nobody reads any more; what we do, clean-up above all, goes on
            self._quiet = True

    def step(self, name: str) -> "Step":
        """A named step that says when it starts, and when it is done how long it took."""
        return Step(self, name)


class Step:
    """`with progress.step("postgres") as step: ...; step.detail = "port 5432"`.

    It says that it starts when it is made, so that steps made together run together.
    """

    def __init__(self, progress: Progress, name: str) -> None:
        self._progress = progress
        self._name = name
        self._began = time.monotonic()
        self.done = "healthy"
        self.detail = ""
        progress.say(f"{name}: starting")

    def __enter__(self) -> "Step":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        took = time.monotonic() - self._began
        if error is None:
            detail = f", {self.detail}" if self.detail else ""
            self._progress.say(f"{self._name}: {self.done} after {took:.1f} s{detail}")
        else:
            self._progress.say(f"{self._name}: failed after {took:.1f} s")


def command_line() -> str:
    """The command as it was given."""
    return " ".join(["twinpath", *sys.argv[1:]])
