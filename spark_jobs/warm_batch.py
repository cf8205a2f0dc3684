"""The batch job in one kept session: each line on stdin holds the options of one run of fraud_batch.py.

    echo "--mode safe" | python -m spark_jobs.warm_batch

A line that begins with `noop` only reads: to nowhere, which is the limit of such a run.
A first line on stdout says that the session is open; then comes one line for each run, its summary or its error. Ends
with its input. The best case of a batch path: no Java machine starts between two looks at the table.
"""

import json
import shlex
import sys
import time
from argparse import Namespace
from collections.abc import Iterable
from typing import Any

from pyspark.sql import SparkSession

from spark_jobs.batch_source import Wanted, read_rows, snapshot
from spark_jobs.fraud_batch import connected, judge_once, parser
from spark_jobs.session import open_session
from twinpath.errors import TwinpathError
from twinpath.settings import Settings

NOOP = "noop "


def serve(spark: SparkSession, settings: Settings, lines: Iterable[str]) -> None:
    """One run for each line."""
    for line in lines:
        work = _read if line.startswith(NOOP) else judge_once
        options = parser().parse_args(shlex.split(line.removeprefix(NOOP)))
        try:
            said = work(spark, options, settings)
        except TwinpathError as error:
            said = {"error": f"{type(error).__name__}: {error}"}
        _say(said)


def _read(spark: SparkSession, options: Namespace, settings: Settings) -> dict[str, Any]:
    """Read the whole table to nowhere."""
    dsn = settings.source_dsn.get_secret_value()
    with snapshot(dsn) as held:
        rows = read_rows(spark, dsn, held, Wanted("safe"), options.read, options.partitions, options.fetchsize)
        rows.write.format("noop").mode("overwrite").save()
    return {"seconds": {}}


def main() -> int:
    """Open the session and serve stdin."""
    try:
        settings = connected()
    except TwinpathError as error:
        _say({"error": str(error)})
        return error.exit_status
    began = time.monotonic()
    spark = open_session("fraud_batch")
    _say({"session": round(time.monotonic() - began, 3)})
    try:
        serve(spark, settings, sys.stdin)
    finally:
        spark.stop()
    return 0


def _say(said: dict[str, Any]) -> None:
    sys.stdout.write(f"{json.dumps(said)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
