"""What a fault has at hand: the line, its writers, a seeded choice; and where it leaves what it saw."""

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import psutil
import psycopg2
from kafka.errors import KafkaError

from lab.console import Progress
from lab.doctor import checks
from lab.doctor.hop import Hop
from lab.drills.equality import Found
from lab.drills.faults import Faults, Struck, back
from lab.drills.line import Line
from lab.drills.matrix.soaked import AgentMemory, Fence
from lab.drills.oracles import Oracles
from lab.drills.recovery import Freshness
from lab.drills.writers import Writers
from lab.slot import slot_at
from lab.stack import process
from lab.stack.stack import Stack
from twinpath.errors import ServiceFault, TwinpathError

PAUSE_S = (1.0, 3.0)  # before each blow
RECOVERY_TIMEOUT_S = 120.0
LOUD_S = 30.0  # invariant I10
LASTS_S = 15.0
TROUBLE = (TwinpathError, psycopg2.Error, KafkaError)


class Check(msgspec.Struct):
    """One thing that had to hold, beside equality: which invariant, in words, and what was seen."""

    invariant: str
    what: str
    held: bool
    evidence: str = ""


class Scene:
    """One drill on one line."""

    def __init__(
        self, line: Line, writers: Writers, folder: Path, rounds: int, start_lsn: int, stage: Any = None
    ) -> None:
        self.line = line
        self.stack = line.stack
        self.home = line.stack.home
        self.writers = writers
        self.folder = folder
        self.rounds = rounds
        self.stage = stage  # what the stage of the drill gave: see registry.Drill
        self.faults = Faults(line, writers)
        self.oracles = Oracles(line, folder, start_lsn, self.faults.traces)
        self.rng = Random(f"matrix/{line.settings.seed}")  # noqa: S311  a seeded number is the point
        self.struck: list[Struck] = []
        self.checks: list[Check] = []
        self.fences: list[Fence] = []  # of a soak, as its memory
        self.memory: list[AgentMemory] = []
        self.unequal: tuple[Found | None, str] | None = None  # of a fence that did not hold
        self.began_s: float | None = None  # of the load: the first blow, and when the line was fresh after the last
        self.ended_s: float | None = None
        self.rows_before = 0
        self.rows_elsewhere = 0  # committed by the fault itself, in other tables
        self._rows_after = 0

    @property
    def rules(self) -> list[str]:
        """Names of the rules that have an agent."""
        return [rule.name for rule in self.line.rules]

    @property
    def rows_in_fault(self) -> int:
        """Row-level writes that were committed from the first blow until the line was fresh after the last one."""
        return max(0, self._rows_after - self.rows_before) + self.rows_elsewhere

    def blow(self, strike: Callable[[], Struck], *, recovers: bool = True, at_once: bool = False) -> Struck:
        """Wait a seeded moment, strike, and wait until the line is fresh again; ServiceFault when it does not come."""
        if not at_once:
            self.pass_time(self.rng.uniform(*PAUSE_S))
        if self.began_s is None:
            self.began_s, self.rows_before = self.writers.seconds(), self.writers.committed
        struck = strike()
        self.struck.append(struck)
        self.line.stack.progress.say(f"{struck.at_s:.1f} s: {struck.fault}: {struck.evidence}")
        if recovers:
            self._wait_until_fresh(struck)
        self.ended_s, self._rows_after = self.writers.seconds(), self.writers.committed
        return struck

    def _wait_until_fresh(self, struck: Struck) -> None:
        try:
            with closing(Freshness(self.line)) as freshness:
                freshness.wait(struck.back_s, RECOVERY_TIMEOUT_S)
        except ServiceFault as problem:
            struck.problem = str(problem)
            raise
        struck.recovery_s = round(time.time() - struck.struck_s - struck.held_s, 1)
        self.line.stack.progress.say(f"{struck.fault}: the line was fresh again after {struck.recovery_s:.1f} s")

    def hold(self, fault: str, seconds: float, take: Callable[[], None], let_go: Callable[[], None]) -> Struck:
        """Something is taken from the line for a while; `take` raises when it cannot be."""
        struck = self.faults.begun(fault)
        try:
            take()
            rows = self.writers.committed
            self.pass_time(seconds)
            struck.evidence = f"for {seconds:.0f} s, {self.writers.committed - rows} rows were committed meanwhile"
        finally:
            let_go()
        struck.acted = True
        struck.held_s = time.time() - struck.struck_s
        return back(struck)

    def freeze(self, name: str, seconds: float) -> Struck:
        """SIGSTOP to a process of the stack, SIGCONT after so many seconds."""
        found = process.running(self.home, name)
        if found is None:
            raise ServiceFault(f"{name} had ended by itself; {process.tail(self.home, name)}")
        struck = self.hold(f"{name} frozen", seconds, found.suspend, found.resume)
        struck.acted = found.status() != psutil.STATUS_ZOMBIE
        struck.evidence = f"pid {found.pid} {struck.evidence}"
        return struck

    def pass_time(self, seconds: float) -> None:
        """Let the writers go on; ServiceFault as soon as one of their transactions failed."""
        self.writers.wait_until(self.writers.seconds() + seconds)

    def pass_rows(self, rows: int) -> None:
        """Let the writers commit so many rows."""
        wanted = self.writers.committed + rows
        deadline = time.monotonic() + RECOVERY_TIMEOUT_S
        while self.writers.committed < wanted:
            if time.monotonic() > deadline:
                raise ServiceFault(f"{wanted - self.writers.committed} of {rows} rows were not committed in time")
            self.pass_time(0.1)

    def check(self, invariant: str, what: str, held: bool, evidence: str = "") -> None:
        """Note whether something held."""
        self.checks.append(Check(invariant, what, held, evidence))
        self.line.stack.progress.say(f"{invariant} {'holds' if held else 'DOES NOT HOLD'}: {what}: {evidence}")

    def check_named(self, named: Callable[[Hop], bool], within_s: float = LOUD_S) -> None:
        """I10: within so many seconds `twinpath doctor`, asked about this line, names it first, and goes on to name it.

        What is merely on its way up again is no proof: the question is asked anew after LASTS_S seconds.
        """
        began = time.monotonic()
        hop = self.doctor()
        while not (in_time := hop is not None and named(hop)) and time.monotonic() < began + within_s:
            time.sleep(1)
            hop = self.doctor()
        after_s = time.monotonic() - began
        time.sleep(LASTS_S)
        hop = self.doctor()
        said = "every hop holds" if hop is None else f"{hop.name}: {hop.evidence}; mend: {hop.mend}"
        held = in_time and hop is not None and named(hop)
        self.check("I10", f"named within {within_s:.0f} s", held, f"after {after_s:.1f} s: {said}")

    def doctor(self) -> Hop | None:
        """The first broken hop of this line; None when every hop holds."""
        quiet = Stack(self.home, self.line.settings, Progress(quiet=True))
        return checks.first_broken(checks.walk(quiet, stop_at_first=True))

    def retained_bytes(self) -> int:
        """WAL that the slot keeps; 0 without a slot."""
        found = slot_at(self.line.lab(), self.line.settings.slot)
        return (found.retained_bytes or 0) if found else 0
