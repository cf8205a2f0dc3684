"""When and how checkpoints are written: beside the loop, which goes on folding.

The order of a checkpoint:

1. alerts and dead letters below offset o are committed (the loop does it before `turn`);
2. everything that changed is captured as it stood at o, in slices between polls;
3. state, o and the counters, with the epoch compared, in one transaction, by another thread;
4. Kafka's committed offset, for lag tools only.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future
from typing import Any

import msgspec

from streaming.change_log import ChangeLog
from streaming.metrics import Metrics
from streaming.partition import Cut, Partition
from twinpath.alert_rows import StatePart
from twinpath.alert_store import AlertStore
from twinpath.detection.buckets import BucketCodec
from twinpath.detection.rules import Rule
from twinpath.errors import AlertStoreUnavailable, OwnershipLost
from twinpath.failpoints import fail_at

SLICE_S = 0.001  # of one turn of the loop; the last bucket of a slice may take a few times as long
LONGEST_WAIT_S = 5.0
FINISH_S = 30.0

Sizes = dict[int, tuple[int, int]]
"""bucket -> (part, bytes) of what was stored."""


class Saver:
    """Writes cuts one after the other, on a session of its own; `executor` has one worker."""

    def __init__(self, rule: Rule, store: AlertStore, executor: Executor) -> None:
        self._codec = BucketCodec(rule)
        self._store = store
        self._executor = executor

    def submit(self, cut: Cut) -> "Future[Sizes]":
        """Begin to write; the result comes later. A cut that could not be written may be submitted again."""
        return self._executor.submit(self._write, cut)

    def close(self) -> None:
        """Wait for what is being written, and end the session."""
        self._executor.shutdown(cancel_futures=True)
        self._store.close()

    def _write(self, cut: Cut) -> Sizes:
        """Bucket by bucket: a second copy of the whole state would be the largest thing in memory."""
        sizes: Sizes = {}

        def parts() -> Iterator[StatePart]:
            for one in cut.buckets:
                data = self._codec.join(one.users)
                sizes[one.bucket] = (one.part, len(data))
                yield StatePart(one.bucket, one.part, data)

        self._store.save(cut.key, cut.epoch, cut.next_offset, parts(), cut.counters)
        while cut.buckets:  # freed one by one: all at once would hold up the loop
            cut.buckets.pop()
        return sizes


class _UnderWay(msgspec.Struct):
    """One checkpoint on its way: captured when there is a cut, being written when there is a result to come."""

    partition: Partition
    cut: Cut | None = None
    result: Any = None
    failures: int = 0
    not_before: float = 0.0


class Checkpoints:
    """The checkpoints of an agent's partitions; at most one of each under way."""

    def __init__(self, saver: Saver, log: ChangeLog, metrics: Metrics, logger: Any) -> None:
        self._saver = saver
        self._log = log
        self._metrics = metrics
        self._logger = logger
        self._under_way: dict[int, _UnderWay] = {}

    @property
    def capturing(self) -> bool:
        """True while the next slice should not wait for records."""
        return any(one.cut is None for one in self._under_way.values())

    def turn(self, partitions: Iterable[Partition], idle_s: float) -> dict[int, OwnershipLost]:
        """One slice of the work; returns what was refused: those partitions belong to somebody else."""
        began = time.perf_counter()
        owned = list(partitions)
        for partition in owned:
            if partition.key.partition not in self._under_way and partition.storable and partition.due(idle_s):
                self._begin(partition)
        refused = {}
        for one in list(self._under_way.values()):
            try:
                self._advance(one, began + SLICE_S)
            except AlertStoreUnavailable as problem:
                self._put_off(one, problem)
            except OwnershipLost as refusal:
                refused[one.partition.key.partition] = refusal
        held_up_s = sum(partition.states.take_held_up_s() for partition in owned)
        if self._under_way or held_up_s:
            self._metrics.checkpoint_stall.observe(time.perf_counter() - began + held_up_s)
        return refused

    def finish(self, partitions: Iterable[Partition]) -> dict[int, OwnershipLost]:
        """Store everything that can be stored, and wait for it; AlertStoreUnavailable when that fails."""
        refused = {}
        deadline = time.monotonic() + FINISH_S
        for partition in partitions:
            try:
                one = self._under_way.get(partition.key.partition)
                if one is not None:
                    self._complete(one, deadline)
                if partition.storable and partition.moved:
                    self._complete(self._begin(partition), deadline)
            except OwnershipLost as refusal:
                refused[partition.key.partition] = refusal
        return refused

    def forget(self) -> None:
        """The partitions are not ours any more: what is being written may end as it likes."""
        self._under_way.clear()

    def close(self) -> None:
        """Wait for what is being written, and end."""
        self._saver.close()

    def _begin(self, partition: Partition) -> _UnderWay:
        partition.begin_cut()
        one = self._under_way[partition.key.partition] = _UnderWay(partition)
        return one

    def _advance(self, one: _UnderWay, until: float) -> None:
        """Capture, submit, or look whether it is written; raises what writing raised."""
        if one.cut is None:
            if not one.partition.states.capture(until):
                return
            one.cut = one.partition.finish_cut()
        if one.result is None:
            if time.monotonic() < one.not_before:
                return
            one.result = self._saver.submit(one.cut)
        if one.result.done():
            self._settle(one, one.cut)

    def _complete(self, one: _UnderWay, deadline: float) -> None:
        """Drive one checkpoint to its end."""
        one.not_before = 0.0
        self._advance(one, float("inf"))
        if one.cut is None or one.partition.key.partition not in self._under_way:
            return
        try:
            one.result.exception(timeout=max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            raise AlertStoreUnavailable(f"alert store: a checkpoint was not written within {FINISH_S:.0f} s") from None
        self._settle(one, one.cut)

    def _settle(self, one: _UnderWay, cut: Cut) -> None:
        number = one.partition.key.partition
        result, one.result = one.result, None
        try:
            sizes: Mapping[int, tuple[int, int]] = result.result()
        except AlertStoreUnavailable:
            raise
        except BaseException:
            del self._under_way[number]
            raise
        fail_at("after_checkpoint")
        del self._under_way[number]
        one.partition.note_saved(sizes)
        self._metrics.saved(sum(size for _, size in sizes.values()))
        self._log.commit({number: cut.next_offset})

    def _put_off(self, one: _UnderWay, problem: AlertStoreUnavailable) -> None:
        one.failures += 1
        one.not_before = time.monotonic() + min(0.1 * 2**one.failures, LONGEST_WAIT_S)
        self._metrics.store_failures.inc()
        if one.failures == 1:
            self._logger.warning("checkpoint put off", problem=str(problem))
