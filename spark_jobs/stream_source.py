"""The topic as a streaming frame: raw keys and values, each with the bucket of its user."""

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from spark_jobs.columns import RECORDS, conform
from twinpath import kafka_access
from twinpath.settings import Settings


def read_topic(spark: SparkSession, settings: Settings) -> DataFrame:
    """Records from the beginning of the topic on, as columns.RECORDS.

    A checkpoint decides where to go on; records that are gone fail the query instead of being skipped.
    """
    frame = (
        spark.readStream.format("kafka")
        .option("kafka.bootstrap.servers", settings.kafka_bootstrap_servers)
        .options(**{f"kafka.{name}": value for name, value in kafka_access.java(settings).items()})
        .option("kafka.isolation.level", "read_committed")
        .option("subscribe", settings.topic)
        .option("startingOffsets", "earliest")
        .option("failOnDataLoss", "true")
        .option("maxOffsetsPerTrigger", settings.stream_max_records)
        .option("groupIdPrefix", f"twinpath-stream{settings.suffix}")
        .load()
    )
    placed = frame.withColumns(
        {
            "bucket": bucket(F.col("key"), settings.stream_buckets),
            "appended_us": F.unix_micros(F.col("timestamp")),
        }
    )
    return conform(placed, RECORDS, f"topic {settings.topic}")


def bucket(key: Column, buckets: int) -> Column:
    """The bucket of a record: its user's by floor modulo, 0 when the key cannot be read.

    Only a distribution: the decoder reads the key again, and a change that lies in a wrong bucket stops the query.
    """
    text = key.cast("string")
    user = F.coalesce(F.get_json_object(text, "$.user_id"), F.get_json_object(text, "$.payload.user_id"))
    return F.coalesce(F.pmod(user.try_cast("bigint"), F.lit(buckets)), F.lit(0)).cast("int")
