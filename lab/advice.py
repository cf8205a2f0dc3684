"""Batch or CDC for a load of yours: the measured model's answer in numbers, and in plain words (lab/advice_words.py).

Freshness is a promise: every row is judged at most so many seconds after its commit. A row that commits just after a
poll's snapshot waits for the interval and then for the run, so that polls must come freshness - run apart. A consumer
runs one poll after the other: the best that polls can promise is twice their run.
"""

import math
from typing import Literal

import msgspec

from lab.bench.result import shown
from lab.crossover import Load, Side, turning_consumers, turning_interval
from lab.experiments.crossover_result import Model, Range
from twinpath.errors import ConfigurationError

Verdict = Literal["sql", "batch", "cdc", "neither"]
MATTERS = 0.005
"""CPU seconds per second: below it on both sides, what PostgreSQL pays decides nothing."""
ONE_CORE = 1.0
"""What one slot can take at the most: a walsender is one process with one thread."""


class Question(msgspec.Struct, frozen=True):
    """A load: rows per second, rows in the table, seconds that a row may wait for its judgement, consumers."""

    rate: float
    rows: int
    freshness_s: float
    consumers: int

    def checked(self) -> "Question":
        """Itself; ConfigurationError when no load can be so."""
        wanted = {
            "--rate": (self.rate, "rows per second, more than 0 (one a minute is 0.0167)"),
            "--freshness": (self.freshness_s, "seconds, more than 0"),
        }
        for option, (value, what) in wanted.items():
            if not math.isfinite(value) or value <= 0:
                raise ConfigurationError(f"{option}: found {value:g}, wanted {what}")
        if self.rows < 0:
            raise ConfigurationError(f"--rows: found {self.rows}, wanted the rows of the table, 0 or more")
        if self.consumers < 1:
            raise ConfigurationError(f"--consumers: found {self.consumers}, wanted 1 or more that read the rows")
        return self


class Advice(msgspec.Struct, frozen=True):
    """The answer. `interval_s` is how far apart polls may be; when they cannot be this fresh (`reachable` false), it is
    that of polls back to back, and None when polls never catch up. `cpu_s_per_s` are PostgreSQL's costs at it.

    `turning_*`: from this interval (and the freshness that it gives) on, polls that lose nothing cost less than CDC;
    from this number of consumers on, CDC does. None: at none.
    """

    question: Question
    verdict: Verdict
    reachable: bool
    run_s: float | None
    interval_s: float | None
    best_freshness_s: float | None
    cpu_s_per_s: dict[Side, float]
    turning_interval_s: float | None
    turning_freshness_s: float | None
    turning_consumers: int | None
    beyond: tuple[str, ...]


def advise(question: Question, model: Model) -> Advice:
    """The model's answer; ConfigurationError for a question that makes no sense."""
    question.checked()
    run, per_s = model.run_s.once(question.rows, 0), model.run_s.per_row_returned * question.rate
    shortest = run / (1 - per_s) if per_s < 1 else None  # as long as its own run
    wanted = (question.freshness_s - run) / (1 + per_s)
    reachable = shortest is not None and wanted >= shortest
    interval = wanted if reachable else shortest
    load = Load(question.rate, question.rows, interval or 1.0, question.consumers)
    turning = turning_interval(model.fit.cdc, model.fit.safe, load)
    costs: dict[Side, float] = {"cdc": model.fit.cost("cdc", load)}
    if interval is not None:
        costs |= {"safe": model.fit.cost("safe", load), "naive_id": model.fit.cost("naive_id", load)}
    return Advice(
        question=question,
        verdict=_verdict(reachable, costs),
        reachable=reachable,
        run_s=None if interval is None else model.run_s.once(question.rows, question.rate * interval),
        interval_s=interval,
        best_freshness_s=None if shortest is None else 2 * shortest,
        cpu_s_per_s=costs,
        turning_interval_s=turning,
        turning_freshness_s=None if turning is None else turning + run + per_s * turning,
        turning_consumers=None if interval is None else turning_consumers(model.fit.cdc, model.fit.safe, load),
        beyond=tuple(_beyond(question, model, None if interval is None else question.rate * interval)),
    )


def _verdict(reachable: bool, costs: dict[Side, float]) -> Verdict:
    if not reachable:
        return "cdc" if costs["cdc"] < ONE_CORE else "neither"
    if max(costs["cdc"], costs["safe"]) < MATTERS:
        return "sql"
    return "cdc" if costs["cdc"] < costs["safe"] else "batch"


def _beyond(question: Question, model: Model, returned: float | None) -> list[str]:
    """What of the question lies outside of what was measured."""
    asked: list[tuple[str, float | None, Range]] = [
        ("rows/s", question.rate, model.rate),
        ("rows in the table", question.rows, model.rows),
        ("rows found by one poll", returned, model.returned),
    ]
    return [
        f"{shown(value)} {what} (measured {shown(measured.least)} to {shown(measured.most)})"
        for what, value, measured in asked
        if value is not None and not measured.least <= value <= measured.most
    ]
