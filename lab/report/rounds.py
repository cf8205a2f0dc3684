"""The rounds of a comparison: its main run again with other seeds, each a whole run in a folder of its own.

A figure of one run is an anecdote, and the equality of paths under one seed might be that seed's.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from lab.bench.statistics import Estimate, estimate
from lab.report.model import Goal, RoundFigures, Summary
from lab.report.saved import SUMMARY, read_summary
from lab.runs import write_whole

FOLDER = "rounds"
GOAL = "rounds"


def folder_of(folder: Path, number: int) -> Path:
    """Where a round lies: the first is the run itself."""
    return folder if number == 1 else folder / FOLDER / str(number)


def add_rounds(folder: Path) -> None:
    """Put the rounds that lie in a run folder into its summary.json: figures, a goal, the verdict of them all.

    Nothing is put where there is one round alone; done again, it changes nothing.
    """
    first = read_summary(folder)
    places = (folder_of(folder, int(path.parent.name)) for path in folder.glob(f"{FOLDER}/*/{SUMMARY}"))
    others = sorted((int(place.name), read_summary(place)) for place in places)
    if not others:
        return
    every = [_figures(number, summary) for number, summary in [(1, first), *others]]
    path = folder / SUMMARY
    summary: dict[str, Any] = msgspec.json.decode(path.read_bytes())
    summary["rounds"] = msgspec.to_builtins(every)
    place = sum(one["kind"] == "correctness" for one in summary["goals"] if one["id"] != GOAL)
    summary["goals"] = [one for one in summary["goals"] if one["id"] != GOAL]
    summary["goals"].insert(place, msgspec.to_builtins(_goal(every)))
    of_correctness = [one["ok"] for one in summary["goals"] if one["kind"] == "correctness"]
    summary["verdict"] = "pass" if all(of_correctness) else "fail"
    write_whole(path, msgspec.json.format(msgspec.json.encode(summary), indent=1).decode())


def _figures(number: int, summary: Summary) -> RoundFigures:
    return RoundFigures(
        number=number,
        run_id=summary.run_id,
        seed=summary.seed,
        verdict=all(one.ok for one in summary.goals if one.kind == "correctness" and one.id != GOAL),
        rows_inserted=summary.workload.rows_inserted,
        alerts=summary.agreement.reference_alerts,
        missing={path: one.missing for path, one in summary.paths.items()},
        extra={path: one.extra for path, one in summary.paths.items()},
        unexplained={path: one.unexplained for path, one in summary.paths.items()},
        p50_ms={path: one.undisturbed.p50 for path, one in summary.paths.items()},
        p90_ms={path: one.undisturbed.p90 for path, one in summary.paths.items()},
    )


def _goal(every: Sequence[RoundFigures]) -> Goal:
    unexplained = sum(sum(one.unexplained.values()) for one in every)
    failed = sum(not one.verdict for one in every)
    text = f"every goal of correctness in each of {len(every)} rounds, each with a seed of its own"
    return Goal(
        GOAL, "correctness", text, 0, {"rounds that missed one": failed, "unexplained": unexplained}, not failed
    )


def over_rounds(rounds: Sequence[RoundFigures], path: str, figure: str, seed: int) -> Estimate | None:
    """The median of `p50_ms` or `p90_ms` of a path over the rounds, and its interval; None when a round lacks it."""
    values = [getattr(one, figure).get(path) for one in rounds]
    return None if not values or None in values else estimate([float(one) for one in values if one is not None], seed)


def ratio_to(rounds: Sequence[RoundFigures], path: str, base: str, seed: int) -> Estimate | None:
    """The p50 of `path` as a multiple of that of `base`, paired by round."""
    pairs = [(one.p50_ms.get(path), one.p50_ms.get(base)) for one in rounds]
    values = [above / below for above, below in pairs if above is not None and below]
    return estimate(values, seed) if values and len(values) == len(pairs) else None
