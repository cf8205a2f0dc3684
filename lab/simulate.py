"""Seeds of the simulation (`streaming/simulation`), run by processes of their own, one for each core.

What a seed comes to hangs on nothing but the seed: the processes get none of our settings from the environment.
"""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import msgspec
import psutil

from lab.console import Progress
from twinpath.errors import ServiceFault
from twinpath.settings import ROOT, Settings

ENOUGH_FAILED = 20  # so many failing seeds end the run
SAID_EVERY_S = 5.0
COUNTED = {
    "crashes": ("killed",),
    "zombies": ("frozen",),
    "resends": ("said again",),
    "rebalances": ("rebalanced", "expelled"),
    "store_failures": ("refused", "answer lost"),
}
"""What the summary says: sums of the simulation's own events."""


class Outcome(msgspec.Struct):
    """One seed as `python -m streaming.simulation` prints it; `broken` says which checks failed, empty when it held."""

    seed: int
    rule: str
    steps: int
    broken: list[str]
    events: dict[str, int]
    said: str
    trace: list[str] = []


class Sweep(msgspec.Struct):
    """Seeds from `first` on."""

    first: int
    processes: int
    seeds: int = 0
    steps: int = 0
    events: Counter[str] = msgspec.field(default_factory=Counter)
    failed: list[Outcome] = []
    seconds: float = 0.0

    def add(self, one: Outcome) -> None:
        """Count one seed more."""
        self.seeds += 1
        self.steps += one.steps
        self.events.update(one.events)
        if one.broken:
            self.failed.append(one)

    def figures(self) -> dict[str, int]:
        """What happened, by name."""
        sums = {name: sum(self.events[event] for event in events) for name, events in COUNTED.items()}
        return {"seeds": self.seeds, "steps": self.steps, **sums, "failures": len(self.failed)}

    def as_json(self) -> dict[str, object]:
        """All of it for programs."""
        failed = [
            {"seed": one.seed, "rule": one.rule, "broken": one.broken, "replay": f"twinpath simulate --seed {one.seed}"}
            for one in self.failed
        ]
        how = {"from": self.first, "processes": self.processes, "seconds": round(self.seconds, 1)}
        return self.figures() | how | {"failed": failed}

    def as_text(self) -> str:
        """For people: the seeds that failed, each with the command that replays it, then the figures."""
        figures = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in self.figures().items())
        how = f"from {self.first}, {self.seconds:.1f} s by {self.processes} processes"
        return "\n".join([*(one.said for one in self.failed), f"{figures} ({how})"])


def sweep(progress: Progress, first: int, count: int) -> Sweep:
    """Run `count` seeds, or as many as it takes to see enough of them fail."""
    found = Sweep(first, min(count, psutil.cpu_count() or 1))
    began = said = time.monotonic()
    with _workers(first, count, found.processes) as workers:
        for number in range(count):
            one = _next(workers[number % len(workers)], first + number)
            found.add(one)
            if one.broken:
                progress.say(one.said)
            if time.monotonic() - said >= SAID_EVERY_S:
                said = time.monotonic()
                progress.say(f"{found.seeds} of {count} seeds, {found.steps} steps, failed {len(found.failed)}")
            if len(found.failed) == ENOUGH_FAILED:
                break
    found.seconds = time.monotonic() - began
    return found


def replay(seed: int) -> Outcome:
    """One seed, with its trace."""
    with _workers(seed, 1, 1, "--trace") as (worker,):
        return _next(worker, seed)


@contextmanager
def _workers(first: int, count: int, processes: int, *more: str) -> Iterator[list["subprocess.Popen[bytes]"]]:
    """Processes that take the seeds in turn; none is left behind."""
    workers = []
    try:
        for number in range(processes):
            share = len(range(number, count, processes))
            seeds = ["--from", str(first + number), "--count", str(share), "--step", str(processes)]
            command = [sys.executable, "-m", "streaming.simulation", *seeds, *more]
            workers.append(
                subprocess.Popen(command, stdout=subprocess.PIPE, env=environment(os.environ), start_new_session=True)
            )
        yield workers
    finally:
        for one in workers:
            one.terminate()
        for one in workers:
            one.communicate()


def environment(ours: Mapping[str, str]) -> dict[str, str]:
    """That of the processes: ours without what would be a setting of the agents."""
    kept = {name: value for name, value in ours.items() if name.lower() not in Settings.model_fields}
    return kept | {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), ours.get("PYTHONPATH")]))}


def _next(worker: "subprocess.Popen[bytes]", seed: int) -> Outcome:
    line = worker.stdout.readline() if worker.stdout else b""
    if not line:
        raise ServiceFault(
            f"the process of seed {seed} ended with status {worker.wait()} and said nothing of it, wanted its outcome; "
            f"it may say more alone: twinpath simulate --seed {seed}"
        )
    return msgspec.json.decode(line, type=Outcome)
