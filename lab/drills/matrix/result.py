"""What one drill of the matrix came to: verdict and reasons, as JSON that can be read back."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from lab.drills.equality import Found
from lab.drills.faults import Struck
from lab.drills.matrix.scene import Check
from lab.drills.matrix.soaked import AgentMemory, Fence
from lab.drills.outcome import LEAST_ROWS, Verdict
from lab.runs import write_whole
from twinpath.errors import ConfigurationError

LEAST_COMMITS = 200  # below it no p99 of them is given


class Result(msgspec.Struct):
    """One drill with one seed.

    `stopped` says what ended it before its time; `unjudged` why nothing was compared. `rows_in_fault` counts row-level
    writes from the first blow until the line was fresh after the last; `commit_p99_ratio` is that of the time in the
    fault to that before, None when there were too few commits. `fences` and `memory` are a soak's.
    """

    name: str
    seed: int
    command: str
    run_id: str
    rate: int
    writers: dict[str, int]
    rows_in_fault: int
    faults: list[Struck]
    checks: list[Check]
    found: Found | None
    judged: bool
    server_stays: bool
    wants: list[str]
    recovery_limit_s: float
    commit_p99_ratio: float | None = None
    unjudged: str = ""
    stopped: str = ""
    environment: dict[str, Any] = {}
    fences: list[Fence] = []
    memory: list[AgentMemory] = []

    @property
    def rows(self) -> int:
        """Row-level writes that were committed."""
        if self.found is not None:
            return self.found.committed
        return sum(self.writers.get(op, 0) for op in ("insert", "update", "delete"))

    @property
    def refused(self) -> int:
        """Alerts that were stored already when they came again."""
        return sum(one.counters.get("alerts_refused", 0) for one in self.found.agents) if self.found else 0

    @property
    def dropped(self) -> int:
        """Records that agents dropped by their position, summed over agents."""
        return sum(one.counters.get("duplicate", 0) for one in self.found.agents) if self.found else 0

    @property
    def recoveries_s(self) -> list[float]:
        """Of each blow that the line recovered from."""
        return [one.recovery_s for one in self.faults if one.recovery_s is not None]

    def wrong(self) -> list[str]:
        """What failed; empty when nothing did."""
        wrong = [f"{one.invariant}: {one.what}: {one.evidence}" for one in self.checks if not one.held]
        wrong += [f"{one.fault} was not recovered from: {one.problem}" for one in self.faults if one.problem]
        wrong += [
            f"I9: {one.fault} was recovered from after {one.recovery_s:.1f} s, wanted {self.recovery_limit_s:.0f} s"
            for one in self.faults
            if (one.recovery_s or 0) > self.recovery_limit_s
        ]
        if self.judged and self.faults:
            wrong += [f"I1: never judged: {self.unjudged}"] if self.found is None else self.found.unequal()
        if self.server_stays and self.writers.get("lost_sessions"):
            wrong.append(f"I6: {self.writers['lost_sessions']} sessions of the writers were lost")
        return wrong

    def untried(self) -> list[str]:
        """Why the run proves nothing (I13); empty when it proves something."""
        why = [f"stopped: {self.stopped}"] if self.stopped else []
        why += [f"{one.fault} did not act ({one.evidence})" for one in self.faults if not one.acted]
        if not self.faults:
            why.append("no fault was done")
        if self.rows_in_fault < LEAST_ROWS:
            why.append(f"{self.rows_in_fault} rows were committed in the fault, wanted {LEAST_ROWS} or more")
        if self.found is not None:
            seen = {"delivered twice": self.found.delivered_twice, "refused": self.refused}
            why += [f"nothing was {want}" for want in self.wants if not seen[want]]
        return why

    @property
    def verdict(self) -> Verdict:
        """passed; failed: something did not hold; invalid: nothing did not hold, but too little was tried."""
        if self.wrong():
            return "failed"
        return "invalid" if self.untried() else "passed"


def commit_p99_ratio(commits: Sequence[tuple[float, float]], began_s: float, ended_s: float) -> float | None:
    """p99 of the commits answered between `began_s` and `ended_s` to that of those before; None for too few."""
    before = [took for at_s, took in commits if at_s < began_s]
    during = [took for at_s, took in commits if began_s <= at_s <= ended_s]
    if min(len(before), len(during)) < LEAST_COMMITS:
        return None
    return round(_p99(during) / _p99(before), 2)


def _p99(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=100)[-1]


def path_of(folder: Path, name: str, seed: int) -> Path:
    """Where a result is kept."""
    return folder / f"{name}-seed{seed}.json"


def write(result: Result, folder: Path) -> Path:
    """Into its file, the verdict and its reasons first."""
    folder.mkdir(parents=True, exist_ok=True)
    path = path_of(folder, result.name, result.seed)
    reasons = {"verdict": result.verdict, "wrong": result.wrong(), "untried": result.untried()}
    whole: Mapping[str, Any] = {**reasons, **msgspec.to_builtins(result)}
    write_whole(path, msgspec.json.format(msgspec.json.encode(whole), indent=1).decode() + "\n")
    return path


def read(path: Path) -> Result:
    """A result from its file; ConfigurationError when it is none."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Result)
    except msgspec.MsgspecError as error:
        raise ConfigurationError(f"{path} is no result of a drill: {error}") from None


def read_all(folder: Path) -> list[Result]:
    """Every result of a folder, in the order of names and seeds."""
    return sorted((read(path) for path in folder.glob("F*-seed*.json")), key=lambda one: (one.name, one.seed))
