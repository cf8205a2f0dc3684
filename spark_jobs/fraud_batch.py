"""The batch path: judge the rows of `transactions` that a JDBC read finds, with the rules of the agents.

    spark-submit spark_jobs/fraud_batch.py --mode safe --read partitioned

Connections come from the environment: SOURCE_DSN (the table), ALERTS_DSN (the alert store). Each run is one
snapshot, folded by bucket on the executors and merged in one transaction: running it twice, overlapped or killed
leaves the same table. `safe` loses no row; `full`, `naive-id` and `naive-time` are what people usually write, kept
for comparison, each with a path of its own in the alert log.
"""

import argparse
import json
import secrets
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from spark_jobs.batch_fold import Plan, RulePlan, folding
from spark_jobs.batch_source import Mode, Read, Snapshot, Wanted, read_rows, snapshot, visible_rows
from spark_jobs.batch_store import BatchStore, Progress, Shown, combined
from spark_jobs.columns import FOLDED
from spark_jobs.options import rule_names
from spark_jobs.session import cause, open_session
from spark_jobs.timing import Clock
from spark_jobs.usage import usage
from twinpath.detection.rules import RULES, Rule, configured
from twinpath.errors import ConfigurationError, ServiceFault, TwinpathError
from twinpath.rule_versions import RuleVersions
from twinpath.settings import Settings, load_settings

PATHS: dict[Mode, str] = {
    "safe": "spark_batch",
    "full": "spark_batch_full",
    "naive-id": "spark_batch_naive_id",
    "naive-time": "spark_batch_naive_time",
}


def judge_once(spark: SparkSession, options: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """One run of the job on an open session; returns its summary."""
    clock = Clock()
    path = PATHS[options.mode]
    rules = _rules(options, settings, path)
    source_dsn, alerts_dsn = settings.source_dsn.get_secret_value(), settings.alerts_dsn.get_secret_value()
    with snapshot(source_dsn) as held, closing(BatchStore(alerts_dsn, path, held.source)) as store:
        before = {rule: _known(options.mode, store.progress(rule)) for rule in rules}
        plan = _plan(options, settings, held, before, store.teach_before_us(settings.topic))
        clock.lap("prepare")
        lines = _fold(spark, options, source_dsn, held, plan, _wanted(options, before))
        clock.lap_in_parts(lines)
        visible = visible_rows(source_dsn, held) if options.count_visible else None
        clock.lap("count")
        results = [
            combined(rule, before[rule], held.xmin, [line for line in lines if line["rule"] == rule.name])
            for rule in rules
        ]
        shown = Shown(held.shows, options.interval_start, options.interval_end)
        written = store.merge(plan.attempt, results, shown, full=options.mode == "full")
        clock.lap("merge")
    return {
        "mode": options.mode,
        "path": path,
        "read": options.read,
        "attempt": plan.attempt,
        "merged": written is not None,
        "rows_read": max(sum(line["rows"] for line in lines if line["rule"] == rule.name) for rule in rules),
        "rows_visible": visible,
        "rows_known": {one.rule.name: len(one.after.judged) for one in results},
        "alerts_written": written.stored if written else 0,
        "counts": {one.rule.name: dict(one.counts) for one in results},
        "horizon": held.xmin,
        "snapshot": held.shows,
        "seconds": clock.seconds,
    }


def _rules(options: argparse.Namespace, settings: Settings, path: str) -> list[Rule]:
    """The rules asked for, in the generation that the alert store calls for on this path."""
    versions = RuleVersions(settings.alerts_dsn.get_secret_value(), path)
    rules = [configured(name, settings.rule_parameters, versions.generation(name)) for name in options.rules]
    for rule in rules:
        versions.activate(rule, {})  # a table is read in one way only
    return rules


def _known(mode: Mode, progress: Progress) -> Progress:
    """What a run goes on from: a fold of the whole table begins from nothing, whatever was merged before."""
    return Progress(run=progress.run) if mode == "full" else progress


def _plan(
    options: argparse.Namespace, settings: Settings, held: Snapshot, before: Mapping[Rule, Progress], teach_us: int
) -> Plan:
    safe = options.mode == "safe"
    return Plan(
        attempt=secrets.token_hex(8),
        path=PATHS[options.mode],
        source=held.source,
        alerts_dsn=settings.alerts_dsn.get_secret_value(),
        buckets=settings.state_buckets,
        next_horizon=held.xmin if safe else 2**63 - 1,
        teach_before_us=teach_us,
        watermark="created_us" if options.mode == "naive-time" else "id",
        rules=tuple(
            RulePlan(rule, one.run, one.horizon if safe else 0, one.folded, one.judged, options.mode != "full")
            for rule, one in before.items()
        ),
    )


def _wanted(options: argparse.Namespace, before: Mapping[Rule, Progress]) -> Wanted:
    """What to read: enough for the rule that is furthest behind."""
    marks = [one.watermark for one in before.values()]
    watermark = None if None in marks else min(mark for mark in marks if mark is not None)
    horizon = min(one.horizon for one in before.values())
    return Wanted(options.mode, horizon, watermark, options.interval_start, options.interval_end)


def _fold(
    spark: SparkSession, options: argparse.Namespace, dsn: str, held: Snapshot, plan: Plan, wanted: Wanted
) -> list[dict[str, Any]]:
    """Read, bring the rows of a bucket together, fold: one line for each bucket and rule."""
    try:
        rows = read_rows(spark, dsn, held, wanted, options.read, options.partitions, options.fetchsize)
        folded = _in_order(rows, plan, spark.sparkContext.defaultParallelism).mapInArrow(folding(plan), FOLDED)
        return [line.asDict() for line in folded.collect()]
    except (PySparkException, Py4JError) as error:
        raise ServiceFault(f"Spark: {cause(error)}") from error


def _in_order(rows: DataFrame, plan: Plan, partitions: int) -> DataFrame:
    """Whole buckets in each partition; in them each user's rows as the log has them, taught ones first."""
    commit = F.coalesce(F.col("commit_us"), F.lit(-(2**63)))  # unknown: so long ago that PostgreSQL forgot it
    taught = F.coalesce(F.col("commit_us"), F.lit(0)) < F.lit(plan.teach_before_us)
    return (
        rows.withColumn("bucket", F.pmod(F.coalesce(F.col("user_id"), F.lit(0)), F.lit(plan.buckets)))
        .withColumn("judged", ~taught)
        .withColumn("place", F.when(taught, F.col("created_us")).otherwise(commit))
        .repartition(partitions, "bucket")
        .sortWithinPartitions("bucket", "user_id", "judged", "place", "id")
    )


def _instant(text: str) -> int:
    """ISO time with a zone as microseconds since 1970."""
    when = datetime.fromisoformat(text)
    if when.tzinfo is None:
        raise argparse.ArgumentTypeError(
            f"found {text}, wanted a time with its zone, such as 2026-11-23T05:30:00+00:00"
        )
    return round(when.timestamp() * 1_000_000)


def _count(text: str) -> int:
    """A whole number of 1 or more."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, wanted a whole number, 1 or more")
    return int(text)


def parser() -> argparse.ArgumentParser:
    """The options of the job."""
    wanted = argparse.ArgumentParser(
        prog="fraud_batch.py", description="Judge the rows of transactions that a JDBC read finds."
    )
    wanted.add_argument("--mode", choices=get_args(Mode), default="safe", help="which rows are read (default safe)")
    wanted.add_argument(
        "--read", choices=get_args(Read), default="partitioned", help="one plain query, or one for each partition"
    )
    wanted.add_argument("--partitions", type=_count, default=2, help="JDBC queries at a time (default 2)")
    wanted.add_argument("--fetchsize", type=_count, default=10_000, help="rows of one fetch (default 10000)")
    wanted.add_argument("--rules", type=rule_names, default=list(RULES), help=f"default {','.join(RULES)}")
    wanted.add_argument("--interval-start", type=_instant, help="naive-time: created_at from here on, ISO with zone")
    wanted.add_argument("--interval-end", type=_instant, help="naive-time: created_at before this, ISO with zone")
    wanted.add_argument("--count-visible", action="store_true", help="also count the rows of the table")
    wanted.add_argument("--summary", type=Path, help="write the summary of the run here, one JSON object")
    return wanted


def connected() -> Settings:
    """The settings; ConfigurationError when they lack a connection."""
    settings = load_settings()
    for name, dsn in (("SOURCE_DSN", settings.source_dsn), ("ALERTS_DSN", settings.alerts_dsn)):
        if not dsn.get_secret_value():
            raise ConfigurationError(f"{name} is empty, wanted a DSN. `twinpath env --export` prints one")
    return settings


def main(arguments: list[str] | None = None) -> int:
    """Run the job once; the summary goes to stdout and, if asked for, to a file."""
    began_us = time.time_ns() // 1000
    options = parser().parse_args(arguments)
    try:
        settings = connected()
        began = time.monotonic()
        spark = open_session("fraud_batch")
        session_s = round(time.monotonic() - began, 3)
        try:
            summary = judge_once(spark, options, settings) | usage()
        finally:
            spark.stop()
    except TwinpathError as error:
        sys.stderr.write(f"fraud_batch: {type(error).__name__}: {error}\n")
        return error.exit_status
    summary["seconds"]["session"] = session_s
    summary["began_us"] = began_us  # Java and Python had started by then
    text = json.dumps(summary)
    sys.stdout.write(f"{text}\n")
    if options.summary is not None:
        options.summary.write_text(f"{text}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
