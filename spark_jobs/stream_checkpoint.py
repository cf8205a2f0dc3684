"""Looking into the folder of a Spark checkpoint, on whatever file system it is, by Hadoop's own classes."""

import json
from typing import Any

from py4j.protocol import Py4JError
from pyspark.sql import SparkSession

from spark_jobs.stream_queries import FoundCheckpoint
from twinpath.errors import ForeignCheckpoint


def look(spark: SparkSession, location: str) -> FoundCheckpoint:
    """What lies there; ForeignCheckpoint for a folder that cannot be read."""
    jvm: Any = spark.sparkContext._jvm
    try:
        root = jvm.org.apache.hadoop.fs.Path(location)
        files = root.getFileSystem(spark.sparkContext._jsc.hadoopConfiguration())
        if not files.exists(root):
            return FoundCheckpoint()
        planned, finished = (_newest(jvm, files, root, name) for name in ("offsets", "commits"))
        return FoundCheckpoint(_identity(jvm, files, root), planned, finished)
    except Py4JError as error:
        raise ForeignCheckpoint(f"the checkpoint {location} cannot be read: {str(error).splitlines()[-1]}") from None


def is_local(spark: SparkSession, location: str) -> bool:
    """Whether the folder is on this machine's own disk."""
    jvm: Any = spark.sparkContext._jvm
    path = jvm.org.apache.hadoop.fs.Path(location)
    files = path.getFileSystem(spark.sparkContext._jsc.hadoopConfiguration())
    return str(files.getScheme()) == "file"


def _newest(jvm: Any, files: Any, root: Any, name: str) -> int | None:
    folder = jvm.org.apache.hadoop.fs.Path(root, name)
    if not files.exists(folder):
        return None
    names = [status.getPath().getName() for status in files.listStatus(folder)]
    return max((int(one) for one in names if one.isdigit()), default=None)


def _identity(jvm: Any, files: Any, root: Any) -> str | None:
    """Spark's id of the checkpoint; a file without one is not from Spark, or was cut."""
    path = jvm.org.apache.hadoop.fs.Path(root, "metadata")
    if not files.exists(path):
        return None
    text = _text(files, path)
    try:
        return str(json.loads(text)["id"])
    except (ValueError, KeyError, TypeError):
        raise ForeignCheckpoint(
            f"{path.toString()}: found {text[:80]!r}, wanted Spark's id of the checkpoint. Remove the folder: the log "
            "is then judged from its beginning, and alerts that are stored are kept"
        ) from None


def planned_ends(spark: SparkSession, location: str, batch_id: int, topic: str) -> dict[int, int]:
    """Where a micro-batch ends in each partition, as Spark planned it in its log of offsets."""
    jvm: Any = spark.sparkContext._jvm
    path = jvm.org.apache.hadoop.fs.Path(f"{location}/offsets/{batch_id}")
    files = path.getFileSystem(spark.sparkContext._jsc.hadoopConfiguration())
    for line in reversed(_text(files, path).splitlines()):
        try:
            found = json.loads(line).get(topic)
        except (ValueError, AttributeError):
            continue
        if found is not None:
            return {int(partition): int(offset) for partition, offset in found.items()}
    raise ForeignCheckpoint(f"{path.toString()} plans no offsets of topic {topic}")


def _text(files: Any, path: Any) -> str:
    stream = files.open(path)
    try:
        return bytes(stream.readAllBytes()).decode()
    finally:
        stream.close()
