"""One agent as a process of the simulation: it runs until its next call of the log or the store, and can die there.

Loop and checkpoint writer are greenlets, so that a process can be stopped in the middle of any call, left
alone for a while and go on later, without threads and in the same order for the same seed.
"""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from greenlet import getcurrent, greenlet  # type: ignore[import-untyped]

from streaming.agent import Agent
from streaming.simulation.clock import Clock

T = TypeVar("T")


class Crash(BaseException):
    """The process is killed here; nothing may catch it."""


class Fate(Protocol):
    """What decides about a process at each of its calls."""

    def interrupts(self, call: str) -> bool:
        """Whether others have their turn before this call."""
        ...

    def fails(self, process: "Process", call: str) -> bool:
        """Whether the call fails."""
        ...

    def ended(self, process: "Process", error: Exception) -> None:
        """The process ended by itself with an error."""
        ...


class Process:
    """The greenlets of one agent; whoever makes the process gives it its `agent`."""

    agent: Agent

    def __init__(self, name: str, fate: Fate) -> None:
        self.name = name
        self.frozen_until = 0
        self.crashed = False
        self.hampered = False  # a call of it failed, or it stood still for longer than it waits for anything
        self._fate = fate
        self._hub = getcurrent()
        self._greenlets: list[greenlet] = []

    def gate(self, call: str) -> bool:
        """Every call of the log and the store passes here, see `streaming.simulation.log.Gate`."""
        if self.crashed:
            raise Crash
        if self._fate.interrupts(call):
            self._hub.switch(call)
        return self._fate.fails(self, call)

    def begin(self, body: Callable[[], object]) -> None:
        """Give the process one more greenlet."""
        self._greenlets.append(greenlet(lambda: self._guarded(body), parent=self._hub))

    def running(self) -> list[greenlet]:
        """The greenlets that have something left to do."""
        self._greenlets = [one for one in self._greenlets if not one.dead]
        return self._greenlets

    def crash(self) -> None:
        """SIGKILL: whatever it was doing stays undone."""
        self.crashed = True
        for one in self.running():
            with suppress(Crash):
                one.throw(Crash)

    def _guarded(self, body: Callable[[], object]) -> None:
        try:
            body()
        except Crash:
            pass
        except Exception as error:  # whatever ends an agent is judged by the simulation
            self._fate.ended(self, error)


class Writing(Future[T]):
    """A job of a process's executor; waiting for it lets others have their turn."""

    def __init__(self, process: Process, clock: Clock) -> None:
        super().__init__()
        self._process = process
        self._clock = clock

    def result(self, timeout: float | None = None) -> T:
        """The job's result, once it is there."""
        self._wait(timeout)
        return super().result(0)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """The job's error, or None, once it has ended."""
        self._wait(timeout)
        return super().exception(0)

    def _wait(self, timeout: float | None) -> None:
        deadline = float("inf") if timeout is None else self._clock.monotonic() + timeout
        while not self.done():
            if self._clock.monotonic() > deadline:
                raise TimeoutError
            self._process.gate("executor.wait")


class InlineExecutor(Executor):
    """Runs a job within `submit`."""

    def __init__(self, process: Process, clock: Clock) -> None:
        self._process = process
        self._clock = clock

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Run it, or have it run."""
        future: Writing[T] = Writing(self._process, self._clock)
        self._begin(future, lambda: _run(future, fn, args, kwargs))
        return future

    def _begin(self, future: Future[Any], job: Callable[[], None]) -> None:
        job()


class BesideExecutor(InlineExecutor):
    """One worker: runs jobs in a greenlet of their own, one after the other."""

    def __init__(self, process: Process, clock: Clock) -> None:
        super().__init__(process, clock)
        self._jobs: list[tuple[Future[Any], Callable[[], None]]] = []
        self._working = False

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the job end that is being run; the others are dropped on request."""
        if cancel_futures:
            for future, _ in self._jobs:
                future.cancel()
            self._jobs.clear()
        while wait and self._working:
            self._process.gate("executor.wait")

    def _begin(self, future: Future[Any], job: Callable[[], None]) -> None:
        self._jobs.append((future, job))
        if not self._working:
            self._working = True
            self._process.begin(self._work)

    def _work(self) -> None:
        while self._jobs:
            _, job = self._jobs.pop(0)
            job()
        self._working = False


def _run(future: Future[T], fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    future.set_running_or_notify_cancel()
    try:
        result = fn(*args, **kwargs)
    except Exception as error:
        future.set_exception(error)
    else:
        future.set_result(result)
