"""What the streaming path is measured against: parts of it, and other forms of it, over the same topic to nowhere.

    spark-submit spark_jobs/stream_limits.py --what decode

Judges nothing that counts: no alert store, a checkpoint in a temporary folder. The last line on stdout is one JSON
object with the records and seconds of each micro-batch. The bench starts this program; nobody else needs it.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pandas as pd
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.streaming.stateful_processor import StatefulProcessor, StatefulProcessorHandle

from spark_jobs.columns import BUCKET_FOLDS, BUCKET_STATE
from spark_jobs.session import open_session
from spark_jobs.stream_fold import BucketFolder, Plan
from spark_jobs.stream_run import judged, judging, records_of, set_up_state
from spark_jobs.stream_source import bucket, read_topic
from twinpath.alert_rows import Incarnation
from twinpath.detection.envelope import EnvelopeDecoder, EnvelopeFormat
from twinpath.detection.model import Skipped
from twinpath.detection.rules import RULES
from twinpath.settings import Settings, load_settings

USERS_APART = 2**31 - 1  # as many buckets as users: each is a group of its own
PAYLOAD = (
    "before STRUCT<id: BIGINT, user_id: BIGINT, amount: STRING, merchant_id: BIGINT, created_at: STRING>, "
    "after STRUCT<id: BIGINT, user_id: BIGINT, amount: STRING, merchant_id: BIGINT, created_at: STRING>, "
    "source STRUCT<sequence: STRING, txId: BIGINT, ts_us: BIGINT, db: STRING, schema: STRING, table: STRING>, "
    "op STRING, ts_us BIGINT"
)


class Folding(StatefulProcessor):
    """The fold by transformWithStateInPandas: the same blob in a value state."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def init(self, handle: StatefulProcessorHandle) -> None:
        """Once in each task."""
        self._folder = BucketFolder(self._plan)
        self._blob = handle.getValueState("blob", BUCKET_STATE)

    def handleInputRows(self, key: Any, rows: Iterator[pd.DataFrame], timerValues: Any) -> Iterator[pd.DataFrame]:
        """The chunks of one bucket."""
        found = self._blob.get()
        records = [record for chunk in rows for record in records_of(chunk)]
        fold, blob = self._folder.fold(int(key[0]), records, None if found is None else bytes(found[0]))
        self._blob.update((blob,))
        yield judged(fold)

    def close(self) -> None:
        """Nothing is held."""


def decoding(fmt: EnvelopeFormat) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The envelope alone, in Python: raw records in, how many changes they are out."""

    def decode(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        decoder = EnvelopeDecoder(fmt)
        for batch in batches:
            changes = 0
            for key, value in zip(batch.column("key").to_pylist(), batch.column("value").to_pylist(), strict=True):
                decoded = decoder.decode(key, value)
                changes += 0 if isinstance(decoded, Skipped) else len(decoded)
            yield pa.RecordBatch.from_arrays([pa.array([changes], pa.int64())], names=["changes"])

    return decode


def built(records: DataFrame, what: str, plan: Plan) -> DataFrame:
    """The part or form that is measured."""
    if what == "read":
        return records
    if what == "decode":
        return records.mapInArrow(decoding(plan.fmt), "changes BIGINT")
    if what == "from_json":
        return records.select(F.from_json(F.col("value").cast("string"), PAYLOAD).alias("event")).select("event.*")
    groups = records.groupBy("bucket")
    if what == "transform":
        return groups.transformWithStateInPandas(Folding(plan), BUCKET_FOLDS, "Update", "None")
    return groups.applyInPandasWithState(judging(plan), BUCKET_FOLDS, BUCKET_STATE, "update", "NoTimeout")


FORMS = ("read", "decode", "from_json", "state", "transform", "users")


def measure(spark: SparkSession, settings: Settings, what: str, rules: int) -> dict[str, Any]:
    """Run to the end of the topic; records and seconds of each micro-batch."""
    buckets = USERS_APART if what == "users" else settings.stream_buckets
    sources = (Incarnation(1, "", {}),)
    plan = Plan(tuple(RULES.values())[:rules], buckets, settings.envelope(), settings.topic, sources)
    records = read_topic(spark, settings)
    if what == "users":
        records = records.withColumn("bucket", bucket(F.col("key"), buckets))
    with tempfile.TemporaryDirectory() as folder:
        set_up_state(spark, settings, folder)
        query = (
            built(records, what, plan)
            .writeStream.format("noop")
            .outputMode("update" if what in ("state", "transform", "users") else "append")
            .option("checkpointLocation", folder)
            .trigger(availableNow=True)
            .start()
        )
        query.awaitTermination()
        found = [json.loads(one.json) for one in query.recentProgress]
    state = found[-1]["stateOperators"]
    return {
        "what": what,
        "batches": [
            {"records": one["numInputRows"], "seconds": one["durationMs"]["triggerExecution"] / 1000} for one in found
        ],
        "state_bytes": state[0]["memoryUsedBytes"] if state else 0,
        "phases": found[-1]["durationMs"],
    }


def main(arguments: list[str] | None = None) -> int:
    """Measure one form."""
    wanted = argparse.ArgumentParser(prog="stream_limits.py", description="Measure a part of the streaming path.")
    wanted.add_argument("--what", choices=FORMS, nargs="+", required=True)
    wanted.add_argument("--rules", type=int, default=len(RULES), help="how many rules are folded")
    options = wanted.parse_args(arguments)
    spark = open_session("stream_limits")
    try:
        for what in options.what:
            sys.stdout.write(f"{json.dumps(measure(spark, load_settings(), what, options.rules))}\n")
            sys.stdout.flush()
    finally:
        spark.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
