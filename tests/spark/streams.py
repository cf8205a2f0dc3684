"""A streaming query inside of a test: on the tests' session, until the topic is empty."""

from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psycopg2
from kafka import TopicPartition
from pydantic import SecretStr
from pyspark.errors import StreamingQueryException
from pyspark.sql import SparkSession

from lab.measure import fence, reference
from lab.topic import open_consumer
from spark_jobs.fraud_stream import finish
from spark_jobs.stream_metrics import StreamMetrics
from spark_jobs.stream_run import Started, start
from tests.conftest import Line
from twinpath.alert_rows import read_alerts
from twinpath.detection.envelope import EnvelopeDecoder
from twinpath.detection.model import Alert, Change, Skipped
from twinpath.detection.replay import Replay
from twinpath.detection.rules import RULES, Rule
from twinpath.errors import DecodeError
from twinpath.logs import configure
from twinpath.settings import Settings

SMALL = {"stream_buckets": 4, "stream_max_records": 400}


def settings_of(line: Line, folder: Path, **more: Any) -> Settings:
    dsn = SecretStr(line.stack.credentials.alerts_dsn(line.settings))
    given = {"alerts_dsn": dsn, "stream_checkpoints": str(folder / "checkpoints"), **SMALL, **more}
    return line.settings.model_copy(update=given)


def judge(spark: SparkSession, settings: Settings, *rules: str) -> list[Started]:
    """Judge what is in the topic, in micro-batches; the error of a query that failed is raised."""
    started = start(spark, settings, rules or tuple(RULES), StreamMetrics(), configure("tests"), until_empty=True)
    for one in started:
        with suppress(StreamingQueryException):  # what stopped it is raised by finish
            one.query.awaitTermination(120)
    finish(started)
    return started


def stored(line: Line, rule: Rule, path: str = "spark_stream") -> list[Alert]:
    dsn = line.stack.credentials.dsn("twinpath_lab", line.settings.alerts_database)
    with closing(psycopg2.connect(dsn)) as session, session.cursor() as cursor:
        return read_alerts(cursor, path, rule.name, rule.version)


def counters(line: Line, rule: str, path: str = "spark_stream") -> dict[str, int]:
    query = (
        "SELECT name, sum(value)::int FROM counters WHERE path = %s AND rule = %s GROUP BY name HAVING sum(value) <> 0"
    )
    return dict(line.rows(query, [path, rule]))


def raw_records(line: Line) -> list[Any]:
    """Everything in the topic, partition by partition."""
    found = []
    for partition, end in sorted(fence.end_offsets(line.settings).items()):
        with closing(open_consumer(line.settings, 20_000)) as consumer:
            consumer.assign([TopicPartition(line.settings.topic, partition)])
            while end and (not found or (found[-1].partition, found[-1].offset + 1) != (partition, end)):
                found.append(next(consumer))
    return found


def replays(line: Line, *rules: Rule) -> dict[str, Replay]:
    """`replay` of all that can be read of the topic, by rule."""
    decoder = EnvelopeDecoder(line.settings.envelope())
    changes: list[Change] = []
    for record in raw_records(line):
        with suppress(DecodeError):
            decoded = decoder.decode(record.key, record.value)
            changes.extend(() if isinstance(decoded, Skipped) else decoded)
    return reference.fold(rules or tuple(RULES.values()), changes)


def letters(line: Line, path: str = "spark_stream") -> list[tuple[Any, ...]]:
    """Dead letters: rule, partition, offset, reason, value."""
    rows = line.rows(
        "SELECT rule, partition, kafka_offset, reason, record_value FROM dead_letters WHERE path = %s ORDER BY 1, 2, 3",
        [path],
    )
    return [(*place, bytes(value)) for *place, value in rows]
