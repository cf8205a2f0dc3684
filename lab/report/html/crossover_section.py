"""The crossover: CPU that each side takes from PostgreSQL by the interval of the polls, as modelled and as measured."""

from math import isclose

import msgspec

from lab.bench.result import shown
from lab.crossover import SIDES, Fit, Load, Side, split, turning_consumers, turning_interval
from lab.experiments.crossover_result import CrossoverResult, Model
from lab.experiments.crossover_tables import CONSUMERS, TEMPERATURE
from lab.report.html.blocks import Chart, Section, Table, Text
from lab.report.html.lines import Axis, Look, Series, line_chart, look
from lab.report.html.notes import notes_of
from lab.report.html.svg import Point, around
from lab.report.words import UNKNOWN, duration, whole

NAMES: dict[Side, str] = {
    "cdc": "CDC",
    "safe": "polls that lose nothing (safe)",
    "naive_id": "polls by the key (naive-id), which lose late commits",
}
PATHS: dict[Side, str] = {"cdc": "agent", "safe": "spark_batch", "naive_id": "spark_batch_naive_id"}
USUAL_S = 10.0  # an interval at which the first screen tells of more consumers than one
LONGEST_S, LEAST_S = 600.0, 0.5  # of the axis of intervals, unless more is measured or turns later
TICKS = (
    (0.1, "0.1 s"),
    (1.0, "1 s"),
    (10.0, "10 s"),
    (60.0, "1 min"),
    (600.0, "10 min"),
    (3600.0, "1 h"),
    (36000.0, "10 h"),
)
INTERVALS = {"1 s": 1.0, "2 s": 2.0, "5 s": 5.0, "10 s": 10.0, "1 min": 60.0, "10 min": 600.0, "1 h": 3600.0}
SPOTS = 60  # of a line
NEAR = 0.25  # a point is drawn on a chart whose rate and rows it has within this share
TITLE = "PostgreSQL's CPU by the interval between two polls"
HOUR_S, HOURS_FROM = 3600, 7200


def crossover(result: CrossoverResult | None) -> Section | None:
    """The chart, the intervals at which the sides cost the same, and how far the model is off."""
    if result is None or result.model is None:
        return None
    model = result.model
    at = Load(max(result.options["rates"]), max(result.options["rows"]), 1.0)
    texts = [
        "CDC costs PostgreSQL a share of each row written and no more, whoever listens. A poll costs it something "
        "whatever it finds, for each row that it looks at and for each that it returns; each consumer polls for itself."
    ]
    floor = model.run_s.once(at.rows, at.rate)
    notes = [
        f"In a kept Spark session one look takes {duration(1000 * floor)} at {at.rows:,.0f} rows: no shorter interval "
        "can be kept, whatever the table says. Its last column: from how many consumers on CDC costs less than polls "
        "every second. The marks are measured points that the lines were not fitted to. Intervals, rates and sizes "
        "beyond those measured are the model's alone.",
        *notes_of(result),
    ]
    return Section(
        "crossover",
        "Crossover: which side costs PostgreSQL less",
        texts=[Text(texts)],
        charts=[_chart(result, model, at, floor)],
        tables=[_turns(result, model.fit), _errors(model.fit)],
        notes=notes,
    )


def answer(result: CrossoverResult | None, rate: float) -> str | None:
    """CDC or batch, in one sentence, for `rate` rows/s, or the measured rate nearest to it, into the largest table that
    was measured; None without a model."""
    if result is None or result.model is None:
        return None
    fit, rates = result.model.fit, result.options["rates"]
    at = Load(min(max(rate, min(rates)), max(rates)), max(result.options["rows"]), 1.0)
    turn = turning_interval(fit.cdc, fit.safe, at)
    floor_s = result.model.run_s.once(at.rows, at.rate)
    load = f"At {at.rate:,.0f} rows/s into {at.rows:,.0f} rows"
    if turn is None:
        return f"{load} CDC costs PostgreSQL less than loss-free polls at any interval."
    if turn <= floor_s:
        said = f"{load} loss-free polls cost PostgreSQL less than CDC at any interval that they can keep"
    else:
        said = (
            f"{load} CDC costs PostgreSQL less than loss-free polls that come more often than every {_interval(turn)}"
        )
    usual = max(USUAL_S, floor_s)
    consumers = turning_consumers(fit.cdc, fit.safe, msgspec.structs.replace(at, interval_s=usual))
    if usual > turn and consumers is not None and consumers > 1:
        said += (
            f"; with a poll every {_interval(usual)} for each consumer, CDC costs less from {consumers} consumers on"
        )
    return f"{said}."


def _chart(result: CrossoverResult, model: Model, at: Load, floor_s: float) -> Chart:
    turn = turning_interval(model.fit.cdc, model.fit.safe, at)
    longest = max(LONGEST_S, 2 * (turn or 0.0), *result.options["intervals_s"])
    low, high = min(LEAST_S, *result.options["intervals_s"]), min(longest, 36_000.0)
    spots = [low * (high / low) ** (place / (SPOTS - 1)) for place in range(SPOTS)]
    held_out = split(result.points)[1]
    series = []
    for side in SIDES:
        reach = [interval for interval in spots if side != "safe" or interval >= floor_s]
        points = [(interval, _ms(model.fit, side, at, interval)) for interval in reach]
        marks = [
            (one.load.interval_s, 1000 * one.cpu_s_per_s)
            for one in held_out
            if one.side == side != "cdc" and _near(one.load, at) and one.cpu_s_per_s > 0
        ]
        series.append(Series(NAMES[side], look(PATHS[side]), points, marks))
    if turn is not None and low <= turn <= high:
        equal: list[Point] = [(turn, _ms(model.fit, "cdc", at, turn))]
        series.append(Series(f"equal at {_interval(turn)}", Look("other", "circle"), [], equal))
    values = [value for one in series for _, value in (*one.points, *one.marks)]
    bottom, top = around(values)
    across = Axis(
        "interval between two polls (marks: measured)",
        low,
        high,
        str,
        log=True,
        ticks=[t for t in TICKS if low <= t[0] <= high],
    )
    upwards = Axis("CPU of PostgreSQL, ms per second", bottom, top, _tick, log=True)
    said = _said(model.fit, at, turn, (floor_s, model.run_s.once(0, at.rate)))
    wide, narrow = line_chart("crossover", TITLE, said, series, across, upwards)
    rows = [
        [name, *(shown(_ms(model.fit, side, at, interval)) for side in SIDES)] for name, interval in INTERVALS.items()
    ]
    caption = f"CPU of PostgreSQL, ms per second, at {at.rate:,.0f} rows/s and {at.rows:,.0f} rows, by the model"
    return Chart("crossover", TITLE, said, wide, narrow, Table(caption, ["interval", *SIDES], rows))


def _tick(value: float) -> str:
    return f"{value:,g}"


def _near(load: Load, at: Load) -> bool:
    return isclose(load.rate, at.rate, rel_tol=NEAR) and isclose(load.rows, at.rows, rel_tol=NEAR)


def _ms(fit: Fit, side: Side, at: Load, interval_s: float) -> float:
    return 1000 * fit.cost(side, msgspec.structs.replace(at, interval_s=interval_s))


def _said(fit: Fit, at: Load, turn: float | None, floor_s: tuple[float, float]) -> str:
    cost = shown(1000 * fit.cost("cdc", at))
    safe, key = _from(turn, floor_s[0]), _from(turning_interval(fit.cdc, fit.naive_id, at), floor_s[1])
    return (
        f"At {at.rate:,.0f} rows/s into {at.rows:,.0f} rows CDC takes {cost} ms of PostgreSQL's CPU per second at any "
        f"freshness; one consumer's polls that lose nothing cost less {safe}, polls by the key {key}; from points that "
        f"it was not fitted to, the model is off by {_off(fit)}."
    )


def _from(turn: float | None, floor_s: float) -> str:
    if turn is None:
        return "at no interval"
    if turn <= floor_s:
        return "at any interval that can be kept"
    return f"from an interval of {_interval(turn)} on"


def _off(fit: Fit) -> str:
    found = {side: fit.errors[side] for side in SIDES if fit.errors[side].median is not None}
    return (
        ", ".join(f"{one.median:.0%} ({side}, n = {one.points})" for side, one in found.items()) or "an unknown amount"
    )


def _interval(seconds: float) -> str:
    return f"{seconds / HOUR_S:,.0f} h" if seconds >= HOURS_FROM else duration(1000 * seconds)


def _turns(result: CrossoverResult, fit: Fit) -> Table:
    """For each measured rate and size, and for the small case."""
    heads = [f"{count} consumer{'s' if count > 1 else ''}" for count in CONSUMERS]
    loads = [
        Load(rate, rows, 1.0) for rate in sorted(result.options["rates"]) for rows in sorted(result.options["rows"])
    ]
    rows = []
    for load in [*loads, TEMPERATURE]:
        turns = [turning_interval(fit.cdc, fit.safe, msgspec.structs.replace(load, consumers=n)) for n in CONSUMERS]
        from_ = turning_consumers(fit.cdc, fit.safe, msgspec.structs.replace(load, interval_s=1.0))
        name = f"{load.rate:,g} rows/s" if load.rate >= 1 else "1 row a minute"
        name = name.replace(" ", "\N{NO-BREAK SPACE}")
        cells = ["at none" if turn is None else _interval(turn) for turn in turns]
        rows.append([name, whole(load.rows), *cells, UNKNOWN if from_ is None else whole(from_)])
    caption = "From this interval on polls that lose nothing cost less than CDC"
    return Table(caption, ["written", "rows in the table", *heads, "at 1 s CDC from"], rows)


def _errors(fit: Fit) -> Table:
    """How far the model is from what it was not fitted to."""
    rows = []
    for side in SIDES:
        one = fit.errors[side]
        shares = [UNKNOWN if value is None else f"{value:.0%}" for value in (one.median, one.worst)]
        rows.append([NAMES[side], whole(one.points), *shares])
    return Table("The model against points held out of the fit", ["", "points", "median error", "worst"], rows)
