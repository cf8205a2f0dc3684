"""Starting the queries of a job: every check before the first record, then one query for each plan."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import msgspec
import pandas as pd
from pyspark.sql import SparkSession
from pyspark.sql.streaming.query import StreamingQuery
from pyspark.sql.streaming.state import GroupState, GroupStateTimeout

from spark_jobs.columns import BUCKET_FOLDS, BUCKET_STATE
from spark_jobs.stream_checkpoint import is_local, look, planned_ends
from spark_jobs.stream_fold import BucketFold, BucketFolder, Plan, Record
from spark_jobs.stream_metrics import StreamMetrics
from spark_jobs.stream_queries import Offsets, QueryPlan, Start, plan_queries, start_of
from spark_jobs.stream_sink import Sink
from spark_jobs.stream_source import read_topic
from spark_jobs.stream_store import PATH, StreamStore
from twinpath import kafka_access
from twinpath.alert_store import AlertStore
from twinpath.detection.rules import configured
from twinpath.errors import RESYNC, GapError
from twinpath.kafka_topic import KafkaTopic
from twinpath.rule_versions import RuleVersions, reading_of
from twinpath.settings import ROOT, Settings

STATE_STORE = {
    "spark.sql.streaming.stateStore.providerClass": (
        "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider"
    ),
    "spark.sql.streaming.stateStore.rocksdb.changelogCheckpointing.enabled": "true",
    "spark.sql.streaming.minBatchesToRetain": "10",  # each holds the buckets that its micro-batch touched, whole
    "spark.sql.streaming.noDataMicroBatches.enabled": "false",
}
FILE_MANAGER = "spark.sql.streaming.checkpointFileManagerClass"
LOCAL_FILES = "org.apache.spark.sql.execution.streaming.checkpointing.FileSystemBasedCheckpointFileManager"


class Started(NamedTuple):
    """A query that runs."""

    plan: QueryPlan
    query: StreamingQuery
    sink: Sink
    store: StreamStore


def judging(plan: Plan) -> Callable[[tuple[Any, ...], Iterable[pd.DataFrame], GroupState], Iterator[pd.DataFrame]]:
    """The function for applyInPandasWithState: the chunks of a bucket in, one line of columns.BUCKET_FOLDS out."""
    made: list[BucketFolder] = []  # once in each task

    def judge(key: tuple[Any, ...], chunks: Iterable[pd.DataFrame], state: GroupState) -> Iterator[pd.DataFrame]:
        if not made:
            made.append(BucketFolder(plan))
        bucket = int(key[0])
        blob = bytes(state.get[0]) if state.exists else None
        fold, blob = made[0].fold(bucket, [record for chunk in chunks for record in records_of(chunk)], blob)
        state.update((blob,))
        yield judged(fold)

    return judge


def judged(fold: BucketFold) -> pd.DataFrame:
    """One row of columns.BUCKET_FOLDS."""
    return pd.DataFrame({"bucket": [fold.bucket], "fold": [msgspec.msgpack.encode(fold)]})


def records_of(chunk: pd.DataFrame) -> Iterator[Record]:
    """Rows of columns.RECORDS."""
    columns = ("partition", "offset", "key", "value", "appended_us")
    return zip(*(chunk[name].tolist() for name in columns), strict=True)


def start(
    spark: SparkSession,
    settings: Settings,
    rule_names: Sequence[str],
    metrics: StreamMetrics,
    logger: Any,
    *,
    until_empty: bool = False,
) -> list[Started]:
    """Check everything and start the queries; `until_empty` ends each when what is in the topic now was judged.

    Raises ConfigurationError, ForeignCheckpoint and GapError before anything is read.
    """
    dsn = settings.alerts_dsn.get_secret_value()
    topic = KafkaTopic(settings.kafka_bootstrap_servers, settings.topic, kafka_access.librdkafka(settings))
    topic_id, partitions = topic.describe()
    versions = RuleVersions(dsn, PATH)
    rules = [configured(name, settings.rule_parameters, versions.generation(name)) for name in rule_names]
    with closing(AlertStore(dsn, PATH)) as alerts:
        sources = tuple(alerts.incarnations(settings.topic, topic_id))

    with closing(StreamStore(dsn, topic_id, partitions, settings.stream_buckets)) as store:
        plans = plan_queries(rules, store.known(), {rule.name: store.marks(rule) for rule in rules})
    begins: list[tuple[QueryPlan, str, Start]] = []
    for one in plans:
        location = f"{checkpoints(settings)}/{topic_id}/{one.name}"
        found = look(spark, location)
        begins.append((one, location, start_of(one, location, found)))
        done = {} if found.finished is None else planned_ends(spark, location, found.finished, settings.topic)
        check_held(settings.topic, topic.begins(partitions), done, one.name)
    for rule in rules:
        versions.activate(rule, reading_of(settings.envelope()))
    started = []
    for one, location, how in begins:
        store = StreamStore(dsn, topic_id, partitions, settings.stream_buckets)
        store.begin(one, location)
        if how == "judges again":
            store.start_over(one)
            logger.warning("the checkpoint is gone: judging the log from its beginning", query=one.name, was=location)
        plan = Plan(one.rules, settings.stream_buckets, settings.envelope(), settings.topic, sources)
        sink = Sink(spark, one, location, store, topic, settings.topic, topic_id, metrics, logger.bind(query=one.name))
        query = _start(spark, settings, plan, sink, one.name, location, until_empty=until_empty)
        metrics.note(one.name, alive=True)
        logger.info("query", query=one.name, begins=how, checkpoint=location)
        started.append(Started(one, query, sink, store))
    return started


def set_up_state(spark: SparkSession, settings: Settings, location: str) -> None:
    """How the next query keeps its state and its checkpoint."""
    for key, value in STATE_STORE.items():
        spark.conf.set(key, value)
    if is_local(spark, location):  # Spark's own choice starts `readlink` processes for each file that it renames there
        spark.conf.set(FILE_MANAGER, LOCAL_FILES)
    spark.conf.set("spark.sql.shuffle.partitions", str(settings.stream_partitions))


def _start(
    spark: SparkSession, settings: Settings, plan: Plan, sink: Sink, name: str, location: str, *, until_empty: bool
) -> StreamingQuery:
    set_up_state(spark, settings, location)
    folded = (
        read_topic(spark, settings)
        .groupBy("bucket")
        .applyInPandasWithState(judging(plan), BUCKET_FOLDS, BUCKET_STATE, "update", GroupStateTimeout.NoTimeout)
    )
    writer = folded.writeStream.queryName(name).outputMode("update").option("checkpointLocation", location)
    if until_empty:
        writer = writer.trigger(availableNow=True)
    else:
        writer = writer.trigger(processingTime=f"{round(settings.stream_trigger_s * 1000)} milliseconds")
    query = writer.foreachBatch(sink).start()
    sink.identify(str(query.id))
    return query


def checkpoints(settings: Settings) -> str:
    """The folder of all checkpoints."""
    return settings.stream_checkpoints.rstrip("/") or str(ROOT / ".twinpath" / f"spark-stream{settings.suffix}")


def check_held(topic: str, begins: Offsets, done: Offsets, query: str) -> None:
    """GapError unless every partition still holds the records past what the checkpoint has finished."""
    gone = [
        f"partition {number} offsets {done.get(number, 0)} to {begin - 1}"
        for number, begin in sorted(begins.items())
        if begin > done.get(number, 0)
    ]
    if gone:
        raise GapError(
            f"topic {topic}: {', '.join(gone)} were never judged by query {query} and are gone from the log "
            f"(retention, or records deleted). Nothing was changed. {RESYNC}"
        )
