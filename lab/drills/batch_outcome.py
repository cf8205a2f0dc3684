"""The verdict of the batch drill, as JSON and as rows of a table, one for each mode."""

from collections import Counter
from pathlib import Path
from typing import Any, Literal

import msgspec

from lab.drills.batch_equality import Found, ModeFound
from lab.measure.batch_input import NAIVE
from lab.surroundings import environment

LEAST_ROWS = 1_000
Verdict = Literal["passed", "failed", "invalid"]
CAUSES = ("missed", "a", "b", "c", "d")
COLUMNS = (
    "seed", "rows committed", "rolled back", "held (longest s)", "late ids", "mode", "runs", "beside open ones",
    "rows judged", "rows missed", "alerts", "differing", *CAUSES, "unexplained", "verdict",
)  # fmt: skip


class Ran(msgspec.Struct):
    """One run of the job: its mode, how it was started, when in the load, and what it said of itself."""

    mode: str
    how: Literal["session", "spark-submit"]
    at_s: float
    merged: bool
    rows_read: int
    alerts_written: int
    seconds: dict[str, float]


class BatchTorture(msgspec.Struct):
    """One run of the drill; `runs_wanted` merged runs of each mode were planned."""

    run_id: str
    command: str
    seed: int
    duration_s: float
    rate: int
    longest_hold_s: float
    writers: dict[str, int]
    runs_wanted: int
    ran: list[Ran]
    found: Found

    @property
    def committed(self) -> int:
        """Row-level writes that were committed."""
        return sum(self.found.rows.get(op, 0) for op in ("insert", "update", "delete"))

    def unequal(self) -> list[str]:
        """What is against the contract; empty when every mode does what it promises."""
        wrong = []
        for one in self.found.modes:
            if one.mode not in NAIVE and one.missed:
                wrong.append(f"{one.mode} missed {one.missed} rows, among them {one.missed_ids}")
            if one.unexplained:
                wrong.append(f"{one.mode}: {one.unexplained} alerts differ and nothing explains it")
            if one.dead_letters:
                wrong.append(f"{one.mode} could not read {one.dead_letters} rows")
        return wrong

    def untried(self) -> list[str]:
        """Why the run proves nothing; empty when it proves something."""
        found = self.found
        why = []
        if self.committed < LEAST_ROWS:
            why.append(f"{self.committed} rows were committed, wanted {LEAST_ROWS} or more")
        if found.table_differs:
            why.append(f"the table is not what the operation log ends with: rows {found.table_differs[:5]}")
        if not found.held_s:
            why.append("no transaction was held for a second")
        if not found.late:
            why.append("no row committed behind a higher id")
        for one in found.modes:
            why += self._untried(one)
        return why

    def _untried(self, one: ModeFound) -> list[str]:
        why = []
        if one.runs < self.runs_wanted:
            why.append(f"{one.mode}: {one.runs} runs were merged, wanted {self.runs_wanted}")
        if not one.runs_beside_open:
            why.append(f"{one.mode}: no run met an open transaction")
        if one.unseen:
            why.append(f"{one.mode}: no run could see {one.unseen} rows, the last one was to see all")
        if one.mode in NAIVE and not one.missed:
            why.append(f"{one.mode} missed nothing: the writers were not awkward enough")
        if not all(rule.alerts for rule in one.rules):
            why.append(f"{one.mode}: a rule raised no alert")
        return why

    @property
    def verdict(self) -> Verdict:
        """passed, failed (against the contract), or invalid (nothing is, but too little was tried)."""
        if self.unequal():
            return "failed"
        return "invalid" if self.untried() else "passed"

    def rows(self) -> list[str]:
        """One row of the Markdown table for each mode."""
        found = self.found
        held = f"{len(found.held_s)} ({found.held_s[0] if found.held_s else '-'})"
        rows = []
        for one in found.modes:
            discarded = sum(ran.mode == one.mode and not ran.merged for ran in self.ran)
            causes = Counter[str]()
            for rule in one.rules:
                causes.update(rule.causes)
            cells = (
                self.seed,
                self.committed,
                found.rows["rolled_back"],
                held,
                found.late,
                one.mode,
                f"{one.runs}, {discarded} discarded" if discarded else one.runs,
                one.runs_beside_open,
                one.judged,
                one.missed,
                ", ".join(f"{rule.rule} {rule.alerts}" for rule in one.rules),
                sum(rule.differing for rule in one.rules),
                *(causes[name] for name in CAUSES),
                one.unexplained,
                self.verdict,
            )
            rows.append(f"| {' | '.join(str(cell) for cell in cells)} |")
        return rows

    def json(self) -> dict[str, Any]:
        """Everything, the verdict first."""
        return {
            "drill": "batch",
            "verdict": self.verdict,
            "unequal": self.unequal(),
            "untried": self.untried(),
            "rows_committed": self.committed,
            "missed": {one.mode: one.missed for one in self.found.modes},
            "unexplained": {one.mode: one.unexplained for one in self.found.modes},
            "rows": self.rows(),
            **msgspec.to_builtins(self),
            "environment": environment(),
        }


def table(rows: list[str]) -> str:
    """A Markdown table of such rows."""
    return "\n".join([f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}", *rows])


def write(result: BatchTorture, folder: Path) -> Path:
    """`batch.json` in the run's folder."""
    path = folder / "batch.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(result.json()), indent=1))
    return path
