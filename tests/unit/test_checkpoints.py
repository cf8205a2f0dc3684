"""Checkpoints of one partition: what they hold, when they are due, and that folding goes on meanwhile."""

import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import Executor, Future
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.checkpoint import Checkpoints, Saver
from streaming.metrics import Metrics
from streaming.partition import Partition, check_bounds
from streaming.states import States
from tests.unit.building import delete, insert, update
from twinpath.alert_rows import Checkpoint, Incarnation, PartitionKey, StatePart
from twinpath.detection.buckets import BucketCodec
from twinpath.detection.detector import UserState, step
from twinpath.detection.history import History
from twinpath.detection.model import Change
from twinpath.detection.replay import replay
from twinpath.detection.rules import RULES
from twinpath.errors import AlertStoreUnavailable, GapError, OwnershipLost
from twinpath.settings import Settings, load_settings

SPENDING = RULES["spending"]
KEY = PartitionKey("spending", "1-x", "topic", 2)
CODEC = BucketCodec(SPENDING)
FAR = float("inf")


class Store:
    """A fake alert store that keeps the parts of one partition."""

    def __init__(self) -> None:
        self.parts: dict[int, list[bytes]] = {}
        self.saved: list[tuple[int, list[tuple[int, int]]]] = []
        self.problem: Exception | None = None

    def save(self, _key: Any, _epoch: int, next_offset: int, given: Iterable[StatePart], _counters: Any) -> None:
        if self.problem is not None:
            raise self.problem
        parts = list(given)
        self.saved.append((next_offset, sorted((one.bucket, one.part) for one in parts)))
        for one in parts:
            kept = [] if one.part == 0 else self.parts[one.bucket]
            assert one.part == len(kept)
            self.parts[one.bucket] = [*kept, one.data]

    def states(self) -> dict[int, UserState[History]]:
        merged = [CODEC.merge(parts) for parts in self.parts.values()]
        return {user: CODEC.decode_user(data) for users in merged for user, data in users.items()}

    def close(self) -> None:
        """Nothing to end."""


class Later(Executor):
    """Runs what was submitted when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Future[Any], Any, tuple[Any, ...]]] = []

    def submit(self, work: Any, /, *arguments: Any, **_: Any) -> Future[Any]:
        result: Future[Any] = Future()
        self.waiting.append((result, work, arguments))
        return result

    def run(self) -> None:
        for result, work, arguments in self.waiting:
            try:
                result.set_result(work(*arguments))
            except Exception as problem:
                result.set_exception(problem)
        self.waiting.clear()


class AtOnce(Later):
    """Runs what was submitted at once."""

    def submit(self, work: Any, /, *arguments: Any, **_: Any) -> Future[Any]:
        result = super().submit(work, *arguments)
        self.run()
        return result


class Log:
    """Takes note of what was committed to Kafka."""

    def __init__(self) -> None:
        self.committed: list[dict[int, int]] = []

    def commit(self, offsets: dict[int, int]) -> None:
        self.committed.append(offsets)


class Logger:
    """Takes note of warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warning(self, event: str, **_: Any) -> None:
        self.warnings.append(event)


def partition(sources: list[Incarnation] | None = None, taken: Checkpoint | None = None, **given: Any) -> Partition:
    taken = taken or Checkpoint(1, None, {}, Counter())
    options: Settings = load_settings(**given)
    return Partition(SPENDING, KEY, taken, options, sources or [Incarnation(1, "topic", {})])


def checkpoints(store: Store, executor: Later) -> tuple[Checkpoints, Log, Logger]:
    log, logger = Log(), Logger()
    return Checkpoints(Saver(SPENDING, store, executor), log, Metrics("spending"), logger), log, logger


def fold(one: Partition, changes: list[Change]) -> None:
    for change in changes:
        step(SPENDING, one.state_of(change.user_id), change)
        one.next_offset += 1


def payments(first: int, users: list[int]) -> list[Change]:
    return [insert(number, number, "10.00", user=user) for number, user in enumerate(users, first)]


def test_a_gap_before_and_a_cut_behind_the_checkpoint_are_named() -> None:
    check_bounds("t", 0, None, (0, 10))
    check_bounds("t", 0, 10, (3, 10))
    with pytest.raises(GapError, match="offsets 0 to 2 were never judged"):
        check_bounds("t", 0, None, (3, 10))
    with pytest.raises(GapError, match="offsets 5 to 6 "):
        check_bounds("t", 0, 5, (7, 10))
    with pytest.raises(GapError, match="stands at offset 11, but the log ends at 10"):
        check_bounds("t", 0, 11, (0, 10))


def test_a_record_belongs_to_the_incarnation_that_began_before_it() -> None:
    sources = [Incarnation(1, "topic", {}), Incarnation(2, "topic", {2: 100}), Incarnation(4, "topic", {2: 150})]
    one = partition(sources)
    assert [one.incarnation(offset) for offset in (0, 99, 100, 149, 150)] == [1, 1, 2, 2, 4]


def test_a_checkpoint_is_due_by_cost_age_or_idleness_and_only_after_a_move() -> None:
    one = partition(checkpoint_every_s=1000.0, checkpoint_replay_s=5.0, checkpoint_idle_s=1.0)
    assert not one.due(idle_s=99)
    one.next_offset = 11
    assert not one.due(idle_s=0.5)
    assert one.due(idle_s=1.0)
    one.folded(5.0)
    assert one.due(idle_s=0)
    old = partition(checkpoint_every_s=0.000_001)
    old.next_offset = 1
    assert old.due(idle_s=0)


def test_only_changed_buckets_are_written_and_then_only_changed_users() -> None:
    store, one = Store(), partition()
    work, log, _ = checkpoints(store, AtOnce())
    fold(one, payments(1, [1, 65, 129, 193, -1]))
    assert work.turn([one], idle_s=2) == {}
    fold(one, payments(6, [1, 2]))
    work.turn([one], idle_s=2)
    fold(one, payments(8, [2]))
    work.turn([one], idle_s=2)
    assert store.saved == [(5, [(1, 0), (63, 0)]), (7, [(1, 1), (2, 0)]), (8, [(2, 1)])]
    assert [sorted(CODEC.split(part)) for part in store.parts[1]] == [[1, 65, 129, 193], [1]]
    assert log.committed == [{2: 5}, {2: 7}, {2: 8}]
    assert not one.moved


def test_a_bucket_is_written_whole_again_when_its_changes_are_as_large_as_itself() -> None:
    store, one = Store(), partition()
    work, _, _ = checkpoints(store, AtOnce())
    fold(one, payments(1, [1, 65, 129, 193]))
    work.turn([one], idle_s=2)
    for number in range(8):
        fold(one, payments(10 + number, [1]))
        work.turn([one], idle_s=2)
    parts = [part for _, written in store.saved for _, part in written]
    assert parts[:3] == [0, 1, 2]
    assert parts.count(0) > 1
    whole, later = len(store.parts[1][0]), sum(map(len, store.parts[1][1:]))
    assert later < 2 * whole
    assert sorted(store.states()) == [1, 65, 129, 193]


def test_a_failed_write_is_tried_again_with_the_same_content_while_folding_goes_on() -> None:
    store, one = Store(), partition()
    work, log, logger = checkpoints(store, AtOnce())
    fold(one, payments(1, [1, 2]))
    store.problem = AlertStoreUnavailable("away")
    for _ in range(3):
        assert work.turn([one], idle_s=2) == {}
    fold(one, payments(3, [1, 2]))
    assert (log.committed, logger.warnings) == ([], ["checkpoint put off"])
    store.problem = None
    deadline = time.monotonic() + 10
    while not store.saved and time.monotonic() < deadline:
        work.turn([one], idle_s=0)
    assert store.saved == [(2, [(1, 0), (2, 0)])]
    assert store.states() == replay(SPENDING, payments(1, [1, 2])).states
    assert one.moved
    assert work.finish([one]) == {}
    assert store.states() == replay(SPENDING, payments(1, [1, 2, 1, 2])).states
    assert log.committed == [{2: 2}, {2: 4}]


def test_a_refused_checkpoint_is_reported_once_and_other_errors_are_not_swallowed() -> None:
    store, one = Store(), partition()
    work, log, _ = checkpoints(store, AtOnce())
    fold(one, payments(1, [1]))
    store.problem = OwnershipLost("epoch 1")
    assert list(work.turn([one], idle_s=2)) == [2]
    assert work.turn([], idle_s=2) == {}
    assert list(work.finish([one])) == [2]
    store.problem = RuntimeError("broken")
    with pytest.raises(RuntimeError, match="broken"):
        work.turn([one], idle_s=2)
    assert (store.saved, log.committed) == ([], [])


def test_what_cannot_be_stored_yet_is_left_out_and_finish_says_when_the_store_is_away() -> None:
    store, one = Store(), partition()
    work, _, _ = checkpoints(store, AtOnce())
    fold(one, payments(1, [1]))
    one.storable = False
    assert work.turn([one], idle_s=2) == {}
    assert work.finish([one]) == {}
    one.storable = True
    store.problem = AlertStoreUnavailable("away")
    with pytest.raises(AlertStoreUnavailable):
        work.finish([one])
    store.problem = None
    work.finish([one])
    assert store.saved == [(1, [(1, 0)])]


def test_records_folded_while_a_checkpoint_is_written_are_not_in_it() -> None:
    store, one, later = Store(), partition(), Later()
    work, log, _ = checkpoints(store, later)
    fold(one, payments(1, [1, 2, 3]))
    while not later.waiting:
        work.turn([one], idle_s=2)
    fold(one, payments(4, [1, 2, 3]))
    later.run()
    work.turn([one], idle_s=0)
    assert log.committed == [{2: 3}]
    assert store.states() == replay(SPENDING, payments(1, [1, 2, 3])).states
    assert one.moved


def test_records_folded_while_a_checkpoint_is_captured_are_not_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streaming.checkpoint.SLICE_S", 0.0)
    store, one = Store(), partition()
    work, log, _ = checkpoints(store, AtOnce())
    fold(one, payments(1, [1, 2, 3]))
    work.turn([one], idle_s=2)
    assert work.capturing
    fold(one, payments(4, [1, 2, 3]))
    while work.capturing:
        work.turn([one], idle_s=0)
    assert store.states() == replay(SPENDING, payments(1, [1, 2, 3])).states
    assert log.committed == [{2: 3}]


def test_a_handed_back_partition_waits_for_what_is_being_written() -> None:
    store, one, later = Store(), partition(), Later()
    work, _, _ = checkpoints(store, later)
    fold(one, payments(1, [1]))
    while not later.waiting:
        work.turn([one], idle_s=2)
    fold(one, payments(2, [1]))
    submit = later.submit

    def submit_and_run(*given: Any) -> Future[Any]:
        result = submit(*given)
        later.run()
        return result

    later.submit = submit_and_run  # type: ignore[method-assign]
    later.run()
    work.finish([one])
    assert [offset for offset, _ in store.saved] == [1, 2]


def test_the_slices_of_a_checkpoint_are_bounded_and_bytes_are_counted() -> None:
    store, one, later = Store(), partition(), Later()
    metrics = Metrics("spending")
    work = Checkpoints(Saver(SPENDING, store, later), Log(), metrics, Logger())
    fold(one, payments(1, list(range(64 * 30))))
    turns = 0
    while not later.waiting:
        work.turn([one], idle_s=2)
        turns += 1
        assert turns < 10_000
        assert work.capturing != bool(later.waiting)
    later.run()
    work.turn([one], idle_s=0)
    stored = sum(len(part) for parts in store.parts.values() for part in parts)
    found = {sample.name: sample.value for family in metrics.registry.collect() for sample in family.samples}
    assert found["twinpath_agent_checkpointed_bytes_total"] == stored
    assert found["twinpath_agent_checkpoint_stall_seconds_count"] >= turns


USERS = st.sampled_from([1, 2, 3, 65, 66, -1, -63, 129])
MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("insert"), USERS),
        st.tuples(st.just("update"), USERS),
        st.tuples(st.just("delete"), USERS),
        st.tuples(st.just("begin"), st.just(0)),
        st.tuples(st.just("slice"), st.just(0)),
        st.tuples(st.just("store"), st.just(0)),
    ),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(MOVES, st.integers(1, 4))
def test_a_cut_shows_every_user_as_it_stood_when_it_began(moves: list[tuple[str, int]], live_users: int) -> None:
    states, store = States(SPENDING, 64, {}, live_users), Store()
    changes: list[Change] = []
    cut_at: int | None = None
    for number, (move, user) in enumerate(moves, 1):
        last = next((one.tx_id for one in reversed(changes) if one.user_id == user and one.op == "c"), number)
        if move == "begin" and cut_at is None:
            states.begin_cut()
            cut_at = len(changes)
        elif move == "slice" and cut_at is not None:
            states.capture(0.0)
        elif move == "store" and cut_at is not None:
            assert states.capture(FAR)
            parts = [StatePart(one.bucket, one.part, CODEC.join(one.users)) for one in states.take_captured()]
            store.save(KEY, 1, cut_at, parts, {})
            states.note_saved({one.bucket: (one.part, len(one.data)) for one in parts})
            assert store.states() == replay(SPENDING, changes[:cut_at]).states
            cut_at = None
        elif move in ("insert", "update", "delete"):
            made = {
                "insert": lambda n, u, _: insert(n, n, "600.00", user=u),
                "update": lambda n, u, old: update(n, old, "700.00", user=u),
                "delete": lambda n, u, old: delete(n, old, user=u),
            }[move](number, user, last)
            changes.append(made)
            step(SPENDING, states.of(user), made)
    again = States(SPENDING, 64, store.parts, live_users)
    stored = store.states()
    assert {user: again.of(user) for user in stored} == stored
    oracle = replay(SPENDING, changes).states
    assert {user: states.of(user) for user in oracle} == oracle
    assert states.live <= live_users
    assert states.users == len(oracle)
