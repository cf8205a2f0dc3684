"""The Spark session of a job: whatever spark-submit was told, and what our jobs need."""

import os
import sys

from pyspark.sql import SparkSession

NEEDED = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.execution.arrow.maxRecordsPerBatch": "20000",
    "spark.ui.showConsoleProgress": "false",
}


def open_session(name: str) -> SparkSession:
    """The session; master, jars and addresses come from spark-submit or from the set-up's spark-defaults.conf."""
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # executors run the driver's Python
    builder = SparkSession.builder.appName(name)
    for key, value in NEEDED.items():
        builder = builder.config(key, value)
    session: SparkSession = builder.getOrCreate()
    session.sparkContext.setLogLevel("WARN")
    return session
