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


def conform(frame: DataFrame, contract: T.StructType, what: str) -> DataFrame:
    """The columns of the contract, in its order and types; ConfigurationError names what is missing."""
    missing = [name for name in contract.names if name not in frame.columns]
    if missing:
        raise ConfigurationError(
            f"{what}: found the columns {', '.join(frame.columns)}; wanted also {', '.join(missing)}"
        )
    return frame.select(*(F.col(field.name).cast(field.dataType) for field in contract.fields))
