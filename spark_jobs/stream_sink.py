"""What happens to a micro-batch, on the driver, by `foreachBatch`: at least once, and safe to repeat.

1. what the buckets came to is collected, once: that runs the fold and commits Spark's state;
2. the topic is still the one that the query began with;
3. everything is stored in one transaction (stream_store.py);
4. Spark notes the micro-batch as finished. A kill before that runs it again, with the same records and state.
"""

import threading
from collections import Counter
from typing import Any

import msgspec
import tenacity
from pyspark.sql import DataFrame, SparkSession

from spark_jobs.stream_checkpoint import planned_ends
from spark_jobs.stream_fold import Alarm, BucketFold
from spark_jobs.stream_metrics import StreamMetrics
from spark_jobs.stream_queries import QueryPlan
from spark_jobs.stream_store import Batch, StreamStore
from twinpath.alert_rows import Written
from twinpath.errors import RESYNC, AlertStoreUnavailable, ChangeLogUnavailable, GapError
from twinpath.failpoints import fail_at
from twinpath.kafka_topic import KafkaTopic

LONGEST_WAIT_S = 5.0


class Sink:
    """The sink of one query; `problem` keeps what stopped it, for Spark only passes its text on."""

    def __init__(
        self,
        spark: SparkSession,
        plan: QueryPlan,
        location: str,
        store: StreamStore,
        topic: KafkaTopic,
        topic_name: str,
        topic_id: str,
        metrics: StreamMetrics,
        logger: Any,
    ) -> None:
        self._spark = spark
        self._plan = plan
        self._location = location
        self._store = store
        self._topic = topic
        self._topic_name = topic_name
        self._topic_id = topic_id
        self._metrics = metrics
        self._logger = logger
        self._decoder = msgspec.msgpack.Decoder(BucketFold)
        self._alarms: Counter[str] = Counter()
        self._checkpoint_id = ""
        self._identified = threading.Event()
        self.stopping = threading.Event()
        self.problem: Exception | None = None

    def identify(self, checkpoint_id: str) -> None:
        """Spark's id of the query's checkpoint; micro-batches wait for it."""
        self._checkpoint_id = checkpoint_id
        self._identified.set()

    def __call__(self, frame: DataFrame, batch_id: int) -> None:
        """Take one micro-batch."""
        try:
            self._take(frame, batch_id)
        except Exception as error:
            self.problem = error
            raise

    def _take(self, frame: DataFrame, batch_id: int) -> None:
        folds = [self._decoder.decode(row.fold) for row in frame.collect()]
        self._identified.wait()
        ends = planned_ends(self._spark, self._location, batch_id, self._topic_name)
        progress = {
            "records": sum(fold.records for fold in folds),
            "buckets": len(folds),
            "state_bytes": sum(fold.state_bytes for fold in folds),
            "newest_us": max((fold.newest_us for fold in folds), default=None),
        }
        batch = Batch(batch_id, self._checkpoint_id, ends, folds, progress)
        fail_at("before_write")
        written = self._patiently(batch)
        fail_at("after_write")
        self._metrics.stored(self._plan.name, self._plan.rules, folds, written)
        for fold in folds:
            for alarm in fold.alarms:
                self._alarm(alarm)

    def _patiently(self, batch: Batch) -> dict[str, Written]:
        """Store it; while the alert store or Kafka is away the query stands still, and nothing is dropped."""
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type((AlertStoreUnavailable, ChangeLogUnavailable)),
            wait=tenacity.wait_exponential(multiplier=0.1, max=LONGEST_WAIT_S),
            stop=lambda _state: self.stopping.is_set(),
            sleep=self._rest,
            before_sleep=self._note_failure,
            reraise=True,
        )
        written: dict[str, Written] = retrying(self._write, batch)
        if retrying.statistics.get("attempt_number", 1) > 1:
            self._logger.info("back")
        return written

    def _rest(self, seconds: float) -> None:
        self.stopping.wait(seconds)

    def _write(self, batch: Batch) -> dict[str, Written]:
        found, _ = self._topic.describe()
        if found != self._topic_id:
            raise GapError(f"topic {self._topic_name} was made anew while we read it. {RESYNC}")
        return self._store.write(self._plan, batch)

    def _note_failure(self, state: tenacity.RetryCallState) -> None:
        problem = state.outcome.exception() if state.outcome else None
        self._metrics.store_failures.labels(self._plan.name).inc()
        if state.attempt_number == 1:
            self._logger.warning("waiting", problem=str(problem))

    def _alarm(self, alarm: Alarm) -> None:
        """Warn at the first time of a reason and when its count reaches a tenfold, so that a storm fills no disk."""
        before = self._alarms[alarm.reason]
        self._alarms[alarm.reason] += alarm.times
        if len(str(before)) != len(str(self._alarms[alarm.reason])) or before == 0:
            self._logger.warning(
                alarm.reason, partition=alarm.partition, offset=alarm.offset, times=self._alarms[alarm.reason]
            )
