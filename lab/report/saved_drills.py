"""The results of drills that a checkout holds: of runs of their own, which a report shows beside the one it is of."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from lab.drills.matrix.page import COLUMNS, row, verdict_of
from lab.drills.matrix.registry import MATRIX, Drill
from lab.drills.matrix.result import Result, read
from lab.report.tables import escaped, table
from lab.report.words import listed
from twinpath.errors import ConfigurationError
from twinpath.settings import ROOT

KEPT, RUN_HERE = "docs/results/drills", "runs/drills"
FOLDERS = (KEPT, RUN_HERE)
"""Where both have a fault with a seed, the one that was run here counts."""
MAKE_THEM = "twinpath drill all --seed 7"
AGAIN = ("fault", "seed", "verdict", "why", "at commit", "command")


class Drills(msgspec.Struct, frozen=True):
    """Results in the order of names and seeds; `unreadable` are files of other versions, which are left out."""

    results: tuple[Result, ...] = ()
    unreadable: tuple[str, ...] = ()

    def by_fault(self) -> list[tuple[Drill, list[Result]]]:
        """The faults that were run, in the order of the matrix, each with its seeds."""
        every = [(drill, [one for one in self.results if one.name == drill.name]) for drill in MATRIX]
        return [(drill, ours) for drill, ours in every if ours]

    def rows(self) -> list[list[str]]:
        """Cells of COLUMNS, a row for each fault over all its seeds."""
        return [row(drill, ours) for drill, ours in self.by_fault()]

    def again(self) -> list[list[str]]:
        """Cells of AGAIN, a row for each drill with the command that runs it again."""
        every = [one for _, ours in self.by_fault() for one in ours]
        commits = [str(one.environment.get("commit", "unknown")) for one in every]
        return [
            [one.name, str(one.seed), one.verdict, _why(one), commit, one.command]
            for one, commit in zip(every, commits, strict=True)
        ]

    def not_passed(self) -> list[str]:
        """The faults that did not pass with every seed."""
        return [drill.name for drill, ours in self.by_fault() if verdict_of(ours) != "passed"]

    def left_out(self) -> list[str]:
        """What a reader must know of the files."""
        return [f"{name} is no result that this version can read: left out." for name in self.unreadable]

    def notes(self) -> list[str]:
        """What a reader must know of the table."""
        run = {drill.name for drill, _ in self.by_fault()}
        proved = [one.name for one in MATRIX if one.proved_by and one.name not in run]
        others = [one.name for one in MATRIX if not one.proved_by and one.name not in run]
        return [
            "Delivered twice: changes that came again in the topic. Suppressed: records that agents dropped by their "
            "position, and alerts that were stored already. Lost and extra: changes and alerts against replay() of the "
            "topic and of the operation log; -: not compared, for the fault leaves the line broken and must be named "
            "instead. Recovery: until changes committed after the blow were judged within a second.",
            *([f"Proved by tests of their own instead: {', '.join(proved)}."] if proved else []),
            *([f"Not run: {', '.join(others)}."] if others else []),
            *self.left_out(),
        ]


def _why(one: Result) -> str:
    return "; ".join((*one.wrong(), *one.untried())) or "-"


def saved_drills(checkout: Path = ROOT) -> Drills:
    """All results of a checkout."""
    found: dict[tuple[str, int], Result] = {}
    unreadable = []
    for folder in FOLDERS:
        for path in sorted((checkout / folder).glob("F*-seed*.json")):
            try:
                one = read(path)
            except ConfigurationError:
                unreadable.append(f"{folder}/{path.name}")
            else:
                found[one.name, one.seed] = one
    return Drills(tuple(found[key] for key in sorted(found)), tuple(unreadable))


def markdown_lines(drills: Drills) -> list[str]:
    """The section of the page for people."""
    head = ["", "## Drills", ""]
    if not drills.results:
        said = f"No result lies in {listed(FOLDERS)}: `{MAKE_THEM}` makes them."
        return [*head, *map(escaped, drills.left_out()), said]
    notes: Sequence[str] = [f"- {escaped(note)}" for note in drills.notes()]
    return [*head, *table(COLUMNS, drills.rows()), "", *notes, "", *table(AGAIN, drills.again())]
