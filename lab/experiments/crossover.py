"""`twinpath experiment crossover`: from which rate, interval, table size and number of consumers CDC costs less.

The grid is measured, a model of a few costs is fitted to it and held against points that it was not fitted to
(lab/crossover.py). `twinpath advise` answers from the result. In the parts: `cdc` the cost of our connector by rate,
`polls` that of one poll by table size and new rows, `schedule` polls by the clock while rows are written, `cold` one
run by spark-submit.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lab.batch_runs import job_environment, submit, warm_session
from lab.bench import cpu
from lab.bench.bed import Bed
from lab.bench.result import Figure, Result, shown
from lab.bench.second import Second, second_server
from lab.bench.statistics import estimate
from lab.crossover import SIDES, Point, durations, fit
from lab.experiments import capture_cost, crossover_tables, fine_cpu, poll_cost, polled_table
from lab.experiments.crossover_result import CrossoverResult, Model, Need, Range
from lab.experiments.poll_cost import Source
from lab.stack.stack import Stack

PARTS = ("cdc", "polls", "schedule", "cold")
RATES = (100, 500, 2_000)
INTERVALS_S = (1.0, 10.0)
ROWS = (10_000, 100_000, 1_000_000)
SCHEDULED_TIMES = 2  # as many polls as of each load


class Grid(NamedTuple):
    """What is measured: rows per second, seconds between polls, rows in the table; seconds of each phase of writing,
    and polls of each load."""

    rates: tuple[int, ...] = RATES
    intervals_s: tuple[float, ...] = INTERVALS_S
    rows: tuple[int, ...] = ROWS
    seconds: int = 5
    polls: int = 3


def measure(
    stack: Stack,
    *,
    rounds: int,
    grid: Grid,
    parts: tuple[str, ...],
    seed: int,
    command: str,
    run: tuple[str, Path] | None = None,
) -> tuple[Result, str, Path]:
    """Run the experiment, in the folder of `run` (id, folder) if one is given; the result, Markdown, JSON's path."""
    bed = Bed(stack, run)
    options = {"rounds": rounds, "parts": parts, **grid._asdict()}
    result = CrossoverResult("crossover", bed.run_id, command, seed, options, kind="experiment")
    result.variants = {
        "safe": "--mode safe --read plain --rules spending",
        "naive-id": "--mode naive-id --read plain --rules spending",
    }
    with second_server(stack) as second:
        runs = _Runs(bed, result, grid, second)
        with runs.ready(parts):
            for number in range(1, rounds + 1):
                for part in parts if number % 2 else parts[::-1]:
                    runs.part(part, number)
    judge(result)
    path = result.finish(bed.folder, private=bed.private, warm=True)
    return result, result.markdown(crossover_tables.tables(result)), path


class _Runs:
    """The measured parts, in any order; the table is filled when a part asks for it."""

    def __init__(self, bed: Bed, result: CrossoverResult, grid: Grid, second: Second) -> None:
        self._bed = bed
        self._result = result
        self._grid = grid
        self._second = second
        self._server = fine_cpu.server(bed)
        self._source: Source | None = None
        self._environment: dict[str, str] = {}

    @contextmanager
    def ready(self, parts: Sequence[str]) -> Iterator[None]:
        """A table and a kept Spark session for the block, when a part polls."""
        with ExitStack() as stack:
            if set(parts) - {"cdc"}:
                segment = stack.enter_context(polled_table.store_apart(self._bed, self._second))
                self._environment = job_environment(segment.settings, segment.stack.credentials)
                log = self._bed.folder / "session.log"
                session = stack.enter_context(warm_session(self._environment, log))
                table = polled_table.Table(segment)
                stack.callback(table.close)
                self._result.limits["seconds to open a session"] = session.ready()
                self._source = Source(self._bed, segment, table, polled_table.Poller(session), self._server)
                self._grown(min(self._grid.rows))
                for _ in range(2):
                    for mode in polled_table.MODES:
                        table.add(1)
                        self._source.poller.poll(mode)
                self._result.warm_up["polls"] = "three runs of each mode; at each size of the table one more"
            yield

    def part(self, name: str, number: int) -> None:
        """One part of one round."""
        {"cdc": self._cdc, "polls": self._polls, "schedule": self._scheduled, "cold": self._cold}[name](number)

    def _cdc(self, number: int) -> None:
        """Waiting comes last, when Java has compiled."""
        rates = self._grid.rates if number % 2 else self._grid.rates[::-1]
        seed = self._result.seed + number
        pairs = []
        for rate in (*rates, capture_cost.IDLE):
            pairs.append(capture_cost.measured(self._bed, self._server, rate, self._grid.seconds, number, seed))
            self._bed.progress.say(f"cdc, round {number}, {capture_cost.group(rate)}: measured")
        for found in capture_cost.compared(sorted(pairs)):
            self._keep("cdc", number, *found)
        self._result.needs = {
            name: Need(used, self._result.values("cdc", capture_cost.group(capture_cost.IDLE), f"{name}_cpu_ms_per_s"))
            for name, used in capture_cost.memory_mb(self._bed).items()
        }

    def _polls(self, number: int) -> None:
        """Each size from a small table to a large one, which is how a table grows."""
        source = self._ready()
        source.table.empty()
        polled_table.empty_store(self._second, source.segment)
        loads = [(mode, rate, interval_s) for mode in polled_table.MODES for rate, interval_s in self._loads()]
        for rows in sorted(self._grid.rows):
            self._grown(rows)
            for mode, rate, interval_s in loads if number % 2 else loads[::-1]:
                self._keep("polls", number, *poll_cost.single(source, mode, rate, interval_s, self._grid.polls))

    def _loads(self) -> list[tuple[int, float]]:
        """The fewest new rows, and the highest rate at each interval: a poll sees of both only their product."""
        least = (min(self._grid.rates), min(self._grid.intervals_s))
        return [least, *((max(self._grid.rates), one) for one in self._grid.intervals_s)]

    def _scheduled(self, number: int) -> None:
        self._grown(max(self._grid.rows))
        # few rows, so that what is subtracted for writing them does not hide what polls cost
        rate, interval_s = min(self._grid.rates), min(self._grid.intervals_s)
        seed = self._result.seed + number
        polls = SCHEDULED_TIMES * self._grid.polls
        scheduled = poll_cost.Scheduled(self._ready(), rate, interval_s, polls, seed)
        for mode in polled_table.MODES if number % 2 else polled_table.MODES[::-1]:
            self._keep("schedule", number, *scheduled.run(mode))

    def _cold(self, number: int) -> None:
        self._grown(max(self._grid.rows))
        with self._bed.metered({"spark": cpu.ended}) as usage:
            summary = submit(self._environment, self._bed.folder, ["--mode", "safe", *polled_table.READ])
        seconds = summary["seconds"]["whole"]
        self._result.add("cold", "safe", number, {"whole_s": seconds, "start_s": summary["seconds"]["start"]}, usage)
        self._bed.progress.say(f"cold, round {number}: {seconds:.1f} s by spark-submit")

    def _ready(self) -> Source:
        assert self._source is not None  # noqa: S101  every part but cdc makes it ready
        return self._source

    def _grown(self, rows: int) -> None:
        """The table at this size at least, every row of it judged by both modes."""
        source = self._ready()
        if source.table.rows >= rows:
            return
        with self._bed.progress.step(f"{rows:,} rows") as step:
            source.table.grow(rows, self._result.seed)
            for mode in polled_table.MODES:
                source.poller.poll(mode)
            step.done = "written and judged"

    def _keep(self, part: str, number: int, point: Point, figures: dict[str, Figure], usage: cpu.Usage) -> None:
        self._result.points.append(point)
        self._result.add(part, point.group, number, figures, usage)
        mark = " (disturbed)" if usage.disturbed else ""
        cost = shown(point.cpu_s_per_s * 1e3)
        self._bed.progress.say(f"{part}, round {number}, {point.group}: {cost} ms of CPU per second{mark}")


def judge(result: CrossoverResult) -> None:
    """Fit the model to all rounds, and each cost to each round alone for its interval."""
    try:
        found = fit(result.points)
    except ValueError as error:
        result.notes.append(f"no model: {error}")
        return
    polls = [one for one in result.rounds if one.part == "polls"]
    runs = {
        mode: durations([_duration(one.figures) for one in polls if one.variant.startswith(f"{mode},")])
        for mode in polled_table.MODES
    }
    cold = result.values("cold", "safe", "whole_s")
    intervals_s = result.options["intervals_s"]
    result.model = Model(
        found,
        run_s=runs["safe"],
        cold_s=float(np.median(cold)) if cold else None,
        rate=Range(0, max(result.options["rates"])),
        rows=_range(result.options["rows"]),
        returned=_range([rate * interval_s for rate in result.options["rates"] for interval_s in intervals_s]),
    )
    _estimate_by_round(result)


def _duration(figures: dict[str, Figure]) -> tuple[float, float, float]:
    rows, returned, seconds = (
        float(figures[name] or 0) for name in ("rows_in_table", "rows_returned_per_poll", "run_s")
    )
    return rows, returned, seconds


def _range(values: Sequence[float]) -> Range:
    return Range(min(values), max(values))


def _estimate_by_round(result: CrossoverResult) -> None:
    """The spread of each cost over the rounds; a round is what lies between two first points of the same group."""
    rounds: list[list[Point]] = []
    for point in result.points:
        if not rounds or any((one.side, one.group) == (point.side, point.group) for one in rounds[-1]):
            rounds.append([])
        rounds[-1].append(point)
    try:
        fits = [fit(one) for one in rounds]
    except ValueError:
        return
    for side in SIDES:
        for name in getattr(fits[0], side).__struct_fields__:
            values = [1e6 * float(getattr(getattr(one, side), name)) for one in fits]
            result.estimates[f"{side}: {name}, CPU us"] = estimate(values, result.seed)
