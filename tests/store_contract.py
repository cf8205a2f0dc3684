"""What both alert stores must do alike, the one in PostgreSQL and the one in memory.

Each case gets sessions on one store and a rule version of its own, so that all cases fit into one store.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

import pytest

from twinpath.alert_rows import DeadLetter, Incarnation, PartitionKey, StampedAlert, StatePart
from twinpath.alert_store import AlertStore
from twinpath.detection.model import Alert, Position, Transaction
from twinpath.detection.rules import RULES, Rule
from twinpath.errors import AlertConflict, ForeignCheckpoint, OwnershipLost

TOPIC = "topic-a"
Letter = tuple[int, int, str, int | None, int | None]  # partition, offset, reason, kept bytes of key and of value


class Bench(Protocol):
    """A store with its tables laid open."""

    def session(self) -> AlertStore:
        """A new session on the path `agent`."""
        ...

    def alerts(self, rule: Rule) -> list[Alert]:
        """The alert log of a rule version, in order of position."""
        ...

    def letters(self, rule: Rule) -> list[Letter]:
        """The dead letters of a rule version, in order of offset."""
        ...


def alert(rule: Rule, tx_id: int, row_lsn: int, status: str = "RAISED", **changes: Any) -> StampedAlert:
    values: dict[str, Any] = {
        "rule": rule.name,
        "rule_version": rule.version,
        "user_id": 7,
        "tx_id": tx_id,
        "position": Position(1, 10, row_lsn),
        "op": "c",
        "status": status,
        "score": 42,
        "reason": "640.00 is 4.2 times this user's usual 152.20 (50 payments)",
        "features": {"payments": 50, "total_cents": 761_000},
        "source_xid": 700,
    }
    return StampedAlert(Alert(**(values | changes)))


def if_standing(rule: Rule, tx_id: int, row_lsn: int, cents: int | None = None, user_id: int = 7) -> StampedAlert:
    """A conditional: revised to an amount, or retracted."""
    row = None if cents is None else Transaction(tx_id, user_id, cents, 0)
    status, op = ("RETRACT_IF_STANDING", "d") if row is None else ("REVISE_IF_STANDING", "u")
    blank = {"op": op, "score": 0, "reason": "", "features": {}, "transaction": row, "user_id": user_id}
    return alert(rule, tx_id, row_lsn, status, **blank)


def told(alerts: list[Alert]) -> list[tuple[int, int, str, int]]:
    return [(one.position.row_lsn, one.tx_id, one.status, one.score) for one in alerts]


def an_alert_is_stored_once_and_its_duplicates_are_counted(bench: Bench, rule: Rule) -> None:
    store, other = bench.session(), bench.session()
    alerts = [alert(rule, 1, 20), alert(rule, 2, 21)]
    first = store.write(rule, [*alerts, alerts[0]], [], TOPIC)
    row = Transaction(3, 7, 640_00, 0)
    again = other.write(rule, [*alerts, alert(rule, 3, 22, transaction=row), alert(rule, 1, 19)], [], TOPIC)
    assert (first.stored, first.suppressed, again.stored, again.suppressed) == (2, 0, 2, 2)
    assert bench.alerts(rule) == [one.alert for one in (alert(rule, 1, 19), *alerts, alert(rule, 3, 22))]


def what_several_partitions_led_to_is_kept_whole_or_not_at_all(bench: Bench, rule: Rule) -> None:
    store = bench.session()
    store.write(rule, [alert(rule, 1, 20)], [], TOPIC)
    letter = DeadLetter(1, 3, "why", b"k", b"v")
    done = store.write_all(
        rule, [([alert(rule, 1, 20), alert(rule, 2, 21)], []), ([alert(rule, 3, 22)], [letter])], TOPIC
    )
    assert [(one.stored, one.suppressed) for one in done] == [(1, 1), (1, 0)]
    with pytest.raises(AlertConflict, match="transaction 1 "):
        store.write_all(rule, [([alert(rule, 4, 23)], []), ([alert(rule, 1, 20, score=43)], [])], TOPIC)
    assert [tx_id for _, tx_id, *_ in told(bench.alerts(rule))] == [1, 2, 3]
    assert bench.letters(rule) == [(1, 3, "why", 1, 1)]


def one_key_with_two_contents_is_refused_and_nothing_of_that_write_is_kept(bench: Bench, rule: Rule) -> None:
    store = bench.session()
    store.write(rule, [alert(rule, 1, 20)], [], TOPIC)
    letter = DeadLetter(0, 3, "why", b"k", b"v")
    for changed in ({"score": 43}, {"reason": "other"}, {"features": {"payments": 51, "total_cents": 761_000}}):
        with pytest.raises(AlertConflict, match="transaction 1 "):
            store.write(rule, [alert(rule, 2, 19), alert(rule, 1, 20, **changed)], [letter], TOPIC)
    assert store.write(rule, [alert(rule, 1, 20, source_xid=701)], [], TOPIC).suppressed == 1
    assert told(bench.alerts(rule)) == [(20, 1, "RAISED", 42)]
    assert bench.letters(rule) == []


def a_conditional_is_resolved_against_the_last_alert_before_its_position(bench: Bench, rule: Rule) -> None:
    store = bench.session()
    store.write(rule, [alert(rule, 1, 20), alert(rule, 5, 50)], [], TOPIC)
    asked = [
        alert(rule, 2, 25),
        if_standing(rule, 1, 30, 900_00),
        if_standing(rule, 2, 31),
        if_standing(rule, 9, 32),
        if_standing(rule, 5, 33),
        if_standing(rule, 1, 34, 900_00, user_id=8),
        if_standing(rule, 1, 40, 900_00),
        if_standing(rule, 1, 41, 1_00),
        if_standing(rule, 1, 42),
    ]
    expected = [
        (20, 1, "RAISED", 42),
        (25, 2, "RAISED", 42),
        (30, 1, "REVISED", 59),
        (31, 2, "RETRACTED", 0),
        (41, 1, "RETRACTED", 0),
        (50, 5, "RAISED", 42),
    ]
    for stored, suppressed in ((4, 0), (0, 4)):
        written = store.write(rule, asked, [], TOPIC)
        assert (written.stored, written.suppressed) == (stored, suppressed)
        assert written.resolved == Counter(corrected=3, forgotten=1)
        assert told(bench.alerts(rule)) == expected


def a_dead_letter_is_kept_once_with_its_first_bytes(bench: Bench, rule: Rule) -> None:
    store = bench.session()
    letters = [DeadLetter(0, 5, "found '\x00'", b"\x00k", b"x" * 100_000), DeadLetter(0, 6, "no key", None, None)]
    store.write(rule, [], letters, TOPIC)
    store.write(rule, [], [DeadLetter(0, 5, "otherwise", b"", b""), DeadLetter(1, 5, "next", b"k", b"")], TOPIC)
    assert bench.letters(rule) == [
        (0, 5, "found '\\x00'", 2, 65_536),
        (0, 6, "no key", None, None),
        (1, 5, "next", 1, 0),
    ]


def a_checkpoint_is_read_back_part_by_part(bench: Bench, rule: Rule) -> None:
    store, key = bench.session(), PartitionKey(rule.name, rule.version, TOPIC, 0)
    first = store.take(key, 4, 64)
    assert (first.epoch, first.next_offset, first.states, first.counters) == (1, None, {}, Counter())
    for _ in range(2):  # the same again, as after an answer that was lost
        store.save(key, 1, 10, [StatePart(3, 0, b"three"), StatePart(5, 0, b"five")], {"judged": 10})
        store.save(key, 1, 12, [StatePart(5, 1, b"+"), StatePart(5, 2, b"++")], {"judged": 11, "alerts": 1})
    second = bench.session().take(key, 4, 64)
    assert (second.epoch, second.next_offset) == (2, 12)
    assert second.states == {3: [b"three"], 5: [b"five", b"+", b"++"]}
    assert second.counters == Counter(judged=11, alerts=1)
    store.save(key, 2, 12, [StatePart(5, 0, b"anew"), StatePart(3, 2, b"last"), StatePart(3, 1, b"less")], {})
    store.save(key, 2, 13, [StatePart(3, 1, b"more")], {"judged": 12})
    third = store.take(key, 4, 64)
    assert (third.next_offset, third.states) == (13, {3: [b"three", b"more", b"last"], 5: [b"anew"]})
    assert third.counters == Counter(judged=12, alerts=1)


def an_older_epoch_is_refused_and_changes_nothing(bench: Bench, rule: Rule) -> None:
    store, zombie, key = bench.session(), bench.session(), PartitionKey(rule.name, rule.version, TOPIC, 0)
    assert (zombie.take(key, 4, 64).epoch, store.take(key, 4, 64).epoch) == (1, 2)
    store.save(key, 2, 20, [StatePart(1, 0, b"ours")], {"judged": 20})
    with pytest.raises(OwnershipLost):
        zombie.save(key, 1, 30, [StatePart(1, 0, b"zombie"), StatePart(2, 0, b"zombie")], {"judged": 30, "alerts": 1})
    with pytest.raises(OwnershipLost):
        store.save(PartitionKey(rule.name, rule.version, TOPIC, 1), 2, 20, [], {})
    found = store.take(key, 4, 64)
    assert (found.epoch, found.next_offset, found.states) == (3, 20, {1: [b"ours"]})
    assert found.counters == Counter(judged=20)


def another_layout_is_refused_and_does_not_fence_the_owner(bench: Bench, rule: Rule) -> None:
    store, key = bench.session(), PartitionKey(rule.name, rule.version, TOPIC, 0)
    owner = store.take(key, 4, 64)
    for partitions, buckets in ((5, 64), (4, 32)):
        with pytest.raises(ForeignCheckpoint, match="4 partitions and 64 buckets"):
            bench.session().take(key, partitions, buckets)
    store.save(key, owner.epoch, 1, [], {})


def a_topic_that_was_made_anew_is_refused(bench: Bench, rule: Rule) -> None:
    store, topic = bench.session(), f"topic of {rule.version}"
    for _ in range(2):
        assert store.incarnations(topic, "id-1") == [Incarnation(1, "id-1", {})]
    with pytest.raises(ForeignCheckpoint, match="deleted and created anew"):
        store.incarnations(topic, "id-2")


CASES: list[Callable[[Bench, Rule], None]] = [
    an_alert_is_stored_once_and_its_duplicates_are_counted,
    what_several_partitions_led_to_is_kept_whole_or_not_at_all,
    one_key_with_two_contents_is_refused_and_nothing_of_that_write_is_kept,
    a_conditional_is_resolved_against_the_last_alert_before_its_position,
    a_dead_letter_is_kept_once_with_its_first_bytes,
    a_checkpoint_is_read_back_part_by_part,
    an_older_epoch_is_refused_and_changes_nothing,
    another_layout_is_refused_and_does_not_fence_the_owner,
    a_topic_that_was_made_anew_is_refused,
]


def check(bench: Bench) -> None:
    """Run every case, each under a rule version of its own."""
    for number, case in enumerate(CASES, 2):
        case(bench, replace(RULES["spending"], generation=number))
