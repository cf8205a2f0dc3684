"""The alert store in memory, with the contract of `twinpath.alert_store`: the same keys, refusals and fences.

`Tables` is the database, `MemoryStore` one session on it. Every transaction takes effect whole or not at
all; a session can be made to fail before it or after it, as a server does that dies in COMMIT.
That both stores keep one contract is tested by tests/store_contract.py.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from streaming.simulation.log import Gate
from twinpath.alert_rows import (
    Checkpoint,
    DeadLetter,
    Incarnation,
    PartitionKey,
    StampedAlert,
    StatePart,
    Written,
    digest,
)
from twinpath.alert_store import KEPT_BYTES, Batch
from twinpath.detection.detector import resolve
from twinpath.detection.model import Alert, Position
from twinpath.detection.rules import Rule
from twinpath.errors import AlertConflict, AlertStoreUnavailable, ForeignCheckpoint, OwnershipLost

RowKey = tuple[str, str, str, int, int]  # path, rule, rule_version, user_id, tx_id


class Kept(msgspec.Struct):
    """One row of `checkpoints` with what hangs on it."""

    epoch: int
    partitions: int
    buckets: int
    next_offset: int | None = None
    parts: dict[int, dict[int, bytes]] = {}
    counters: dict[str, int] = {}


class Tables:
    """What is committed; `after_save` is called with each checkpoint that was."""

    def __init__(self) -> None:
        self.alerts: dict[RowKey, dict[Position, Alert]] = {}
        self.letters: dict[tuple[str, str, str, str, int, int], DeadLetter] = {}
        self.sources: dict[str, list[Incarnation]] = {}
        self.checkpoints: dict[tuple[str, PartitionKey], Kept] = {}

    def alert_rows(self) -> list[Alert]:
        """Every row of the alert log."""
        return [alert for rows in self.alerts.values() for alert in rows.values()]

    def raise_epoch(self, partition: int) -> None:
        """Somebody took a partition and does nothing with it."""
        for (_, key), kept in self.checkpoints.items():
            kept.epoch += key.partition == partition

    def after_save(self, key: PartitionKey, kept: Kept) -> None:
        """Nobody looks."""


class MemoryStore:
    """One session, for one path."""

    def __init__(self, tables: Tables, path: str, gate: Gate) -> None:
        self._tables = tables
        self._path = path
        self._gate = gate

    def close(self) -> None:
        """End the session."""
        self._gate("store.close")

    def write(
        self, rule: Rule, alerts: Sequence[StampedAlert], letters: Sequence[DeadLetter], topic_id: str
    ) -> Written:
        """Alerts and dead letters in one transaction."""
        (written,) = self.write_all(rule, [(alerts, letters)], topic_id)
        return written

    def write_all(self, rule: Rule, batches: Sequence[Batch], topic_id: str) -> list[Written]:
        """Several of them in one transaction."""
        self._begin("write")
        new: dict[tuple[RowKey, Position], Alert] = {}
        done = [self._write(rule, alerts, new) for alerts, _ in batches]
        for (row, where), alert in new.items():
            self._tables.alerts.setdefault(row, {})[where] = alert
        for _, letters in batches:
            self._bury(rule, letters, topic_id)
        self._commit("write")
        return done

    def _write(self, rule: Rule, alerts: Sequence[StampedAlert], new: dict[tuple[RowKey, Position], Alert]) -> Written:
        written = Written()
        for stamped in alerts:
            alert: Alert | None = stamped.alert
            assert alert is not None
            if alert.status.endswith("_IF_STANDING"):
                alert = self._resolve(rule, alert, new, written)
            if alert is not None:
                self._insert(alert, new, written)
        return written

    def _bury(self, rule: Rule, letters: Sequence[DeadLetter], topic_id: str) -> None:
        for letter in letters:
            cut = msgspec.structs.replace(
                letter,
                reason=letter.reason.replace("\x00", "\\x00"),
                key=None if letter.key is None else letter.key[:KEPT_BYTES],
                value=None if letter.value is None else letter.value[:KEPT_BYTES],
            )
            where_kept = (self._path, rule.name, rule.version, topic_id, letter.partition, letter.offset)
            self._tables.letters.setdefault(where_kept, cut)

    def incarnations(self, topic: str, topic_id: str) -> list[Incarnation]:
        """The sources behind a topic; an unknown topic is noted as incarnation 1."""
        self._begin("incarnations")
        found = self._tables.sources.setdefault(topic, [Incarnation(1, topic_id, {})])
        if found[-1].topic_id != topic_id:
            raise ForeignCheckpoint(f"topic {topic} was deleted and created anew")
        self._commit("incarnations")
        return [one for one in found if one.topic_id == topic_id]

    def take(self, key: PartitionKey, partitions: int, buckets: int) -> Checkpoint:
        """Raise the epoch, commit, then read the state."""
        self._begin("take")
        kept = self._tables.checkpoints.setdefault((self._path, key), Kept(0, partitions, buckets))
        if (kept.partitions, kept.buckets) != (partitions, buckets):
            raise ForeignCheckpoint(
                f"the checkpoint was made with {kept.partitions} partitions and {kept.buckets} buckets, "
                f"found {partitions} and {buckets}"
            )
        kept.epoch += 1
        epoch, next_offset = kept.epoch, kept.next_offset
        self._commit("take")
        self._begin("take, state")
        states = {bucket: [parts[number] for number in sorted(parts)] for bucket, parts in kept.parts.items()}
        counters = Counter(kept.counters)
        self._commit("take, state")
        return Checkpoint(epoch, next_offset, states, counters)

    def save(
        self, key: PartitionKey, epoch: int, next_offset: int, parts: Iterable[StatePart], counters: Mapping[str, int]
    ) -> None:
        """State parts, offset and counters in one transaction; OwnershipLost when the epoch moved on."""
        self._begin("save")
        kept = self._tables.checkpoints.get((self._path, key))
        if kept is None or not self._fenced(kept, epoch):
            raise OwnershipLost(f"partition {key.partition}: epoch {epoch} is no longer the newest")
        kept.next_offset = next_offset
        for bucket, number, data in parts:
            stored = kept.parts.setdefault(bucket, {})
            if number == 0:
                stored.clear()
            stored[number] = bytes(data)
        kept.counters.update(counters)
        self._tables.after_save(key, kept)
        self._commit("save")

    def _fenced(self, kept: Kept, epoch: int) -> bool:
        return kept.epoch == epoch

    def _begin(self, call: str) -> None:
        if self._gate(f"store.{call}"):
            raise AlertStoreUnavailable("the simulated alert store did not answer")

    def _commit(self, call: str) -> None:
        """The transaction took effect; the answer may be lost all the same."""
        if self._gate(f"store.{call}, committed"):
            raise AlertStoreUnavailable("the simulated alert store died in COMMIT")

    def _insert(self, alert: Alert, new: dict[tuple[RowKey, Position], Alert], written: Written) -> None:
        row = self._row(alert)
        if (row, alert.position) in new:
            return
        stored = self._tables.alerts.get(row, {}).get(alert.position)
        if stored is None:
            new[row, alert.position] = msgspec.structs.replace(alert, transaction=None)
            written.stored += 1
            return
        if digest(stored) != digest(alert):
            raise AlertConflict(
                f"alert of transaction {alert.tx_id} at {tuple(alert.position)}: stored as "
                f"{(stored.status, stored.score, stored.reason)}, decided now as "
                f"{(alert.status, alert.score, alert.reason)}"
            )
        written.suppressed += 1

    def _resolve(
        self, rule: Rule, conditional: Alert, new: dict[tuple[RowKey, Position], Alert], written: Written
    ) -> Alert | None:
        row = self._row(conditional)
        known = dict(self._tables.alerts.get(row, {}))
        known |= {where: alert for (of, where), alert in new.items() if of == row}
        before = [where for where in known if where < conditional.position]
        standing = known[max(before)] if before else None
        if standing is not None and standing.status != "RETRACTED":
            kind = "corrected" if conditional.status == "REVISE_IF_STANDING" else "forgotten"
            written.resolved[kind] += 1
        return resolve(rule, conditional, standing)

    def _row(self, alert: Alert) -> RowKey:
        return (self._path, alert.rule, alert.rule_version, alert.user_id, alert.tx_id)


class MemoryVersions:
    """The versions of rules, of which there is one: asked for, and nothing else."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def activate(self, rule: Rule, reading: dict[str, object]) -> None:
        """It is the active one already."""
        if self._gate("store.activate"):
            raise AlertStoreUnavailable("the simulated alert store did not answer")

    def check(self, rule: Rule) -> None:
        """It still is."""
        if self._gate("store.check"):
            raise AlertStoreUnavailable("the simulated alert store did not answer")
