"""The Spark session of a job: whatever spark-submit was told, and what our jobs need."""

import os
import sys
from collections.abc import Mapping

from pyspark.sql import SparkSession

NEEDED = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.execution.arrow.maxRecordsPerBatch": "20000",
    "spark.ui.showConsoleProgress": "false",
}


def open_session(name: str, more: Mapping[str, str] | None = None) -> SparkSession:
    """The session; master, jars and addresses come from spark-submit or from the set-up's spark-defaults.conf."""
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # executors run the driver's Python
    builder = SparkSession.builder.appName(name)
    for key, value in {**NEEDED, **(more or {})}.items():
        builder = builder.config(key, value)
    session: SparkSession = builder.getOrCreate()
    session.sparkContext.setLogLevel("WARN")
    return session


def cause(error: Exception) -> str:
    """The line of a Spark error that says what went wrong: the last exception of the last cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if "Error: " in line or "Exception: " in line or line.startswith("twinpath.")]
    return (named or lines or [type(error).__name__])[-1]
