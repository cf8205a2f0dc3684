"""The users of one partition: those in use as objects, all others as bytes.

A checkpoint takes what changed since the last one, bucket by bucket, in slices between polls. From
`begin_cut` on, a bucket is captured before its next change, so that the cut shows every bucket as it
stood when it began, while folding goes on.
"""

import time
from collections import deque
from collections.abc import Mapping, Sequence

import msgspec

from twinpath.detection.buckets import BucketCodec, bucket_of
from twinpath.detection.detector import UserState, empty
from twinpath.detection.history import History
from twinpath.detection.rules import Rule


class CapturedBucket(msgspec.Struct, frozen=True):
    """What a cut holds of one bucket: `part` 0 is all its users, part n those that changed since part n - 1."""

    bucket: int
    part: int
    users: dict[int, bytes]


class _Parts(msgspec.Struct):
    """What is stored of a bucket: number of its last part, bytes of part 0 and of the parts after it."""

    last: int = -1
    whole_bytes: int = 0
    later_bytes: int = 0


class States:
    """The states of a partition, by user; at most `live_users` of them as objects.

    `_ready` holds those live users that count as changed since the last cut began: nothing is left to be
    noted when they change again, and most changes come to them.
    """

    def __init__(self, rule: Rule, buckets: int, stored: Mapping[int, Sequence[bytes]], live_users: int) -> None:
        self._rule = rule
        self._codec = BucketCodec(rule)
        self._buckets = buckets
        self._live_users = live_users
        self._kept = {bucket: self._codec.merge(parts) for bucket, parts in stored.items()}
        self._parts = {
            bucket: _Parts(len(parts) - 1, len(parts[0]), sum(map(len, parts[1:]))) for bucket, parts in stored.items()
        }
        self._live: dict[int, UserState[History]] = {}
        self._ready: dict[int, UserState[History]] = {}
        self._order: deque[int] = deque()  # of becoming live, the earliest first
        self._changed: dict[int, set[int]] = {}
        self._waiting: dict[int, set[int]] = {}
        self._captured: list[CapturedBucket] = []
        self._held_up_s = 0.0
        self.users = sum(map(len, self._kept.values()))

    def of(self, user_id: int) -> UserState[History]:
        """The live state of a user, to be changed at once: it counts as changed from now on."""
        ready = self._ready.get(user_id)
        if ready is not None:
            return ready
        bucket = bucket_of(user_id, self._buckets)
        if bucket in self._waiting:
            self._capture_before_a_change(bucket)
        changed = self._changed.get(bucket)
        if changed is None:
            changed = self._changed[bucket] = set()
        changed.add(user_id)
        state = self._live.get(user_id)
        if state is None:
            state = self._enliven(bucket, user_id)
        self._ready[user_id] = state
        return state

    @property
    def live(self) -> int:
        """Users that are objects now."""
        return len(self._live)

    def begin_cut(self) -> None:
        """From now on, show every bucket as it stands now."""
        self._waiting, self._changed, self._ready = self._changed, {}, {}
        self._captured = []

    def capture(self, until: float) -> bool:
        """Capture buckets until this time of `time.perf_counter`, at least one; True when all are captured."""
        while self._waiting:
            self._capture(next(iter(self._waiting)))
            if time.perf_counter() >= until:
                break
        return not self._waiting

    def take_captured(self) -> list[CapturedBucket]:
        """What the cut holds, once."""
        captured, self._captured = self._captured, []
        return captured

    def note_saved(self, sizes: Mapping[int, tuple[int, int]]) -> None:
        """The parts that were stored: bucket -> (part, bytes)."""
        for bucket, (part, size) in sizes.items():
            if part == 0:
                self._parts[bucket] = _Parts(0, size, 0)
            else:
                known = self._parts[bucket]
                known.last, known.later_bytes = part, known.later_bytes + size

    def take_held_up_s(self) -> float:
        """Seconds for which changes waited for a capture, since this was asked last."""
        seconds, self._held_up_s = self._held_up_s, 0.0
        return seconds

    def _capture_before_a_change(self, bucket: int) -> None:
        began = time.perf_counter()
        self._capture(bucket)
        self._held_up_s += time.perf_counter() - began

    def _capture(self, bucket: int) -> None:
        changed = self._waiting.pop(bucket)
        kept = self._kept.setdefault(bucket, {})
        for user_id in changed:
            state = self._live.get(user_id)
            if state is not None:
                kept[user_id] = self._codec.encode_user(state)
        parts = self._parts.get(bucket, _Parts())
        if parts.later_bytes >= parts.whole_bytes:
            self._captured.append(CapturedBucket(bucket, 0, dict(kept)))
        else:
            users = {user_id: kept[user_id] for user_id in changed}
            self._captured.append(CapturedBucket(bucket, parts.last + 1, users))

    def _enliven(self, bucket: int, user_id: int) -> UserState[History]:
        data = self._kept.get(bucket, {}).get(user_id)
        if data is None:
            state = empty(self._rule)
            self.users += 1
        else:
            state = self._codec.decode_user(data)
        if len(self._live) >= self._live_users:
            oldest = self._order.popleft()
            kept = self._kept.setdefault(bucket_of(oldest, self._buckets), {})
            kept[oldest] = self._codec.encode_user(self._live.pop(oldest))
            self._ready.pop(oldest, None)
        self._live[user_id] = state
        self._order.append(user_id)
        return state
