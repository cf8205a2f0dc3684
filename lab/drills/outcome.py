"""The verdict of a torture, as JSON and as one row of a table."""

import statistics
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from lab.drills.equality import Found
from lab.drills.faults import Struck
from lab.surroundings import environment

LEAST_ROWS = 1_000
COMPARED = 9  # cells of a row that only a comparison fills
STATUSES = {"RAISED", "REVISED", "RETRACTED"}
Verdict = Literal["passed", "failed", "invalid"]
COLUMNS = (
    "seed", "rows committed", "rolled back", "unknown settled", "events delivered", "delivered twice",
    "suppressed by position", "alerts", "alert inserts refused", "lost", "extra", "faults done",
    "recovery s p50/max", "of faults alone", "verdict",
)  # fmt: skip


class Torture(msgspec.Struct):
    """One run of the torture; without `found` it could not be compared, because of what `unjudged` says."""

    run_id: str
    command: str
    seed: int
    duration_s: float
    rate: int
    writers: dict[str, int]
    found: Found | None
    faults_wanted: int
    faults: list[Struck]
    unjudged: str = ""

    @property
    def committed(self) -> int:
        """Row-level writes that were committed, those of settled transactions included when there was a comparison."""
        if self.found is not None:
            return self.found.committed
        return sum(self.writers.get(op, 0) for op in ("insert", "update", "delete"))

    @property
    def lost(self) -> int:
        """What `Found.lost` says; 0 when nothing was compared."""
        return 0 if self.found is None else self.found.lost

    @property
    def extra(self) -> int:
        """What `Found.extra` says; 0 when nothing was compared."""
        return 0 if self.found is None else self.found.extra

    def unequal(self) -> list[str]:
        """What differs from the oracles; empty when the run is exact."""
        if self.found is None:
            return [f"what was committed was never judged: {self.unjudged}"]
        return self.found.unequal()

    def untried(self) -> list[str]:
        """Why the run proves nothing; empty when it proves something."""
        why = [f"{one.fault} did not act ({one.evidence})" for one in self.faults if not one.acted]
        why += [
            f"{one.fault} was not recovered from{': ' if one.problem else ''}{one.problem}"
            for one in self.faults
            if one.recovery_s is None
        ]
        if len(self.faults) < self.faults_wanted:
            why.append(f"{len(self.faults)} of {self.faults_wanted} faults were done")
        if self.committed < LEAST_ROWS:
            why.append(f"{self.committed} rows were committed, wanted {LEAST_ROWS} or more")
        return why if self.found is None else why + self._undelivered(self.found)

    def _undelivered(self, found: Found) -> list[str]:
        """What a comparison has to show beside equality."""
        why = []
        if not found.delivered_twice:
            why.append("nothing was delivered twice")
        for one in found.agents:
            if missing := STATUSES - one.statuses.keys():
                why.append(f"agent {one.rule} stored no alert {', '.join(sorted(missing))}")
        if any(one.fault == "connector" for one in self.faults) and not found.snapshot_rows:
            why.append("the second snapshot delivered no row")
        return why

    def alone(self, struck: Struck) -> bool:
        """True when the line recovered from this fault before the next one and had from those before it."""
        ended_s = struck.at_s + (struck.recovery_s or 0)
        others = [one for one in self.faults if one is not struck]
        return not any(one.at_s < ended_s and struck.at_s < one.at_s + (one.recovery_s or 0) for one in others)

    @property
    def verdict(self) -> Verdict:
        """passed, failed (something differs), or invalid (nothing differs, but too little was tried)."""
        if self.unequal():
            return "failed"
        return "invalid" if self.untried() else "passed"

    def row(self) -> str:
        """One row of the Markdown table."""
        done = Counter(one.fault for one in self.faults if one.acted)
        cells = (
            self.seed,
            self.committed,
            *(["-"] * COMPARED if self.found is None else self._compared(self.found)),
            ", ".join(f"{name} {count}" for name, count in sorted(done.items())),
            _took(self.faults),
            _took([one for one in self.faults if self.alone(one)]),
            self.verdict,
        )
        return f"| {' | '.join(str(cell) for cell in cells)} |"

    def _compared(self, found: Found) -> list[object]:
        """The cells from "rolled back" to "extra"."""
        agents = found.agents
        return [
            found.rows.get("rolled_back", 0),
            f"{found.unknown} ({found.unknown_committed} committed)",
            found.changes_delivered,
            found.delivered_twice,
            ", ".join(f"{one.rule} {one.counters.get('duplicate', 0)}" for one in agents),
            ", ".join(f"{one.rule} {one.alerts}" for one in agents),
            ", ".join(f"{one.rule} {one.counters.get('alerts_refused', 0)}" for one in agents),
            self.lost,
            self.extra,
        ]

    def json(self) -> dict[str, Any]:
        """Everything, the verdict first."""
        return {
            "drill": "torture",
            "verdict": self.verdict,
            "unequal": self.unequal(),
            "untried": self.untried(),
            "rows_committed": self.committed,
            "lost": self.lost,
            "extra": self.extra,
            "row": self.row(),
            **msgspec.to_builtins(self),
            "environment": environment(),
        }


def _took(faults: Sequence[Struck]) -> str:
    recoveries = [one.recovery_s for one in faults if one.recovery_s is not None]
    return f"{statistics.median(recoveries):.1f} / {max(recoveries):.1f}" if recoveries else "-"


def table(rows: Sequence[str]) -> str:
    """A Markdown table of such rows."""
    return "\n".join([f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}", *rows])


def write(torture: Torture, folder: Path) -> Path:
    """`torture.json` in the run's folder."""
    path = folder / "torture.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(torture.json()), indent=1))
    return path
