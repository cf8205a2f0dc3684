"""The streaming path: Spark reads the topic of the agents, in micro-batches, with their decoder and their rules.

    spark-submit spark_jobs/fraud_stream.py --rules spending,velocity

Connections come from the environment: KAFKA_BOOTSTRAP_SERVERS (the topic), ALERTS_DSN (the alert store). State is kept
by bucket of users in Spark's state store, under STREAM_CHECKPOINTS. A micro-batch that runs again stores nothing twice.
"""

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence
from typing import Any

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException, StreamingQueryException
from pyspark.sql import SparkSession

from spark_jobs.options import rule_names
from spark_jobs.session import cause, open_session
from spark_jobs.stream_metrics import Listener, StreamMetrics
from spark_jobs.stream_run import Started, start
from twinpath.detection.rules import RULES
from twinpath.errors import ConfigurationError, ServiceFault, TwinpathError
from twinpath.exposition import serve
from twinpath.logs import configure
from twinpath.settings import Settings, load_settings

EVERY_S = 0.5


def run(spark: SparkSession, settings: Settings, options: argparse.Namespace, stopping: threading.Event) -> None:
    """Start the queries and wait until `stopping`, or until one has ended."""
    logger = configure("fraud_stream", run_id=settings.run_id)
    metrics = StreamMetrics()
    server = serve(metrics.registry, metrics.healthy, settings.metrics_host, settings.metrics_port)
    logger.info("serving metrics", port=server.server_port, ui=spark.sparkContext.uiWebUrl or "off")
    listener = Listener(metrics, settings.topic, logger)
    spark.streams.addListener(listener)
    started: list[Started] = []
    try:
        started = start(spark, settings, options.rules, metrics, logger, until_empty=options.until_empty)
        goes_on = any if options.until_empty else all
        while not stopping.wait(EVERY_S) and goes_on(one.query.isActive for one in started):
            continue
    finally:
        finish(started)
        spark.streams.removeListener(listener)
        server.shutdown()
    logger.info("stopped")


def finish(started: Sequence[Started]) -> None:
    """Stop what still runs; the error of the first query that failed is raised."""
    problems = []
    for one in started:
        failed = None if one.query.isActive else one.query.exception()
        if failed is not None:
            problems.append(problem_of(one, failed))
        one.sink.stopping.set()
        one.query.stop()
        one.store.close()
    if problems:
        raise problems[0]


def problem_of(one: Started, failed: StreamingQueryException) -> TwinpathError:
    """What stopped a query, in our words when it was ours."""
    if isinstance(one.sink.problem, TwinpathError):
        return one.sink.problem
    return ServiceFault(f"query {one.plan.name}: {cause(failed)}")


def parser() -> argparse.ArgumentParser:
    """The options of the job."""
    wanted = argparse.ArgumentParser(
        prog="fraud_stream.py", description="Judge the changes of transactions as they arrive in the topic."
    )
    wanted.add_argument("--rules", type=rule_names, default=list(RULES), help=f"default {','.join(RULES)}")
    wanted.add_argument(
        "--until-empty", action="store_true", help="judge what is in the topic now, then end (micro-batches as usual)"
    )
    return wanted


def main(arguments: list[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; the exit status is that of the error that stopped the job."""
    options = parser().parse_args(arguments)
    stopping = threading.Event()
    _end_by_signal(stopping)
    try:
        settings = load_settings()
        if not settings.alerts_dsn.get_secret_value():
            raise ConfigurationError("ALERTS_DSN is empty, wanted a DSN. `twinpath env --export` prints one")
        spark = open_session("fraud_stream", _interface(settings))
        _end_by_signal(stopping)  # opening a session set a handler of its own
        try:
            run(spark, settings, options, stopping)
        except (PySparkException, Py4JError) as error:
            raise ServiceFault(f"Spark: {cause(error)}") from error
        finally:
            spark.stop()
    except TwinpathError as error:
        sys.stderr.write(f"fraud_stream stopped: {type(error).__name__}: {error}\n")
        return error.exit_status
    return 0


def _end_by_signal(stopping: threading.Event) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: stopping.set())


def _interface(settings: Settings) -> dict[str, Any]:
    """Spark's own UI, only where it listens on loopback: it asks nobody for a password."""
    if os.environ.get("SPARK_LOCAL_IP") != "127.0.0.1":
        return {}
    return {"spark.ui.enabled": "true", "spark.ui.port": str(settings.stream_ui_port)}


if __name__ == "__main__":
    sys.exit(main())
