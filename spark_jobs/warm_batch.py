"""The batch job in one kept session: each line on stdin holds the options of one run of fraud_batch.py.

    echo "--mode safe" | python -m spark_jobs.warm_batch

A first line on stdout says that the session is open; then comes one line for each run, its summary or its error. Ends
with its input. The best case of a batch path: no Java machine starts between two looks at the table.
"""

import json
import shlex
import sys
import time
from collections.abc import Iterable
from typing import Any

from pyspark.sql import SparkSession

from spark_jobs.fraud_batch import connected, judge_once, parser
from spark_jobs.session import open_session
from twinpath.errors import TwinpathError
from twinpath.settings import Settings


def serve(spark: SparkSession, settings: Settings, lines: Iterable[str]) -> None:
    """One run for each line."""
    for line in lines:
        options = parser().parse_args(shlex.split(line))
        try:
            said = judge_once(spark, options, settings)
        except TwinpathError as error:
            said = {"error": f"{type(error).__name__}: {error}"}
        _say(said)


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
