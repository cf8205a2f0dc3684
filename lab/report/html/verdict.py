"""The first screen: the verdict in a sentence, the figure of each path, what was to hold."""

import msgspec

from lab.report.html.blocks import Section, Table
from lab.report.html.crossover_section import answer
from lab.report.html.lines import look
from lab.report.html.staleness_section import alone
from lab.report.model import Goal, PathFigures, Summary
from lab.report.saved import Saved
from lab.report.words import UNKNOWN, decimal, duration, listed, named, times, whole


class Tile(msgspec.Struct, frozen=True):
    """The figure of one path."""

    path: str
    kind: str
    figure: str
    said: list[str]


class Head(msgspec.Struct, frozen=True):
    """What stands above the sections."""

    passed: bool
    verdict: str
    sentences: list[str]
    tiles: list[Tile]
    facts: list[tuple[str, str]]
    goals: Table
    goals_said: str
    all_met: bool


def head(saved: Saved) -> Head:
    """The first screen of a run."""
    summary = saved.summary
    passed = summary.verdict == "pass"
    return Head(
        passed=passed,
        verdict="Pass" if passed else "Fail",
        sentences=[
            *filter(
                None, [answer(saved.experiments.crossover, summary.workload.rate), alone(saved.experiments.staleness)]
            ),
            _latency_said(summary),
            _equality_said(summary),
        ],
        tiles=[_tile(path, one) for path, one in summary.paths.items()],
        facts=_facts(summary),
        goals=goals_table(summary.goals),
        goals_said=_goals_said(summary.goals),
        all_met=all(goal.ok is not False for goal in summary.goals),
    )


def _goals_said(goals: list[Goal]) -> str:
    """Those of correctness make the verdict; those of performance are told beside it."""
    said = []
    for kind, name in (("correctness", "goals"), ("performance", "of performance")):
        found = [goal.ok for goal in goals if goal.kind == kind]
        left = found.count(None)
        if found or kind == "correctness":
            said.append(
                f"{found.count(True)} of {len(found) - left} {name} met{f', {left} not judged' if left else ''}"
            )
    return "; ".join(said)


def _latency_said(summary: Summary) -> str:
    medians = {path: one.latency_ms.p50 for path, one in summary.paths.items() if one.latency_ms.p50 is not None}
    if not medians:
        return "No alert was raised at an insert, so there is no latency to tell of."
    fastest = min(medians, key=medians.__getitem__)
    others = [f"{path} {duration(ms)}{_more(ms, medians[fastest])}" for path, ms in medians.items() if path != fastest]
    said = f"Half of the alerts of {fastest} were there {duration(medians[fastest])} after the commit of the payment"
    said += f"; of {listed(others)}" if others else ""
    if killed := len(summary.faults):
        said += f". {killed} {'process was' if killed == 1 else 'processes were'} killed in that time"
    calm = summary.paths[fastest].latency_ms_calm
    if calm and calm.p50 is not None:
        said += f"; undisturbed, the median of {fastest} is {duration(calm.p50)} (n = {calm.n})"
    return f"{said}."


def _more(ms: float, least: float) -> str:
    return f" ({times(ms / least)})" if least > 0 else ""


def _equality_said(summary: Summary) -> str:
    if not summary.paths:
        return "No path was measured."
    alerts = listed([f"{path} {whole(one.alerts)}" for path, one in summary.paths.items()])
    wanted = whole(summary.agreement.reference_alerts)
    unexplained = sum(one.unexplained for one in summary.paths.values())
    explained = [f"{one.explained} of {path}" for path, one in summary.paths.items() if one.explained]
    equal = "none differs from what the log of the writes calls for"
    if unexplained:
        equal = f"{unexplained} differ from what the log of the writes calls for, without a cause"
    elif explained:
        equal = f"{listed(explained)} differ from what the log of the writes calls for, each with a verified cause"
    return f"Alerts: {alerts}, wanted {wanted}; {equal}."


def _tile(path: str, one: PathFigures) -> Tile:
    late = one.latency_ms
    if late.p50 is None:
        said = ["no alert at an insert"]
    elif late.n == 1:
        said = ["one alert, no percentiles"]
    else:
        said = [f"p90 {duration(late.p90)}, max {duration(late.max)}", f"{whole(late.n)} alerts"]
    calm = one.latency_ms_calm
    if calm and calm.p50 is not None:
        said.append(f"undisturbed {duration(calm.p50)} (n = {calm.n})")
    return Tile(path, look(path).kind, duration(late.p50), said)


def _facts(summary: Summary) -> list[tuple[str, str]]:
    work = summary.workload
    length = (summary.finished - summary.began).total_seconds()
    rate = f"{work.rate:,.0f} rows/s offered"
    if work.achieved_rate is not None:
        rate += f", {work.achieved_rate:,.0f} achieved"
    return [
        ("run", summary.run_id),
        ("date", f"{summary.began:%Y-%m-%d %H:%M} UTC"),
        ("load and fence", f"{length:.0f} s"),
        ("load", f"{rate}, {work.profile}"),
        ("rows", whole(work.rows_inserted)),
        ("seed", str(summary.seed)),
        ("commit", str(summary.environment.get("commit", UNKNOWN))),
    ]


def goals_table(goals: list[Goal]) -> Table:
    """Goals with what was wanted and measured; those that were missed come first."""
    rows = [
        [
            "– not judged" if goal.ok is None else "✔ met" if goal.ok else "✘ missed",
            goal.text,
            str(goal.target),
            named(goal.measured, goal.transactions) or "nothing",
        ]
        for goal in sorted(goals, key=lambda one: one.ok is not False)
    ]
    return Table("What must hold", ["", "goal", "wanted", "measured"], rows, texts=0)


def headline(summary: Summary) -> Section | None:
    """One column for each path."""
    if not summary.paths:
        return None
    paths = list(summary.paths.values())
    medians = [one.latency_ms.p50 for one in paths if one.latency_ms.p50 is not None and one.latency_ms.p50 > 0]
    best = min(medians, default=None)
    inserted = summary.workload.rows_inserted
    rows = [
        ["p50", *(duration(one.latency_ms.p50) for one in paths)],
        ["p50 against the best", *(_ratio(one.latency_ms.p50, best) for one in paths)],
        ["p90", *(duration(one.latency_ms.p90) for one in paths)],
        ["p99", *(duration(one.latency_ms.p99) for one in paths)],
        ["latest", *(duration(one.latency_ms.max) for one in paths)],
        ["alerts timed (n)", *(whole(one.latency_ms.n) for one in paths)],
        ["p50 undisturbed (n)", *(_calm(one) for one in paths)],
        ["rows judged", *(whole(one.rows_seen) for one in paths)],
        [
            "of the rows committed",
            *(f"{100 * one.rows_seen / inserted:.2f} %" if inserted else UNKNOWN for one in paths),
        ],
        ["rows missed", *(whole(one.rows_missed) for one in paths)],
        ["alerts", *(whole(one.alerts) for one in paths)],
        ["missing", *(whole(one.missing) for one in paths)],
        ["extra", *(whole(one.extra) for one in paths)],
        ["without a cause", *(whole(one.unexplained) for one in paths)],
        ["duplicates suppressed", *(whole(one.duplicates_suppressed) for one in paths)],
        ["dead letters", *(whole(one.dead_letters) for one in paths)],
        ["CPU s", *(decimal(one.cpu_s) for one in paths)],
        ["peak memory, MB", *(whole(one.peak_rss_mb) for one in paths)],
    ]
    notes = [
        "Missing and extra are against replay() of the operation log, before explanation. CPU and memory are of the "
        "path's own processes: agents, Spark jobs; not of PostgreSQL, Kafka, Connect or Airflow, which are shared. "
        "A row that came and went between two batch runs is not there to be judged. "
        "A p99 is given from 1,000 alerts on."
    ]
    table = Table("The paths side by side", ["", *summary.paths], rows)
    return Section("paths", "The paths side by side", tables=[table], notes=notes)


def _calm(one: PathFigures) -> str:
    calm = one.latency_ms_calm
    return UNKNOWN if calm is None or calm.p50 is None else f"{duration(calm.p50)} ({calm.n})"


def _ratio(value: float | None, best: float | None) -> str:
    return UNKNOWN if value is None or best is None or value <= 0 else times(value / best)
