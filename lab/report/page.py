"""A summary as a page for people: the verdict first."""

from statistics import median
from typing import Any

import msgspec

from lab.measure.verdict import PATH as AGENT
from lab.report.money import markdown_lines
from lab.report.tables import escaped, table
from lab.report.words import named

SHOWN = 5  # differences named on the page; all are in summary.json
PARTS = ("schedule", "queue", "submit", "session", "prepare", "read", "fold", "stage", "count", "merge", "check")


def markdown(summary: dict[str, Any]) -> str:
    """The summary for people: verdict first."""
    path = summary["paths"][AGENT]
    workload = summary["workload"]
    kind = "comparison" if summary.get("batch_scheduler") == "loop" else "demo"
    lines = [
        f"# Twinpath {kind} {summary['run_id']}: {summary['verdict']}",
        "",
        f"{workload['rows_inserted']} rows were committed at {workload['achieved_rate']}/s "
        f"(offered {workload['rate']:.0f}/s, profile {workload['profile']}, seed {summary['seed']}), "
        f"{len(summary['faults'])} processes were killed in between; "
        f"{path['alerts']} alerts, missing {path['missing']}, extra {path['extra']}, "
        f"unexplained {path['unexplained']}, duplicates suppressed {path['duplicates_suppressed']}.",
        "",
        "| | goal | wanted | measured |",
        "|---|---|---|---|",
    ]
    for goal in summary["goals"]:
        measured = named(goal["measured"], goal.get("transactions", {}))
        cells = ["met" if goal["ok"] else "MISSED", goal["text"], goal["target"], measured]
        lines.append(f"| {' | '.join(escaped(str(cell)) for cell in cells)} |")
    lines += [*_rounds(summary), *_paths(summary), *_latency(summary), *_losses(summary), *markdown_lines(summary)]
    lines += [*_airflow(summary), *_temperature(summary), *_differences(summary)]
    lines += ["", f"Environment: {escaped(msgspec.json.encode(summary['environment']).decode())}", ""]
    return "\n".join(lines)


def _rounds(summary: dict[str, Any]) -> list[str]:
    """The main run with other seeds."""
    rounds = summary.get("rounds", [])
    if not rounds:
        return []
    paths = list(rounds[0]["p50_ms"])
    rows = [
        [
            one["number"],
            one["seed"],
            "pass" if one["verdict"] else "FAIL",
            one["rows_inserted"],
            one["alerts"],
            sum(one["unexplained"].values()),
            *(_cell(one["p50_ms"].get(path)) for path in paths),
        ]
        for one in rounds
    ]
    columns = [
        "round",
        "seed",
        "verdict",
        "rows",
        "alerts wanted",
        "unexplained",
        *(f"{path} p50 ms" for path in paths),
    ]
    return ["", f"## {len(rounds)} rounds, each with a seed of its own", "", *table(columns, rows)]


def _paths(summary: dict[str, Any]) -> list[str]:
    """One row for each path: what it saw, whether it agrees, how late it was, what it took."""
    rows = []
    for name, one in summary["paths"].items():
        late = one["latency_ms"]
        seconds = [_cell(None if late[key] is None else round(late[key] / 1000, 3)) for key in ("p50", "p90", "max")]
        agreed = [one[key] for key in ("alerts", "missing", "extra", "explained", "unexplained")]
        rows.append([name, one["rows_seen"], one.get("rows_missed", 0), *agreed, *seconds, one["cpu_s"]])
    names = ["path", "rows seen", "rows missed", "alerts", "missing", "extra", "explained", "unexplained"]
    note = (
        "Missing and extra are against replay() of the operation log, before explanation. Latency is from the commit "
        "of a payment to the commit of its alert, by PostgreSQL's clock, warm-up and kills included."
    )
    columns = [*names, "p50 s", "p90 s", "max s", "CPU s"]
    return ["", "## The paths", "", *table(columns, rows), "", note]


def _latency(summary: dict[str, Any]) -> list[str]:
    """Latency of the paths that read the log, with and without warm-up and kills."""
    paths = {name: one for name, one in summary["paths"].items() if "latency_ms_calm" in one}
    begin_s, end_s = summary["calm_s"]
    until = "after the warm-up" if summary.get("batch_scheduler") == "loop" else "before the first kill and batch run"
    calm = f"calm: committed {begin_s:.0f} s to {end_s:.0f} s after the start, {until}"
    keys = ("n", "p50", "p90", "p99", "max")
    figures = [
        (path, of, found)
        for path, one in paths.items()
        for of, found in (
            ("all rows", one["latency_ms"]),
            ("calm", one["latency_ms_calm"]),
            *((f"all rows, {rule}", each["latency_ms"]) for rule, each in one["rules"].items() if "latency_ms" in each),
        )
    ]
    rows = [[path, of, *(_cell(found[key]) for key in keys)] for path, of, found in figures]
    hops = [
        [path, *(_cell(ms) for ms in one["hops_ms_p50"].values())]
        for path, one in paths.items()
        if "hops_ms_p50" in one
    ]
    return [
        "",
        "## Latency: commit to alert committed, by PostgreSQL's clock, ms",
        "",
        *table(["path", "alerts", *keys], rows),
        "",
        f"{calm[0].upper()}{calm[1:]}. No p99 is given below 1,000 samples. Median of each hop in the calm, ms:",
        "",
        *table(["path", *summary["paths"][AGENT]["hops_ms_p50"]], hops),
    ]


def _losses(summary: dict[str, Any]) -> list[str]:
    """What was done, and what each path saw of it."""
    paths = list(summary["paths"])
    rows = [[name, one["done"], *(one["seen"][path] for path in paths)] for name, one in summary["losses"].items()]
    columns = ["class", "done", *(f"seen by {path}" for path in paths)]
    notes = [f"- {escaped(name)}: {escaped(one['note'])}" for name, one in summary["losses"].items() if one.get("note")]
    return ["", "## What each class of operation came to", "", *table(columns, rows), "", *notes]


def _airflow(summary: dict[str, Any]) -> list[str]:
    """The runs of the batch job, each with its seconds from the moment it was due."""
    runs = summary.get("airflow_runs", [])
    if not runs:
        return []
    rows = []
    for one in runs:
        parts = [_cell(round(one["seconds"].get(part, 0.0), 1)) for part in PARTS]
        rows.append(
            [one["path"], one["kind"], one["run_after"][11:19], one["rows_read"], one["alerts_written"], *parts]
        )
    due = [sum(one["seconds"].values()) for one in runs if one["kind"] == "scheduled"]
    said = f"Median of a scheduled run from due to checked: {median(due):.1f} s." if due else ""
    columns = ["path", "started by", "due (UTC)", "rows read", "alerts", *(f"{part} s" for part in PARTS)]
    note = "A payment also waits until the next run is due. Manual runs wait for those before them (schedule)."
    return [
        "",
        f"## Runs of the batch job ({summary.get('batch_scheduler', 'airflow')})",
        "",
        *table(columns, rows),
        "",
        f"{said} {note}".strip(),
    ]


def _temperature(summary: dict[str, Any]) -> list[str]:
    """The small case: what plain SQL made of an hour of temperatures."""
    windows = summary.get("temperature", {}).get("windows", [])
    if not windows:
        return []
    rows = [
        [
            f"{one['start'][11:16]} to {one['end'][11:16]}",
            one["sensor_id"],
            one["readings"],
            "no data" if one["average"] is None else f"{one['average']:.3f}",
        ]
        for one in windows
    ]
    columns = ["window (UTC)", "sensor", "readings", "average"]
    return ["", "## Temperatures, averaged by SQL under Airflow", "", *table(columns, rows)]


def _differences(summary: dict[str, Any]) -> list[str]:
    """The first differences, when there are any, with their cause where one was verified."""
    lines = []
    for pair in summary["agreement"]["pairs"]:
        causes = {(one["tx_id"], one["side"]): one for one in pair.get("explained", [])}
        sides = (("extra", pair["a"], pair["only_a"]), ("missing", pair["b"], pair["only_b"]))
        for side, name, found in sides:
            for fact in found[:SHOWN]:
                cause = causes.get((fact[0], side))
                why = f". Cause {cause['cause'] or 'none'}: {cause['evidence']}" if cause else ""
                said = f"only in {name}: transaction {fact[0]}, {fact[1]}, score {fact[2]}: {fact[3]}{why}"
                lines.append(f"- {escaped(said)}")
    return ["", "## Differences", "", *lines] if lines else []


def _cell(value: object) -> str:
    return "-" if value is None else str(value)
