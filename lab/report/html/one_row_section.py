"""One row a minute: averages by SQL against what CDC would take for them."""

from lab.bench.result import Result, shown
from lab.experiments import temperature
from lab.report.html.blocks import Section, Table, Text
from lab.report.html.notes import notes_of
from lab.report.saved_experiments import median_of, over_rounds, rounds_said
from lab.report.words import UNKNOWN


def one_row(result: Result | None) -> Section | None:
    """The small case: SQL against what CDC would take."""
    if result is None:
        return None
    sides = [("sql", "every 10 minutes"), *(("cdc", name) for name in temperature.KNOBS)]
    sides = [one for one in sides if median_of(result, *one, "cpu_s_per_day") is not None]
    if not sides:
        return None
    names = ["SQL" if part == "sql" else f"CDC, {name.partition(' (')[0]}" for part, name in sides]
    lines = {
        "programs more, all the time": "processes",
        "their memory, MB": "rss_mb",
        "CPU of PostgreSQL, s a day": "postgres_cpu_s_per_day",
        "CPU of these programs, s a day": "",
        "statements a day": "statements_per_day",
        "rows scanned a run": "rows_scanned_per_run",
        "WAL written elsewhere, MB": "wal_written_mb",
        "of it kept by the slot, MB": "retained_mb",
    }
    rows = [[said, *(_one_row_cell(result, *side, figure) for side in sides)] for said, figure in lines.items()]
    seconds, runs = (result.options.get(name, UNKNOWN) for name in ("seconds", "runs"))
    notes = [
        f"CDC was measured for {seconds} s while it waits beside a quiet table; SQL by {runs} windows of the past in a "
        "row. A scheduler calls the SQL; what the scheduler itself takes is not counted here. The slot of a quiet "
        "table keeps the WAL of its neighbours until the connector confirms a later position.",
        *notes_of(result),
    ]
    table = Table("One row a minute, averaged every ten minutes", ["", *names], rows)
    said = _one_row_said(result)
    return Section("one-row", "One row a minute", texts=[Text([said])] if said else [], tables=[table], notes=notes)


def _one_row_cell(result: Result, part: str, variant: str, figure: str) -> str:
    def median(name: str) -> float | None:
        return median_of(result, part, variant, name)

    if part == "sql":
        nothing = {"processes": "0", "rss_mb": "0", "": "0", "retained_mb": "no slot"}
        if figure in nothing:
            return nothing[figure]
        figure = "cpu_s_per_day" if figure == "postgres_cpu_s_per_day" else figure
    if not figure:
        every, server = median("cpu_s_per_day"), median("postgres_cpu_s_per_day")
        return UNKNOWN if every is None or server is None else shown(every - server)
    value = median(figure)
    return UNKNOWN if value is None else shown(value)


def _one_row_said(result: Result) -> str:
    sql = [over_rounds(result, "sql", "every 10 minutes", name) for name in ("cpu_s_per_day", "statements_per_day")]
    ours = next(iter(temperature.KNOBS))
    cdc = [over_rounds(result, "cdc", ours, name) for name in ("processes", "rss_mb", "cpu_s_per_day")]
    found = [one.median for one in (*sql, *cdc) if one is not None]
    if len(found) < len(sql) + len(cdc):
        return ""
    cpu_s, statements, programs, memory_mb, waiting_s = found
    advice = ": stay with SQL" if cpu_s < waiting_s else ""
    return (
        f"For the averages of a day SQL takes {shown(cpu_s)} s of PostgreSQL's CPU and {shown(statements)} statements; "
        f"CDC would keep {shown(programs)} programs with {shown(memory_mb)} MB waiting, which with PostgreSQL take "
        f"{shown(waiting_s)} s of CPU a day, for a figure that is wanted every ten minutes{advice} "
        f"({rounds_said(result)})."
    )
