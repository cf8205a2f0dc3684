"""What the experiments of a run folder add to its summary: PostgreSQL's bill, performance goals, claims, estimates."""

from pathlib import Path
from typing import Any

import msgspec

from lab.bench.result import Result
from lab.bench.statistics import Estimate
from lab.experiments import bill
from lab.report.experiment_claims import SENTENCES, claims
from lab.report.model import ExperimentFigures, Goal, Interval, PhaseCost
from lab.report.page import markdown
from lab.report.saved import SUMMARY, read_summary
from lab.report.saved_drills import markdown_lines, saved_drills
from lab.report.saved_experiments import Experiments, file_of, median_of, read_experiments, rounds_of
from lab.report.tables import escaped
from lab.report.words import UNKNOWN
from lab.runs import write_whole

PHASES = {bill.IDLE: "idle", bill.WRITERS: "writers", bill.AGENTS: "agent", bill.SHARED: "agent_shared_store"}
"""Names of phases in the summary; those of the batch job's modes are the names of their paths."""
WHOLE_FROM = 10_000
P8 = f"{bill.PART}: {bill.AGENTS} / {bill.MODES['safe']}, {bill.OVER}"


def add(folder: Path) -> None:
    """Put what the folder's experiments found into its summary.json and summary.md; done again, it changes nothing.

    What they had put there before is replaced; the verdict is that of correctness and stays.
    """
    read_summary(folder)
    path, found = folder / SUMMARY, read_experiments(folder)
    summary: dict[str, Any] = msgspec.json.decode(path.read_bytes())
    summary["goals"] = [one for one in summary["goals"] if not one.get("experiment")] + _plain(goals(found))
    others = [one for one in summary.get("claims", []) if one["claim"] not in SENTENCES]
    summary["claims"] = others + _plain(claims(found))
    for key, value in (("postgres_bill", postgres_bill(found)), ("experiments", figures(found))):
        summary.pop(key, None)
        if value:
            summary[key] = _plain(value)
    write_whole(path, msgspec.json.format(msgspec.json.encode(summary), indent=1).decode())
    judged = summary | {"goals": [one for one in summary["goals"] if one["ok"] is not None]}
    lines = [markdown(judged).rstrip("\n"), *_lines(summary), *markdown_lines(saved_drills()), ""]
    write_whole(folder / "summary.md", "\n".join(lines))


def _plain(value: object) -> Any:
    return msgspec.to_builtins(value)


def postgres_bill(found: Experiments) -> dict[str, PhaseCost]:
    """Medians over the rounds by phase; counts and CPU seconds are of the whole phase."""
    result = found.bill
    if result is None:
        return {}
    variants = dict.fromkeys(one.variant for one in result.rounds if one.part == bill.PART)
    return {phase_name(variant): _cost(result, variant) for variant in variants}


def phase_name(variant: str) -> str:
    """The name in the summary of a phase."""
    return PHASES.get(variant, variant.removeprefix("+ "))


def _cost(result: Result, variant: str) -> PhaseCost:
    def median(figure: str) -> float | None:
        return median_of(result, bill.PART, variant, figure)

    names = {
        "cpu_s": "postgres_cpu_s",
        "cpu_us_per_row": "postgres_cpu_us_per_row",
        "over_writers_us_per_row": bill.OVER,
    }
    count = sum((one.part, one.variant) == (bill.PART, variant) for one in result.rounds)
    fields = [name for name in PhaseCost.__struct_fields__ if name != "rounds"]
    return PhaseCost(**{name: median(names.get(name, name)) for name in fields}, rounds=count)


def goals(found: Experiments) -> list[Goal]:
    """Performance goals, judged by the worse end of the interval; P8 is not judged by a load that it does not mean."""
    every = []
    for name, result in found.present():
        ids = [one.id for one in result.goals]
        for number, one in enumerate(result.goals, 1):
            goal_id = one.id if ids.count(one.id) == 1 else f"{one.id}-{number}"
            target = f"{one.direction} {one.target:g} {one.unit}".strip()
            measured = _measured(one.measured, one.worse_end)
            text = f"{one.id} (performance): {one.text}"
            every.append(Goal(goal_id, "performance", text, target, measured, one.ok, experiment=file_of(name)))
    ratio = None if found.bill is None else found.bill.estimates.get(P8)
    if ratio is not None and not any(one.id == "P8" for one in every):
        text = (
            f"P8 (performance): PostgreSQL's CPU beside writing: {bill.AGENTS} / {bill.MODES['safe']}; not judged, as "
            f"P8 is about {bill.P8_RATE:,} rows/s, {bill.P8_ROWS:,} rows in the table and a look every "
            f"{bill.P8_INTERVAL_S:g} s"
        )
        measured = _measured(ratio, ratio.high)
        every.append(Goal("P8", "performance", text, "at most 0.5 x", measured, None, experiment=file_of("bill")))
    return every


def _measured(one: Estimate, worse: float) -> dict[str, float | int | str | None]:
    return {"median": one.median, "worse end": worse, "rounds": len(one.rounds)}


def figures(found: Experiments) -> dict[str, ExperimentFigures]:
    """How each was run, and its estimates."""
    return {
        name: ExperimentFigures(
            result.run_id,
            result.command,
            result.seed,
            rounds_of(result),
            sum(one.disturbed for one in result.rounds),
            {key: Interval(one.median, one.low, one.high) for key, one in result.estimates.items()},
            result.notes,
            result.not_publishable,
        )
        for name, result in found.present()
    }


def _lines(summary: dict[str, Any]) -> list[str]:
    """The experiments for people."""
    lines: list[str] = []
    if phases := summary.get("postgres_bill"):
        columns = [
            name for name in PhaseCost.__struct_fields__ if any(one[name] is not None for one in phases.values())
        ]
        lines += ["", "## What each side costs PostgreSQL", "", *_table(["phase", *columns], phases)]
    for name, one in summary.get("experiments", {}).items():
        lines += ["", f"## Experiment {name}", "", f"`{one['command']}`"]
        if one["estimates"]:
            lines += ["", *_table(["over the rounds", "median", "low", "high"], one["estimates"])]
        notes = [*one["notes"], *(f"not to be published: {reason}" for reason in one["not_publishable"])]
        lines += ["", *(f"- {escaped(note)}" for note in notes)]
    open_ = [one for one in summary["goals"] if one["ok"] is None]
    lines += ["", *(f"- {escaped(one['text'])}: median {one['measured'].get('median')}" for one in open_)]
    return lines if any(lines) else []


def _table(columns: list[str], rows: dict[str, dict[str, Any]]) -> list[str]:
    lines = [f"| {' | '.join(columns)} |", "|---|" + "---:|" * (len(columns) - 1)]
    for name, one in rows.items():
        cells = [UNKNOWN if one[key] is None else _number(one[key]) for key in columns[1:]]
        lines.append(f"| {' | '.join([escaped(name), *cells])} |")
    return lines


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= WHOLE_FROM else f"{value:.6g}"
