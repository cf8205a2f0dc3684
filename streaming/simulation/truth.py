"""What must come of a source's log, known beforehand, and the witness that compares every checkpoint with it.

The truth is `replay` of what the connector says once, computed before anything is run. What is said
again adds nothing but counted duplicates.
"""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple, cast

from streaming.simulation.log import TOPIC_ID, Group, Topic
from streaming.simulation.source import Source
from streaming.simulation.store import Kept, Tables
from twinpath.alert_rows import PartitionKey
from twinpath.detection.buckets import BucketCodec
from twinpath.detection.model import Alert, OutcomeKind, Position
from twinpath.detection.replay import Replay
from twinpath.detection.rules import Rule

AlertKey = tuple[int, int, Position]  # user_id, tx_id, position


class Fact(NamedTuple):
    """What one change did, and its user's state afterwards, as bytes."""

    user_id: int
    kind: OutcomeKind
    alert: Alert | None
    state: bytes


class Truth:
    """What a rule makes of each record of a source, by the record's number."""

    def __init__(self, rule: Rule, source: Source) -> None:
        self.rule = rule
        self.codec = BucketCodec(rule)
        self.facts: list[list[Fact]] = []
        fold = Replay(rule)
        for sent in source.sent:
            facts = []
            for change in sent.changes:
                before = fold.counts.copy()
                alert = fold.apply(change)
                (kind,) = cast(set[OutcomeKind], set(fold.counts - before))
                state = self.codec.encode_user(fold.states[change.user_id])
                facts.append(Fact(change.user_id, kind, alert, state))
            self.facts.append(facts)
        self.alerts = {key_of(alert): said(alert) for alert in fold.alerts}


class Prefix:
    """What is true of a partition below an offset that only grows."""

    def __init__(self) -> None:
        self.offset = 0
        self.states: dict[int, bytes] = {}
        self.counts: Counter[str] = Counter()
        self.alerts: list[Alert] = []
        self._heard: set[int] = set()

    def grow(self, truth: Truth, topic: Topic, partition: int, offset: int) -> None:
        """Take in the records from the former offset up to this one."""
        for sent in topic.told[partition][self.offset : offset]:
            facts = truth.facts[sent.number]
            if sent.kind != "change":
                self.counts["skipped" if sent.kind == "skipped" else "dead_letters"] += 1
            elif sent.number in self._heard:
                self.counts["duplicate"] += len(facts)
            else:
                self._heard.add(sent.number)
                for fact in facts:
                    self.counts[fact.kind] += 1
                    self.states[fact.user_id] = fact.state
                    if fact.alert is not None:
                        self.alerts.append(fact.alert)
        self.offset = offset


class Witness:
    """Looks at every checkpoint when it is committed, and at everything when all is over.

    `broken` fills with sentences, each beginning with the name of the check that failed.
    """

    def __init__(self, truth: Truth, group: Group, tables: Tables) -> None:
        self.broken: list[str] = []
        self._truth = truth
        self._topic = topic = group.topic
        self._tables = tables
        self._prefixes = [Prefix() for _ in topic.records]
        tables.after_save = self.look  # type: ignore[method-assign]
        group.committed = self.look_at_kafka  # type: ignore[method-assign]

    def look(self, key: PartitionKey, kept: Kept) -> None:
        """A checkpoint was committed: it must go on, say what the log says, and leave no alert behind it unstored."""
        prefix, offset = self._prefixes[key.partition], kept.next_offset or 0
        where = f"partition {key.partition} at offset {offset}"
        if offset < prefix.offset:
            self.broken.append(f"checkpoints only go on: {where}, after one at {prefix.offset}")
            return
        prefix.grow(self._truth, self._topic, key.partition, offset)
        stored = {key_of(alert) for alert in self._tables.alert_rows()}
        missing = [key for key in map(key_of, prefix.alerts) if key not in stored]
        if missing:
            self.broken.append(f"alerts are stored before the checkpoint: {where} lacks {missing[:3]}")
        states: dict[int, bytes] = {}
        for parts in kept.parts.values():
            states |= self._truth.codec.merge([parts[number] for number in sorted(parts)])
        if states != prefix.states:
            wrong = [user for user in states | prefix.states if states.get(user) != prefix.states.get(user)]
            self.broken.append(f"the checkpointed state is that of the log: {where}, users {sorted(wrong)}")
        counted = {name: value for name, value in kept.counters.items() if value}
        alerts = counted.pop("alerts", 0) + counted.pop("alerts_refused", 0)
        if counted != prefix.counts:
            self.broken.append(f"every record is counted once: {where}, {counted} and not {dict(prefix.counts)}")
        elif alerts != len(prefix.alerts):
            self.broken.append(f"every alert is counted once: {where}, {alerts} and not {len(prefix.alerts)}")

    def look_at_kafka(self, offsets: Mapping[int, int]) -> None:
        """Kafka was told how far the checkpoints are."""
        for partition, offset in offsets.items():
            if offset > self._prefixes[partition].offset:
                self.broken.append(f"Kafka is told of checkpoints that are stored: partition {partition} at {offset}")

    def settled(self) -> bool:
        """True when every record of the topic lies below a checkpoint."""
        return all(prefix.offset == end for prefix, end in zip(self._prefixes, self._ends(), strict=True))

    def conclude(self) -> None:
        """All was delivered and folded: the alerts and the dead letters are those of the log, no more and no less."""
        rows, expected = self._tables.alert_rows(), self._truth.alerts
        stored = {key_of(alert): said(alert) for alert in rows}
        if len(rows) != len(stored):
            self.broken.append(f"every alert is stored once: {len(rows)} rows of {len(stored)} alerts")
        wrong = [key for key in stored | expected if stored.get(key) != expected.get(key)]
        if wrong:
            first = min(wrong)
            text = f"{len(wrong)} differ, the first {first}: {stored.get(first)} and not {expected.get(first)}"
            self.broken.append(f"the alerts are those of the log: {text}")
        letters = sorted((partition, offset) for *_, partition, offset in self._tables.letters)
        unreadable = [
            (partition, offset)
            for partition, told in enumerate(self._topic.told)
            for offset, sent in enumerate(told)
            if sent.kind == "unreadable"
        ]
        if letters != unreadable:
            self.broken.append(f"every unreadable record is a dead letter: {letters} and not {unreadable}")
        if {topic_id for *_, topic_id, _, _ in self._tables.letters} - {TOPIC_ID}:
            self.broken.append("every unreadable record is a dead letter: one of another topic")

    def _ends(self) -> list[int]:
        return [len(records) for records in self._topic.records]


def key_of(alert: Alert) -> AlertKey:
    """What names an alert within one rule version."""
    return (alert.user_id, alert.tx_id, alert.position)


def said(alert: Alert) -> tuple[object, ...]:
    """What an alert says."""
    return (alert.op, alert.status, alert.score, alert.reason, tuple(sorted(alert.features.items())), alert.source_xid)
