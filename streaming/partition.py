"""What an agent keeps of one partition that it owns."""

import time
from collections import Counter
from collections.abc import Mapping

import msgspec

from streaming.states import CapturedBucket, States
from twinpath.alert_rows import Checkpoint, Incarnation, PartitionKey
from twinpath.detection.detector import UserState
from twinpath.detection.history import History
from twinpath.detection.rules import Rule
from twinpath.errors import RESYNC, GapError
from twinpath.settings import Settings


class Cut(msgspec.Struct, frozen=True):
    """What a checkpoint will hold: everything as it stood at `next_offset`."""

    key: PartitionKey
    epoch: int
    next_offset: int
    counters: dict[str, int]
    buckets: list[CapturedBucket]


class Partition:
    """The owned state of one partition of the topic.

    `storable` is False while folded records have alerts that are not committed yet: a checkpoint then
    would go past them.
    """

    def __init__(
        self, rule: Rule, key: PartitionKey, taken: Checkpoint, settings: Settings, sources: list[Incarnation]
    ) -> None:
        self.key = key
        self.next_offset = taken.next_offset or 0
        self.counters: Counter[str] = taken.counters
        self.key_was_checked = False
        self.storable = True
        self.states = States(rule, settings.state_buckets, taken.states, settings.live_users)
        self._epoch = taken.epoch
        self._settings = settings
        self._sources = [(one.first_offsets.get(key.partition, 0), one.number) for one in sources]
        self._newest = max(self._sources, key=lambda source: source[1])
        self._cut_offset = self._saved_offset = self.next_offset
        self._cut_counters: dict[str, int] = {}
        self._cut_at = self._saved_at = time.monotonic()
        self._folding_s = 0.0

    def incarnation(self, offset: int) -> int:
        """The incarnation of the source that wrote the record at this offset."""
        first, newest = self._newest
        if offset >= first:  # looked at for every record
            return newest
        return max(number for first, number in self._sources if first <= offset)

    def state_of(self, user_id: int) -> UserState[History]:
        """The live state of a user; from now on it counts as changed."""
        return self.states.of(user_id)

    def folded(self, seconds: float) -> None:
        """Note the time that folding took: what a replay would cost again."""
        self._folding_s += seconds

    def age_s(self) -> float:
        """Seconds since the state that is stored was the newest."""
        return time.monotonic() - self._saved_at

    @property
    def moved(self) -> bool:
        """True when records were folded since the last checkpoint that is stored."""
        return self._saved_offset != self.next_offset

    def due(self, idle_s: float) -> bool:
        """True when the partition moved and a checkpoint is wanted: by cost, by age or by idleness."""
        return self.moved and (
            self._folding_s >= self._settings.checkpoint_replay_s
            or self.age_s() >= self._settings.checkpoint_every_s
            or idle_s >= self._settings.checkpoint_idle_s
        )

    def begin_cut(self) -> None:
        """A checkpoint will show everything as it stands now; the alerts below next_offset are committed."""
        self._cut_offset, self._cut_counters = self.next_offset, dict(self.counters)
        self._cut_at = time.monotonic()
        self._folding_s = 0.0
        self.states.begin_cut()

    def finish_cut(self) -> Cut:
        """What `begin_cut` asked for; every bucket is captured."""
        return Cut(self.key, self._epoch, self._cut_offset, self._cut_counters, self.states.take_captured())

    def note_saved(self, sizes: Mapping[int, tuple[int, int]]) -> None:
        """The cut is stored; `sizes` holds the part and bytes of each of its buckets."""
        self.states.note_saved(sizes)
        self._saved_offset = self._cut_offset
        self._saved_at = self._cut_at


def check_bounds(topic: str, partition: int, next_offset: int | None, bounds: tuple[int, int]) -> None:
    """GapError when the log no longer holds the next record to judge, or never held it."""
    low, high = bounds
    wanted = 0 if next_offset is None else next_offset
    if wanted < low:
        raise GapError(
            f"topic {topic} partition {partition}: offsets {wanted} to {low - 1} were never judged and are gone "
            f"from the log (retention, or records deleted). {RESYNC}"
        )
    if wanted > high:
        raise GapError(
            f"topic {topic} partition {partition}: the checkpoint stands at offset {wanted}, but the log ends at "
            f"{high}: it was cut or made anew. {RESYNC}"
        )


def offsets_of(partitions: Mapping[int, Partition]) -> dict[int, int]:
    """Where to read on, by partition."""
    return {number: partition.next_offset for number, partition in partitions.items()}
