"""The table of planted bugs: what caught each, and after how many runs."""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from lab.surroundings import environment

MADE_BY = (
    "PLANTED_TABLE=docs/results/planted.md python -m pytest tests/unit/test_planted_defects.py "
    "tests/integration/test_planted_defects.py"
)
HEAD = """# Planted bugs: what caught each, and after how many runs

Made on {day} at commit {commit} by
`{made_by}`.

A check that has never failed proves nothing. Each bug is planted in one place, only within its test, and goes through
the same 20 seeds as the code as it is, which holds in all of them. *After* is the number of runs, seed by seed, until
the check failed; *in* the number of seeds of the 20 in which it does.
"""
TAIL = """
- *simulation*: the real agents in memory under a seeded scheduler of crashes, resends, zombies and a failing alert
  store; the clean one is `twinpath simulate`. *On PostgreSQL*: the same with the real alert store.
- *micro-batches*: the Spark stream's fold and its real alert store in PostgreSQL, each micro-batch run again after a
  kill behind its write.
- *verdict*: the goal of the report that is missed, for a batch job whose runs lie amid transactions that commit late.
  On real services the same is shown by `twinpath drill batch`.
- *live agent*: an agent on Kafka and PostgreSQL, begun anew.

Further defects, planted in one path of a whole run, turn the report's verdict to fail and are named by path and
transaction: `tests/unit/test_planted_verdicts.py`, `tests/integration/test_planted_evidence.py`.
"""
COLUMNS = ("bug", "planted as", "caught by", "the check that failed", "after", "in")


class Row(NamedTuple):
    """What came of one bug; `failed` tells of each run, in order, whether the check failed in it."""

    bug: str
    planted_as: str
    caught_by: str
    check: str
    failed: Sequence[bool]

    @property
    def after(self) -> int:
        """Runs until it was caught; 0 when it was not."""
        return self.failed.index(True) + 1 if any(self.failed) else 0

    def line(self) -> str:
        """As a row of Markdown."""
        after = f"{self.after} run{'s' if self.after > 1 else ''}" if self.after else "NOT CAUGHT"
        cells = (*self[:-1], after, f"{sum(self.failed)} of {len(self.failed)}")
        return f"| {' | '.join(cells)} |"


@dataclass
class Planted:
    """The rows of a session."""

    rows: list[Row] = field(default_factory=list)

    def note(self, row: Row) -> Row:
        """Keep a row."""
        self.rows.append(row)
        return row

    def write(self) -> None:
        """Into the file that PLANTED_TABLE names, when it does; rows of other sessions that it holds are kept."""
        if (target := os.environ.get("PLANTED_TABLE")) and self.rows:
            path = Path(target)
            path.write_text(text(self.rows, lines_of(path.read_text()) if path.exists() else ()))


def lines_of(page: str) -> list[str]:
    """The rows of a page as they stand."""
    return re.findall(r"^\| .* \|$", page, re.MULTILINE)[1:]


def text(rows: Iterable[Row], before: Iterable[str] = ()) -> str:
    """The page, after the rows of before."""
    lines = {tuple(line.split(" | ")[::2][:2]): line for line in before}
    lines |= {(f"| {row.bug}", row.caught_by): row.line() for row in rows}
    head = HEAD.format(day=datetime.now(tz=UTC).date(), commit=environment()["commit"], made_by=MADE_BY)
    table = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|", *sorted(lines.values(), key=str.lower)]
    return "\n".join([head, *table, TAIL])
