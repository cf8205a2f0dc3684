"""`twinpath bench batch`: how long the batch job takes to judge a whole table, read plainly and in partitions.

Goal P10. `warm` runs in one kept Spark session, `cold` each by spark-submit; `read` is Spark reading to nowhere, the
limit. Every run begins with an empty alert store, and all runs must find the same alerts.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from lab.batch_runs import Summary, WarmSession, job_environment, submit, warm_session
from lab.bench import cpu, judging, table
from lab.bench.bed import Bed, Segment
from lab.bench.goals import judged
from lab.bench.result import WARM_EVENTS, Result
from lab.bench.rounds import in_turn
from lab.stack.stack import Stack
from twinpath.errors import ServiceFault

PARTS = ("warm", "cold", "read")
PLAIN, PARTITIONED = "plain", "partitioned"
READS = (PLAIN, PARTITIONED)
WARM_UPS = 2  # of each way of reading, dropped: Java compiles what it runs often


def measure(
    stack: Stack,
    *,
    rounds: int,
    rows: int,
    users: int,
    partitions: int,
    parts: tuple[str, ...],
    seed: int,
    command: str,
    warm_ups: int = WARM_UPS,
) -> tuple[Result, str, Path]:
    """Run the bench; returns the result, its Markdown and the path of its JSON."""
    bed = Bed(stack)
    options = {
        "rounds": rounds,
        "rows": rows,
        "users": users,
        "partitions": partitions,
        "parts": parts,
        "warm_ups": warm_ups,
    }
    result = Result("batch", bed.run_id, command, seed, {**options, "alert_share": table.ALERT_SHARE})
    result.variants = {
        PLAIN: "--read plain: one query, no fetchsize, as most people write spark.read.jdbc",
        PARTITIONED: f"--read partitioned --partitions {partitions}: fetchsize 10000, one snapshot for all",
    }
    with bed.segment() as segment:
        with bed.progress.step(f"{rows} rows") as step:
            rows = table.fill(segment, rows, users, seed)
            step.done = "written"
        runs = _Runs(bed, result, segment, rows, partitions)
        if "warm" in parts or "read" in parts:
            with warm_session(runs.environment, bed.folder / "session.log") as session:
                runs.warm(session, rounds, parts, warm_ups)
        if "cold" in parts:
            runs.cold(rounds)
    judge(result)
    path = result.finish(bed.folder, private=bed.private, warm=rows * warm_ups >= WARM_EVENTS)
    return result, result.markdown(tables(result)), path


class _Runs:
    """The measured runs on one table."""

    def __init__(self, bed: Bed, result: Result, segment: Segment, rows: int, partitions: int) -> None:
        self._bed = bed
        self._result = result
        self._segment = segment
        self._rows = rows
        self._options = ["--partitions", str(partitions)]
        self._found: tuple[int, str] | None = None
        self.environment = job_environment(segment.settings, segment.stack.credentials)

    def warm(self, session: WarmSession, rounds: int, parts: tuple[str, ...], warm_ups: int) -> None:
        """Runs in one session, behind warm-ups."""
        opened_s = session.ready()
        self._result.limits["seconds to open a session"] = opened_s
        process = psutil.Process(session.pid)
        for _ in range(warm_ups):
            for read in READS:
                judging.prepare(self._segment)
                session.run(["--read", read, *self._options])
        self._result.warm_up["warm"] = f"{warm_ups} runs of each way of reading, {self._rows} rows each"
        spark = {"spark": lambda: cpu.tree(process)}
        if "warm" in parts:
            for number, read in in_turn(READS, rounds):
                with self._measured("warm", read, number, spark, session.pid) as run:
                    run.summary = session.run(["--read", read, *self._options])
        if "read" in parts:
            for number, read in in_turn(READS, rounds):
                before = judging.prepare(self._segment)
                with self._bed.metered(spark) as usage:
                    said = session.run(["noop", "--read", read, *self._options])
                figures = {"whole_s": said["seconds"]["whole"], **judging.cost(self._segment, before)}
                figures["postgres_cpu_s"] = usage.cpu_s.get("postgres")
                self._result.add("read", read, number, figures, usage)

    def cold(self, rounds: int) -> None:
        """Runs by spark-submit, each with a Java machine of its own."""
        for number, read in in_turn(READS, rounds):
            with self._measured("cold", read, number, {"spark": cpu.ended}, None) as run:
                options = ["--read", read, *self._options]
                run.summary = submit(self.environment, self._bed.folder, options, started=run.memory.watch)

    @contextmanager
    def _measured(
        self, part: str, read: str, number: int, more: dict[str, cpu.Read], pid: int | None
    ) -> Iterator["_Run"]:
        """One run on an empty store: its figures are kept, its alerts compared with those of the runs before."""
        before = judging.prepare(self._segment)
        run = _Run()
        if pid is not None:
            run.memory.watch(pid)
        with self._bed.metered(more) as usage, run.memory.measured():
            yield run
        figures = judging.figures(self._segment, before, run.summary, self._rows)
        figures["rows_per_s"] = round(self._rows / run.summary["seconds"]["whole"])
        figures["peak_mb"] = round(run.memory.peak_mb)
        figures["postgres_cpu_s"], figures["spark_cpu_s"] = (usage.cpu_s.get(name) for name in ("postgres", "spark"))
        self._result.add(part, read, number, figures, usage)
        self._bed.progress.say(f"{part}, round {number}, {read}: {self._rows} rows in {figures['whole_s']:.2f} s")
        found = judging.digest(self._segment)
        if self._found not in (None, found):
            raise ServiceFault(f"found {found[0]} alerts, other runs on the same rows found {self._found}: a defect")
        self._found = found


class _Run:
    """What a measured run leaves."""

    def __init__(self) -> None:
        self.memory = judging.Memory()
        self.summary: Summary = {}


def judge(result: Result) -> None:
    """P10, as far as it was measured."""
    for part in ("read", "cold", "warm"):
        found = result.ratio(part, "whole_s", PLAIN, PARTITIONED)
        if found is not None and part == "warm":
            result.goals.append(
                judged("P10", "a plain read's run / a partitioned one's, warm", "at least", 3, "", found)
            )
    rows = result.options["rows"]
    warm = result.estimated("warm", PARTITIONED, "whole_s")
    if warm is not None and rows >= WARM_EVENTS:
        result.goals.append(judged("P10", f"{rows:,} rows judged, warm, partitioned", "at most", 6, "s", warm))
    for part, figure in (("warm", "postgres_cpu_s"), ("warm", "peak_mb"), ("cold", "whole_s"), ("cold", "peak_mb")):
        for read in READS:
            result.estimated(part, read, figure)


def tables(result: Result) -> list[str]:
    """The tables of each part."""
    seconds = ("prepare", "read", "fold", "stage", "merge")
    parts = {f"{part} s": f"{part}_s" for part in seconds}
    cost = {
        "PostgreSQL CPU s": "postgres_cpu_s",
        "statements": "statements",
        "rows sent": "rows_sent",
        "blocks": "blocks",
        "Spark CPU s": "spark_cpu_s",
        "peak MB": "peak_mb",
        "alerts": "alerts",
    }
    whole = {"whole s": "whole_s", "rows/s": "rows_per_s"}
    start = {"Java and Python s": "start_s", "session s": "session_s"}
    limit = {"whole s": "whole_s", "PostgreSQL CPU s": "postgres_cpu_s", "rows sent": "rows_sent", "blocks": "blocks"}
    return [
        *result.table("warm", {**whole, **parts, **cost}),
        *result.table("cold", {**whole, **start, **parts, **cost}),
        *result.table("read", limit),
    ]
