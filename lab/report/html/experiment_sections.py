"""Sections on the experiments of a run folder: what each side costs PostgreSQL, one more consumer, the small case."""

from collections.abc import Mapping

from lab.bench.result import Result, shown
from lab.bench.statistics import Estimate
from lab.experiments import bill, consumers
from lab.report.experiment_claims import CPU, STATEMENTS, slope_of
from lab.report.html.blocks import Chart, Section, Table
from lab.report.html.cost_bars import Bar, bar_chart
from lab.report.html.crossover_section import crossover
from lab.report.html.lines import Axis, Look, Series, line_chart, look
from lab.report.html.notes import notes_of
from lab.report.html.one_row_section import one_row
from lab.report.html.staleness_section import by_interval
from lab.report.saved_experiments import Experiments, median_of, over_rounds, rounds_said, spread
from lab.report.words import UNKNOWN, listed, whole

SIDES = {"agents": "agent", "polling": "spark_batch"}
HEADROOM = 1.1  # above the highest value of a chart
LONG = {"slots": "replication slots", "walsenders": "walsenders", "connections": "connections at a time"}
LONG |= {STATEMENTS: "statements, for 1,000 rows", CPU: "PostgreSQL's CPU, µs a row"}
LONG |= {
    "sessions_per_1000_rows": "sessions opened, for 1,000 rows",
    "rows_returned_per_1000_rows": "rows sent, for 1,000 rows",
}


def by_name(found: Experiments) -> dict[str, Section | None]:
    """Each section by what it is called when it was not measured."""
    return {
        "lateness of each side alone, by the interval of the batch job": by_interval(found.staleness),
        "what each side costs PostgreSQL": costs(found.bill),
        "the price of the n-th consumer": consumer_price(found.consumers),
        "crossover (from which load on which side is cheaper)": crossover(found.crossover),
        "one row a minute by CDC": one_row(found.temperature),
    }


def costs(result: Result | None) -> Section | None:
    """The bill by phase."""
    if result is None:
        return None
    found = {name: over_rounds(result, bill.PART, name, bill.OVER) for name in bill.PHASES.values()}
    known = {name: one for name, one in found.items() if one is not None}
    if not known:
        return None
    title = "PostgreSQL's CPU for reading, beside what writing costs it"
    base = median_of(result, bill.PART, bill.WRITERS, CPU)
    read = [f"{spread(one, 'µs')} more {_by(name)}" for name, one in known.items()]
    said = (
        f"Writing a row costs PostgreSQL {_micro(base)}; reading it costs {listed(read)}, at "
        f"{result.options['rate']:,} rows/s and a look every {result.options['interval_s']:g} s in a table of "
        f"{result.options['rows']:,} rows ({rounds_said(result)})."
    )
    bars = [
        Bar(f"{name.removeprefix('+ ')}: {spread(one, 'µs')}", _look(name), one, hollow=name == bill.SHARED)
        for name, one in known.items()
    ]
    wide, narrow = bar_chart("postgres-bill", title, said, bars, "µs of CPU a row, over the writers alone")
    rounds = max(len(one.rounds) for one in known.values())
    rows = [
        [name.removeprefix("+ "), *map(shown, one.rounds), *[UNKNOWN] * (rounds - len(one.rounds))]
        for name, one in known.items()
    ]
    table = Table(title, ["µs a row over the writers", *(f"round {n}" for n in range(1, rounds + 1))], rows)
    chart = Chart("postgres-bill", title, said, wide, narrow, table)
    tables = [
        _phases(result, "PostgreSQL's CPU by phase, and looks of the polling jobs; medians over the rounds", COSTS),
        _phases(result, "What it did for 1,000 rows written", COUNTED),
    ]
    return Section("bill", "What each side costs PostgreSQL", charts=[chart], tables=tables, notes=[
        "Dots are rounds, the line through them is the 95 % interval of the median. A phase ends when its last row was "
        "judged. A look that takes longer than the interval passes over the next ones: its rows are judged later than "
        "the interval says. CPU and WAL are of the server, the rest of the source database; alert stores are on a "
        "second server, but in the last phase.",
        *notes_of(result),
    ])  # fmt: skip


def _by(name: str) -> str:
    names = {bill.AGENTS: "by the agents", bill.SHARED: "by agents whose alerts go to the same server"}
    return names.get(name, f"by {name.removeprefix('+ ')}")


def _look(name: str) -> Look:
    return look("agent") if name in {bill.AGENTS, bill.SHARED} else look(name.removeprefix("+ "))


def _micro(value: float | None) -> str:
    return UNKNOWN if value is None else f"{shown(value)} µs"


COSTS = {
    "CPU s": "postgres_cpu_s",
    "µs/row": CPU,
    "over the writers": bill.OVER,
    "connections": "connections",
    "looks": "polls",
    "s a look": "poll_seconds_p50",
    "rows missed": "missed_rows",
}
COUNTED = {
    "statements": STATEMENTS,
    "rows sent": "rows_returned_per_1000_rows",
    "rows scanned": "rows_scanned_per_1000_rows",
    "blocks read": "blocks_read_per_1000_rows",
    "blocks hit": "blocks_hit_per_1000_rows",
    "WAL bytes": "wal_bytes_per_1000_rows",
}


def _phases(result: Result, caption: str, columns: Mapping[str, str]) -> Table:
    """Medians of each phase."""
    variants = list(dict.fromkeys(one.variant for one in result.rounds if one.part == bill.PART))
    rows = [
        [name.removeprefix("+ "), *(_cell(result, bill.PART, name, figure) for figure in columns.values())]
        for name in variants
    ]
    return Table(caption, ["phase", *columns], rows)


def _cell(result: Result, part: str, variant: str, figure: str) -> str:
    value = median_of(result, part, variant, figure)
    return UNKNOWN if value is None else shown(value)


def consumer_price(result: Result | None) -> Section | None:
    """One consumer to four, both sides."""
    if result is None:
        return None
    charts = [
        chart
        for chart in (
            _by_consumers(result, "consumers-cpu", CPU, "PostgreSQL's CPU by consumers", "µs of CPU a row"),
            _by_consumers(result, "consumers-statements", STATEMENTS, "Statements by consumers", "for 1,000 rows"),
        )
        if chart
    ]
    if not charts:
        return None
    rows = []
    for figure in consumers.FIGURES:
        slopes = [slope_of(result, side, figure) for side in SIDES]
        rows.append([LONG[figure], *(UNKNOWN if one is None else spread(one) for one in slopes)])
    tables = [Table("What one more consumer adds", ["to", "an agent", "a polling job"], rows)]
    note = (
        "A slope is fitted by least squares over the numbers of consumers in each round; its interval is that of the "
        "median over the rounds. The polling jobs look one after another, so that connections at a time do not show "
        "their number; sessions do. Alert stores are on a second server on both sides."
    )
    return Section(
        "consumers", "The price of the n-th consumer", charts=charts, tables=tables, notes=[note, *notes_of(result)]
    )


def _by_consumers(result: Result, name: str, figure: str, title: str, unit: str) -> Chart | None:
    """A line for each side through the medians, a mark for each round."""
    part, most = consumers.PART, max((int(one.figures.get("consumers") or 0) for one in result.rounds), default=0)
    lines: dict[str, list[tuple[int, Estimate]]] = {}
    for side in SIDES:
        found = [(n, over_rounds(result, part, consumers.variant(side, n), figure)) for n in range(1, most + 1)]
        lines[side] = [(n, one) for n, one in found if one is not None]
    if not any(lines.values()):
        return None
    base = median_of(result, part, consumers.WRITERS, figure)
    series = [
        Series(
            "agents" if side == "agents" else "polling jobs",
            look(path),
            [(n, one.median) for n, one in lines[side]] if len(lines[side]) > 1 else [],
            [(n, value) for n, one in lines[side] for value in one.rounds],
        )
        for side, path in SIDES.items()
        if lines[side]
    ]
    across = Axis("consumers", 0.8, most + 0.2, whole, ticks=[(n, str(n)) for n in range(1, most + 1)])
    values = [value for found in lines.values() for _, one in found for value in one.rounds]
    if base is not None:
        values.append(base)
        series.append(Series("writers alone", Look("computed", "circle"), [(across.low, base), (across.high, base)]))
    upwards = Axis(unit, min(0.0, *values), HEADROOM * max(values) or 1.0, lambda value: f"{value:,.6g}")
    said = _slopes_said(result, figure, unit)
    wide, narrow = line_chart(name, title, said, series, across, upwards)
    rows = [
        [consumers.variant(side, n), shown(one.median), ", ".join(shown(value) for value in one.rounds)]
        for side, found in lines.items()
        for n, one in found
    ]
    rows.insert(0, [consumers.WRITERS, UNKNOWN if base is None else shown(base), ""])
    return Chart(name, title, said, wide, narrow, Table(title, ["", f"median, {unit}", "rounds"], rows))


def _slopes_said(result: Result, figure: str, unit: str) -> str:
    of, measure = ("of PostgreSQL's CPU a row", "µs") if figure == CPU else (f"statements {unit}", "")
    slopes = {side: slope_of(result, side, figure) for side in SIDES}
    said = [
        f"one {'agent' if side == 'agents' else 'polling job'} more adds {spread(one, measure)} {of}"
        for side, one in slopes.items()
        if one is not None
    ]
    if not said:
        return "Only one number of consumers was measured, so there is no slope."
    joined = "; ".join(said)
    return f"{joined[0].upper()}{joined[1:]} ({rounds_said(result)})."
