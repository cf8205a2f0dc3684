"""The sections below the first screen, in order; one without data is None, and the page names it as not measured."""

from shlex import quote

from lab.measure.causes import Explained
from lab.report.claims import NOT_SHOWN, claims
from lab.report.experiment_claims import claims as found_by_experiments
from lab.report.html.blocks import Link, Section, Table, Text
from lab.report.html.hop_charts import airflow_table, batch_runs, hops
from lab.report.html.latency_charts import scheduled_runs, spectrum, staleness
from lab.report.html.one_payment import one_payment
from lab.report.html.timeline import timeline
from lab.report.model import Pair, Summary
from lab.report.saved import SUMMARY, Saved
from lab.report.words import UNKNOWN, whole

SHOWN = 200  # differences listed on the page; all are in summary.json
CAUSES = {
    "a": "the row itself was updated or deleted",
    "b": "other rows of the user were updated or deleted",
    "c": "rows were read in another order than they were committed in",
    "d": "rows were known from a snapshot only",
    "missed": "rows that were never read",
    None: "none found",
}


def definition(summary: Summary) -> Section:
    """What a latency is."""
    said = (
        "Latency = commit time of the alert's row minus commit time of the transaction that inserted the payment, both "
        "by pg_xact_commit_timestamp of one PostgreSQL server: one clock, and no stamp of a program in it. Alerts that "
        "an update or a delete brought about are not in it."
    )
    batch = (
        "A batch path's latency includes its wait for the next run. Percentiles come from the raw samples of the run; "
        "none was averaged. Warm-up and faults are in, except where a figure says undisturbed or calm"
    )
    calm = "."
    if summary.calm_s and summary.calm_s[0] < summary.calm_s[1]:
        begin, end = summary.calm_s
        until = "after the warm-up" if summary.batch_scheduler == "loop" else "before the first kill and batch run"
        calm = f": payments committed {begin:.0f} s to {end:.0f} s after the start, {until}."
    return Section("definition", "What latency means here", texts=[Text([said, batch + calm], boxed=True)])


def latency(saved: Saved) -> Section | None:
    """The staleness chart and the percentiles."""
    charts = [chart for chart in (staleness(saved), spectrum(saved)) if chart]
    summary = saved.summary
    notes = []
    if charts and summary.batch_interval_s and scheduled_runs(summary):
        notes.append(
            "Computed: the wait is uniform over the interval, and a run takes what the scheduled runs took from their "
            "start until their alerts were committed. The measured batch curve also holds payments from before the "
            "schedule was switched on in mid-load, and waits for other runs."
        )
    return Section("latency", "How late the alerts were", charts=charts, notes=notes) if charts else None


def where_time_goes(saved: Saved) -> Section | None:
    """Hops and parts."""
    charts = [chart for chart in (hops(saved), one_payment(saved), batch_runs(saved)) if chart]
    return Section("hops", "Where the time goes", charts=charts) if charts else None


def over_time(saved: Saved) -> Section | None:
    """The run on one axis."""
    chart = timeline(saved)
    note = "A second holds too few alerts for a p99, so its latest alert stands beside the median."
    return Section("timeline", "The run over time", charts=[chart], notes=[note]) if chart else None


def agreement(summary: Summary) -> Section | None:
    """Pairs, then the differences with their causes."""
    pairs = summary.agreement.pairs
    if not pairs:
        return None
    rows = [[one.a, one.b, whole(len(one.only_b)), whole(len(one.only_a)), whole(one.unexplained)] for one in pairs]
    tables = [
        Table(
            "Alerts held against the oracles", ["alerts of", "against", "missing", "extra", "no cause"], rows, texts=2
        )
    ]
    every = [row for one in pairs for row in _differences(one)]
    notes = []
    if every:
        columns = ["path", "side", "payment", "status", "score", "reason", "cause", "evidence"]
        title = f"The {len(every)} differences with their causes"
        tables.append(Table(title, columns, every[:SHOWN], texts=0, folded=True))
        if len(every) > SHOWN:
            notes.append(f"{SHOWN} of {len(every)} differences are shown; all are in {SUMMARY}.")
    return Section("agreement", "Do the alerts agree?", tables=tables, notes=notes)


def _differences(pair: Pair) -> list[list[str]]:
    causes: dict[tuple[int, str, str], Explained] = {(one.tx_id, one.side, one.status): one for one in pair.explained}
    rows = []
    for side, facts in (("missing", pair.only_b), ("extra", pair.only_a)):
        for tx_id, status, score, reason in facts:
            found = causes.get((tx_id, side, status))
            cause = CAUSES[found.cause] if found else UNKNOWN
            evidence = found.evidence if found else UNKNOWN
            rows.append([pair.a, side, str(tx_id), status, str(score), reason, cause, evidence])
    return rows


def airflow(summary: Summary) -> Section | None:
    """The runs of the batch job."""
    if not summary.airflow_runs:
        return None
    title = "The batch runs of a kept Spark session" if summary.batch_scheduler == "loop" else "Airflow's runs"
    return Section("airflow", title, tables=[airflow_table(summary)])


def temperature(summary: Summary) -> Section | None:
    """The small case."""
    if summary.temperature is None or not summary.temperature.windows:
        return None
    rows = [
        [
            f"{one.start:%H:%M} to {one.end:%H:%M}",
            one.sensor_id,
            whole(one.readings),
            "no data" if one.average is None else f"{one.average:.3f}",
        ]
        for one in summary.temperature.windows
    ]
    table = Table("Windows of ten minutes", ["window (UTC)", "sensor", "readings", "average"], rows)
    text = Text(
        ["One row a minute and sensor, averaged by plain SQL under Airflow: the case for which CDC is too much."]
    )
    return Section("temperature", "Temperatures: the small case", texts=[text], tables=[table])


def complexity(summary: Summary) -> Section | None:
    """What each path asks one to run."""
    if not summary.complexity:
        return None
    names = {"processes": "programs that run all the time", "programs": "which", "ports": "ports", "jars": "jars"}
    names |= {"jars_mb": "jars, MB"}
    paths = list(summary.complexity)
    rows = [[said, *(str(summary.complexity[path].get(key, UNKNOWN)) for path in paths)] for key, said in names.items()]
    note = (
        "Counted from the code, besides PostgreSQL. A batch run starts a Java machine of its own and ends it. Python "
        "packages are one environment for all paths."
    )
    table = Table("Counted, not judged", ["", *paths], rows, texts=0)
    return Section("complexity", "What one has to run", tables=[table], notes=[note])


def claim_table(saved: Saved) -> Section | None:
    """Every sentence: first those that this run can judge, then those that it cannot, with what does."""
    found = claims(saved.summary, saved.samples) + found_by_experiments(saved.experiments)
    if not found:
        return None
    rows = [[one.claim, one.measured, one.verdict] for one in found]
    shown = {one.claim for one in found}
    rows += [
        [one, f"not measured in this run; by {command}", "not shown here"]
        for one, command in NOT_SHOWN.items()
        if one not in shown
    ]
    notes = ["One run on one machine: no sentence is proved by it."]
    table = Table(
        "Sentences and figures",
        ["they say", "measured here", "verdict"],
        rows,
        texts=0,
        to=[*(one.section for one in found), *[""] * (len(rows) - len(found))],
    )
    return Section("claims", "What people say, and what was measured", tables=[table], notes=notes)


def environment(saved: Saved) -> Section:
    """What the run ran on."""
    rows = []
    for name, value in saved.summary.environment.items():
        if isinstance(value, dict):
            rows += [[f"{name}: {key}", str(each)] for key, each in value.items()]
        else:
            said = ", ".join(str(each) for each in value) if isinstance(value, list) else str(value)
            rows.append([name.replace("_", " "), said])
    table = Table("Environment", ["", "found"], rows, texts=0)
    return Section("environment", "Environment", tables=[table])


def reproduce(saved: Saved) -> Section:
    """The command, and what the data hash to."""
    summary, work = saved.summary, saved.summary.workload
    command = (
        f"twinpath demo --rate {work.rate:.0f} --duration {work.duration_s or 0:.0f} --seed {summary.seed} "
        f"--profile {quote(work.profile)}"
    )
    command += "" if summary.faults else " --no-kills"
    command += "" if summary.airflow_runs else " --no-batch"
    command += "" if "spark_stream" in summary.paths else " --no-spark-stream"
    if summary.command:
        command = summary.command
    said = "The seed fixes rows, times and planted fraud. When transactions commit, and so latencies, it does not."
    rows = [[one.name, whole(one.size), one.sha256] for one in saved.files]
    table = Table("Files and their SHA-256", ["file", "bytes", "SHA-256"], rows, texts=0)
    commands = [
        ("The same load:", command),
        ("This page from the saved data:", f"twinpath report --from {quote(saved.folder.name)}"),
    ]
    return Section("reproduce", "Reproduce", texts=[Text([said])], commands=commands, tables=[table])


def limits(summary: Summary) -> Section:
    """What the figures do not say."""
    cores = summary.environment.get("cores", "few")
    texts = [
        f"One machine with {cores} cores shared by the load, PostgreSQL, Kafka, Connect, Spark, Airflow and all paths: "
        "each slows the others, and the batch path runs beside the ones that read the log.",
        "One run: no interval of confidence is given. A figure for publication takes five rounds or more.",
        "The fraud is planted by a generator; shares of fraud say nothing about yours.",
        "The first payments meet cold Java machines. Where the table says undisturbed, warm-up and kills are left out.",
    ]
    return Section("limits", "Limits", texts=[Text([one]) for one in texts])


def raw_data(saved: Saved) -> Section:
    """The files of the folder."""
    said = {
        SUMMARY: "all figures; keys as in docs/summary.schema.json",
        "latencies.csv": "each alert with its latency and hops",
        "operations.jsonl": "every write with its outcome",
        "labels.jsonl": "which rows were planted",
    }
    links = [Link(one.name, said.get(one.name, "")) for one in saved.files]
    return Section("raw", "Raw data", links=links)
