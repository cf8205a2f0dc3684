"""The table of the matrix: a row for each fault, over all its seeds; and the page docs/results/drills.md."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from lab.drills.matrix.registry import MATRIX, Drill
from lab.drills.matrix.result import Result, read_all

COLUMNS = (
    "fault", "what", "seeds", "rows committed", "of these in the fault", "delivered", "delivered twice",
    "suppressed", "lost", "extra", "recovery s p50/max", "commit p99 ratio", "verdict",
)  # fmt: skip
HEAD = """# Drills: the fault matrix

Written by `twinpath drill table --into docs/results/drills`.

Each row is one fault on the real services: a line of its own (database, slot, topic,
agents, alert store) is written to by eight connections with interleaved, rolled-back, held and savepoint transactions,
COPY, multi-row VALUES, updates and deletes; the fault strikes at seeded moments; after the fence every agent is held
against `replay()` of the topic and `replay()` of the operation log in the order of PostgreSQL's COMMIT records.
"""
LEGEND = """
- *Rows committed*: inserts, updates and deletes; *in the fault*: from the first blow until the line was fresh again
  after the last one. A run with fewer than 1,000 of these, or whose fault did not act, is invalid, not passed.
- *Delivered* are changes in the topic, *delivered twice* those of them that came again at the same position.
- *Suppressed*: records that the agents dropped by position, and alerts that were stored already when they came again.
- *Lost*, *extra*: changes and alerts against both replays. The state, history and counters of each user are
  compared, too.
- *Recovery*: from the blow, or from the end of what was held, until changes committed afterwards were judged by each
  agent within a second.
- *Commit p99 ratio*: of the writers' commits in the fault to those before. It comes from a few hundred commits on a
  machine that PostgreSQL, Kafka, Connect, agents and writers share; it is shown, not judged.
- F32 has no fault of its own: it draws from ten kinds, 20 to 40 s apart, some of them while the line still recovers
  from the one before. *Recovery* is that of the blows that struck a line at rest. What its fences found stands below.
- `-`: not measured. A fault that leaves the line broken has nothing to compare: it must be named by `twinpath doctor`
  within 30 s.
"""


def row(drill: Drill, results: Sequence[Result]) -> list[str]:
    """The cells of one fault."""
    if not results:
        named = ", ".join(f"`{one}`" for one in drill.proved_by)
        verdict = f"proved by {named}" if named else "not run"
        return [drill.name, drill.title, *["-"] * (len(COLUMNS) - 3), verdict]
    found = [one.found for one in results if one.found is not None]
    recoveries = [seconds for one in results for seconds in one.recoveries_s]
    ratios = [one.commit_p99_ratio for one in results if one.commit_p99_ratio is not None]
    compared = (
        [
            str(sum(one.changes_delivered for one in found)),
            str(sum(one.delivered_twice for one in found)),
            f"{sum(one.dropped for one in results)} records, {sum(one.refused for one in results)} alerts",
            str(sum(one.lost for one in found)),
            str(sum(one.extra for one in found)),
        ]
        if found
        else ["-"] * 5
    )
    return [
        drill.name,
        drill.title,
        ", ".join(str(one.seed) for one in results),
        str(sum(one.rows for one in results)),
        str(sum(one.rows_in_fault for one in results)),
        *compared,
        f"{statistics.median(recoveries):.1f} / {max(recoveries):.1f}" if recoveries else "-",
        f"{statistics.median(ratios):.2f}" if ratios else "-",
        verdict_of(results),
    ]


def verdict_of(results: Sequence[Result]) -> str:
    """passed when every seed is; else each verdict with its seeds."""
    seeds: dict[str, list[str]] = {}
    for one in results:
        seeds.setdefault(one.verdict, []).append(str(one.seed))
    if set(seeds) == {"passed"}:
        return "passed"
    return ", ".join(f"{name} (seed {', '.join(those)})" for name, those in sorted(seeds.items()))


def table(results: Sequence[Result], *, whole: bool) -> str:
    """A Markdown table of the faults that were run; the `whole` matrix has the others, too."""
    rows = []
    for drill in MATRIX:
        ours = [one for one in results if one.name == drill.name]
        if ours or whole:
            rows.append(row(drill, ours))
    lines = [COLUMNS, ["---"] * len(COLUMNS), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def page(folder: Path) -> str:
    """The whole page of a folder of results."""
    results = read_all(folder)
    parts = [HEAD, table(results, whole=True), LEGEND, "## To run one again\n"]
    titles = {one.name: one for one in MATRIX}
    for one in results:
        reasons = "".join(f"\n  - {one.verdict}: {why}" for why in (*one.wrong(), *one.untried()))
        parts.append(f"- `{one.command}` ({titles[one.name].expected}): {one.verdict}{reasons}")
    checks = [(one, check) for one in results for check in one.checks]
    parts.append("\n## What was checked beside equality\n")
    for one, check in checks:
        held = "holds" if check.held else "does not hold"
        parts.append(f"- {one.name}, seed {one.seed}, {check.invariant} {held}: {check.what}: {check.evidence}")
    commits = sorted({str(one.environment.get("commit", "unknown")) for one in results})
    parts.append(f"\nMade at commit {', '.join(commits)}." if results else "")
    return "\n".join(parts) + "\n"
