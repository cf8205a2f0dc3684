"""One turn's records of one partition, decoded and folded: what they led to, not stored yet."""

import time
from collections import Counter
from typing import NamedTuple

from streaming.change_log import Record
from streaming.partition import Partition
from streaming.reader import Reader
from twinpath.alert_rows import DeadLetter, StampedAlert, Stamps
from twinpath.detection.detector import step
from twinpath.detection.model import Change
from twinpath.detection.rules import Rule
from twinpath.errors import DecodeError


class Folded(NamedTuple):
    """What the records of one partition led to in one turn; nothing of it is stored yet."""

    partition: Partition
    records: list[Record]
    alerts: list[StampedAlert]
    letters: list[DeadLetter]
    counts: Counter[str]


def fold(rule: Rule, reader: Reader, partition: Partition, records: list[Record], polled_us: int) -> Folded:
    """Decode and fold one partition's records.

    From the first folded record until what they led to is stored the partition is not storable: a checkpoint in
    between would lose the alerts.
    """
    began = time.monotonic()
    partition.storable = False
    alerts: list[StampedAlert] = []
    letters: list[DeadLetter] = []
    counts: Counter[str] = Counter()
    kinds: list[str] = []  # counted at once in the end: a Counter is slow to count one by one
    read, state_of = reader.changes, partition.states.of
    for record in records:
        try:
            changes = read(partition, record, counts)
        except DecodeError as problem:
            reader.alarm(f"dead letter: {problem.field}", record)
            counts["dead_letters"] += 1
            letters.append(DeadLetter(record.partition, record.offset, str(problem), record.key, record.value))
            continue
        for change in changes:
            _, outcome = step(rule, state_of(change.user_id), change)
            kinds.append(outcome.kind)
            if outcome.alert is not None:
                alerts.append(StampedAlert(outcome.alert, _stamps(change, record, polled_us)))
    counts.update(kinds)
    partition.folded(time.monotonic() - began)
    return Folded(partition, records, alerts, letters, counts)


def _stamps(change: Change, record: Record, polled_us: int) -> Stamps:
    decided_us = time.time_ns() // 1000
    return Stamps(change.committed_us, change.captured_us, record.appended_us, polled_us, decided_us)
