"""Schema contracts: what a job reads, and what its parts hand to one another."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from twinpath.errors import ConfigurationError

ROWS = T.StructType(
    [
        T.StructField("id", T.LongType()),
        T.StructField("user_id", T.LongType()),
        T.StructField("amount", T.StringType()),  # text, as PostgreSQL writes it: decoded by the rules' own decoder
        T.StructField("created_us", T.LongType()),  # microseconds since 1970 UTC; null: no finite time
        T.StructField("merchant_id", T.LongType()),
        T.StructField("xid", T.LongType()),  # of the row version, widened by the snapshot's epoch
        T.StructField("commit_us", T.LongType()),  # commit of that transaction; null: PostgreSQL no longer knows
    ]
)
"""One visible row of `transactions`."""

FOLDED = T.StructType(
    [
        T.StructField("bucket", T.IntegerType()),
        T.StructField("rule", T.StringType()),
        T.StructField("rows", T.LongType()),
        T.StructField("alerts", T.LongType()),
        T.StructField("judged", T.BinaryType()),  # ids as ranges
        T.StructField("folded", T.BinaryType()),  # (id, xid) pairs that the next run must not fold again
        T.StructField("highest", T.LongType()),  # of the watermark's column
        T.StructField("counts", T.BinaryType()),  # changes by what they did
        T.StructField("began_us", T.LongType()),  # when its partition had its first row, by the executor's clock
        T.StructField("staged_us", T.LongType()),  # what staging took
    ]
)
"""What folding one bucket for one rule came to; alerts and state are staged beside it."""

RECORDS = T.StructType(
    [
        T.StructField("bucket", T.IntegerType()),
        T.StructField("partition", T.IntegerType()),
        T.StructField("offset", T.LongType()),
        T.StructField("key", T.BinaryType()),
        T.StructField("value", T.BinaryType()),
        T.StructField("appended_us", T.LongType()),  # Kafka's stamp of the record, microseconds since 1970 UTC
    ]
)
"""One record of the topic as Kafka holds it, with the bucket of its user."""

BUCKET_FOLDS = T.StructType([T.StructField("bucket", T.IntegerType()), T.StructField("fold", T.BinaryType())])
"""What one micro-batch came to in one bucket: stream_fold.BucketFold as MessagePack."""

BUCKET_STATE = T.StructType([T.StructField("blob", T.BinaryType())])
"""State of a bucket. One blob, because an array column in a state schema fails in Spark 4.2.0."""


def conform(frame: DataFrame, contract: T.StructType, what: str) -> DataFrame:
    """The columns of the contract, in its order and types; ConfigurationError names what is missing."""
    missing = [name for name in contract.names if name not in frame.columns]
    if missing:
        raise ConfigurationError(
            f"{what}: found the columns {', '.join(frame.columns)}; wanted also {', '.join(missing)}"
        )
    return frame.select(*(F.col(field.name).cast(field.dataType) for field in contract.fields))
