"""What a bench found: its rounds as they were, estimates over the rounds, goals, and where and how it ran.

Written as runs/<id>/<kind>-<name>.json (stable keys), kind bench or experiment, and shown as Markdown tables.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from lab.bench.cpu import Usage
from lab.bench.goals import Goal
from lab.bench.machine import conditions, machine
from lab.bench.statistics import Estimate, estimate, ratios

SCHEMA_VERSION = 1
LEAST_ROUNDS = 5
WARM_S = 60.0
WARM_EVENTS = 1_000_000
Figure = float | int | None


class Round(msgspec.Struct):
    """One variant in one round: `figures` have their units in their names; `usage` is what the machine gave."""

    part: str
    variant: str
    number: int
    figures: dict[str, Figure]
    usage: Usage
    disturbed: bool = False

    def __post_init__(self) -> None:
        self.disturbed = self.usage.disturbed


class Result(msgspec.Struct):
    """Everything that a bench leaves; `variants` says of each variant what it is and what it sets otherwise."""

    bench: str
    run_id: str
    command: str
    seed: int
    options: dict[str, Any]
    kind: str = "bench"
    schema_version: int = SCHEMA_VERSION
    warm_up: dict[str, str] = msgspec.field(default_factory=dict)
    variants: dict[str, Any] = msgspec.field(default_factory=dict)
    limits: dict[str, Any] = msgspec.field(default_factory=dict)
    rounds: list[Round] = msgspec.field(default_factory=list)
    estimates: dict[str, Estimate] = msgspec.field(default_factory=dict)
    goals: list[Goal] = msgspec.field(default_factory=list)
    notes: list[str] = msgspec.field(default_factory=list)
    not_publishable: list[str] = msgspec.field(default_factory=list)
    machine: dict[str, Any] = msgspec.field(default_factory=machine)
    began: dict[str, Any] = msgspec.field(default_factory=conditions)
    ended: dict[str, Any] = msgspec.field(default_factory=dict)

    def add(self, part: str, variant: str, number: int, figures: Mapping[str, Figure], usage: Usage) -> None:
        """Keep one measured round."""
        self.rounds.append(Round(part, variant, number, dict(figures), usage))

    def has(self, part: str, *variants: str) -> bool:
        """True when each of these variants was measured."""
        found = {one.variant for one in self.rounds if one.part == part}
        return bool(found) and set(variants) <= found

    def values(self, part: str, variant: str, figure: str) -> list[float]:
        """A figure of one variant in order of the rounds; [] when a round lacks it (too few samples)."""
        ours = [one for one in self.rounds if (one.part, one.variant) == (part, variant)]
        found = [one.figures.get(figure) for one in sorted(ours, key=lambda one: one.number)]
        return [] if None in found else [float(one) for one in found if one is not None]

    def estimated(self, part: str, variant: str, figure: str) -> Estimate | None:
        """The estimate of a figure over the rounds, kept in the result; None when there is none."""
        values = self.values(part, variant, figure)
        return self.kept(f"{part}: {variant} {figure}", values) if values else None

    def ratio(self, part: str, figure: str, above: str, below: str) -> Estimate | None:
        """The estimate of above / below, paired by round."""
        one, other = self.values(part, above, figure), self.values(part, below, figure)
        if not one or not other or 0.0 in other:
            return None
        return self.kept(f"{part}: {above} / {below}, {figure}", ratios(one, other))

    def kept(self, name: str, values: Sequence[float]) -> Estimate:
        """The estimate of values that were computed round by round, kept in the result."""
        self.estimates[name] = estimate(values, self.seed)
        return self.estimates[name]

    def finish(self, folder: Path, *, private: bool, warm: bool) -> Path:
        """Say what keeps the figures from being published, and write the JSON."""
        self.ended = conditions()
        counts = {(one.part, one.variant): 0 for one in self.rounds}
        for one in self.rounds:
            counts[one.part, one.variant] += 1
        few = sorted({part for (part, _), count in counts.items() if count < LEAST_ROUNDS})
        disturbed = sum(one.disturbed for one in self.rounds)
        if few:
            self.not_publishable.append(f"fewer than {LEAST_ROUNDS} rounds: {', '.join(few)}")
        if disturbed:
            self.not_publishable.append(f"{disturbed} of {len(self.rounds)} rounds disturbed by foreign processes")
        if not warm:
            self.not_publishable.append(f"warmed up for less than {WARM_S:.0f} s or {WARM_EVENTS:,} events")
        if not private:
            self.not_publishable.append("measured on a stack that serves others too")
        path = folder / f"{self.kind}-{self.bench}.json"
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1))
        return path

    def table(self, part: str, columns: Mapping[str, str]) -> list[str]:
        """One row for each variant of a part, in order of appearance; each cell the median over its rounds."""
        names = list(dict.fromkeys(one.variant for one in self.rounds if one.part == part))
        lines = [f"| {part} | rounds | {' | '.join(columns)} |", "|---|---:|" + "---:|" * len(columns)]
        for name in names:
            count = sum((one.part, one.variant) == (part, name) for one in self.rounds)
            cells = []
            for figure in columns.values():
                values = self.values(part, name, figure)
                cells.append(shown(float(np.median(values))) if values else "-")
            lines.append(f"| {name} | {count} | {' | '.join(cells)} |")
        return ["", *lines] if names else []

    def markdown(self, tables: Sequence[str]) -> str:
        """The whole result for people: tables, ratios, goals, and what to know of the run."""
        lines = [f"# {self.kind} {self.bench} {self.run_id}", "", f"`{self.command}`", *tables]
        if self.estimates:
            lines += ["", "| over the rounds | median | 95 % interval |", "|---|---:|---:|"]
            for name, found in self.estimates.items():
                lines.append(f"| {name} | {shown(found.median)} | {shown(found.low)} to {shown(found.high)} |")
        if self.goals:
            lines += ["", "| | goal | wanted | median | worse end |", "|---|---|---|---:|---:|"]
            for goal in self.goals:
                verdict = "met" if goal.ok else f"MISSED by {goal.short_by:.0%}"
                wanted = f"{goal.direction} {goal.target:g} {goal.unit}".strip()
                worse, median = shown(goal.worse_end), shown(goal.measured.median)
                lines.append(f"| {verdict} | {goal.id} {goal.text} | {wanted} | {median} | {worse} |")
        lines += ["", *(f"- {note}" for note in self.notes)]
        lines += [f"- warm-up dropped, {name}: {text}" for name, text in self.warm_up.items()]
        lines += [f"- not to be published: {reason}" for reason in self.not_publishable]
        return "\n".join([*lines, ""])


def shown(value: float) -> str:
    """A number for a table: three significant digits, whole from 1,000 on."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"  # noqa: PLR2004


def flat(name: str, found: Mapping[str, Figure]) -> dict[str, Figure]:
    """Percentiles as figures of a round: `latency_ms` becomes `latency_ms_p50` and so on."""
    return {f"{name}_{key}": value for key, value in found.items()}


def per_event(usage: Usage, events: int) -> dict[str, Figure]:
    """CPU microseconds per event of each part."""
    return {f"{part}_cpu_us_per_event": round(used * 1e6 / max(events, 1), 2) for part, used in usage.cpu_s.items()}
