"""What an agent keeps of one partition, and when it is written.

The order of a checkpoint, kept by the loop in agent.py:

1. alerts and dead letters below offset o are committed;
2. changed state, o and the counters, with the epoch compared, in one transaction;
3. Kafka's committed offset, for lag tools only.

Live states are objects in memory; they are encoded only here, bucket by bucket, and only those that
changed since the last checkpoint.
"""

import time
from collections import Counter
from collections.abc import Mapping

from twinpath.alert_rows import Checkpoint, Incarnation, PartitionKey
from twinpath.alert_store import AlertStore
from twinpath.detection.buckets import BucketCodec, bucket_of
from twinpath.detection.detector import UserState, empty
from twinpath.detection.history import History
from twinpath.detection.rules import Rule
from twinpath.errors import START_AFRESH, GapError
from twinpath.settings import Settings


class Partition:
    """The owned state of one partition of the topic.

    `storable` is False while folded records have alerts that are not committed yet: a checkpoint then
    would go past them.
    """

    def __init__(
        self,
        rule: Rule,
        key: PartitionKey,
        taken: Checkpoint,
        buckets: int,
        sources: list[Incarnation],
    ) -> None:
        self.key = key
        self.epoch = taken.epoch
        self.next_offset = taken.next_offset or 0
        self.counters: Counter[str] = taken.counters
        self.key_was_checked = False
        self.storable = True
        self._rule = rule
        self._codec = BucketCodec(rule)
        self._buckets = buckets
        self._states = {bucket: self._codec.decode(data) for bucket, data in taken.states.items()}
        self._changed: set[int] = set()
        self._since = time.monotonic()
        self._folding_s = 0.0
        self._saved_offset = self.next_offset
        self._sources = [(one.first_offsets.get(key.partition, 0), one.number) for one in sources]

    def incarnation(self, offset: int) -> int:
        """The incarnation of the source that wrote the record at this offset."""
        return max(number for first, number in self._sources if first <= offset)

    def state_of(self, user_id: int) -> UserState[History]:
        """The live state of a user; from now on its bucket counts as changed."""
        bucket = bucket_of(user_id, self._buckets)
        self._changed.add(bucket)
        states = self._states.get(bucket)
        if states is None:
            states = self._states[bucket] = {}
        state = states.get(user_id)
        if state is None:
            state = states[user_id] = empty(self._rule)
        return state

    def folded(self, seconds: float) -> None:
        """Note the time that folding took: what a replay would cost again."""
        self._folding_s += seconds

    def age_s(self) -> float:
        """Seconds since the last checkpoint."""
        return time.monotonic() - self._since

    @property
    def moved(self) -> bool:
        """True when records were folded since the last checkpoint."""
        return self._saved_offset != self.next_offset

    def due(self, settings: Settings, idle_s: float) -> bool:
        """True when the partition moved and a checkpoint is wanted: by cost, by age or by idleness."""
        return self.moved and (
            self._folding_s >= settings.checkpoint_replay_s
            or self.age_s() >= settings.checkpoint_every_s
            or idle_s >= settings.checkpoint_idle_s
        )

    def save(self, store: AlertStore) -> int:
        """Write what changed; returns the bytes of state. The alerts below next_offset are committed."""
        states = {bucket: self._codec.encode(self._states[bucket]) for bucket in self._changed}
        store.save(self.key, self.epoch, self.next_offset, states, self.counters)
        self._changed.clear()
        self._since = time.monotonic()
        self._folding_s = 0.0
        self._saved_offset = self.next_offset
        return sum(len(data) for data in states.values())


def check_bounds(topic: str, partition: int, next_offset: int | None, bounds: tuple[int, int]) -> None:
    """GapError when the log no longer holds the next record to judge, or never held it."""
    low, high = bounds
    wanted = 0 if next_offset is None else next_offset
    if wanted < low:
        raise GapError(
            f"topic {topic} partition {partition}: offsets {wanted} to {low - 1} were never judged and are gone "
            f"from the log (retention, or records deleted). {START_AFRESH}"
        )
    if wanted > high:
        raise GapError(
            f"topic {topic} partition {partition}: the checkpoint stands at offset {wanted}, but the log ends at "
            f"{high}: it was cut or made anew. {START_AFRESH}"
        )


def offsets_of(partitions: Mapping[int, Partition]) -> dict[int, int]:
    """Where to read on, by partition."""
    return {number: partition.next_offset for number, partition in partitions.items()}
