"""Defects to plant in the agents, each in one place; whoever plants one takes it out again."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec
import pytest

import streaming.agent
import streaming.fold
import streaming.partition
import twinpath.detection.envelope
import twinpath.detection.usual
from streaming.change_log import Record
from streaming.partition import Partition
from streaming.reader import Reader
from streaming.simulation import world
from streaming.simulation.log import MemberLog
from streaming.simulation.store import MemoryStore, Tables
from streaming.states import States
from twinpath.alert_rows import DeadLetter, Written
from twinpath.detection import fields
from twinpath.detection.detector import DUPLICATE, UserState, step
from twinpath.detection.history import CREATED, History
from twinpath.detection.model import Alert, Change, Outcome, Position
from twinpath.detection.rules import Rule
from twinpath.errors import DecodeError

Plant = Callable[[pytest.MonkeyPatch], None]


def commit_before_process(planted: pytest.MonkeyPatch) -> None:
    keep = streaming.agent.Agent._keep

    class Later:
        """Takes what is to be written, and says that it was."""

        def __init__(self) -> None:
            self.writes: list[tuple[Any, ...]] = []

        def write_all(self, *arguments: Any) -> list[Written]:
            self.writes.append(arguments)
            return [Written(stored=len(alerts)) for alerts, _ in arguments[1]]

    def commit_then_write(agent: Any, folded: list[Any]) -> None:
        store, agent._store = agent._store, Later()
        keep(agent, folded)
        later, agent._store = agent._store, store
        agent._lose(agent._patience(lambda: agent._checkpoints.finish([one.partition for one in folded])))
        for write in later.writes:
            agent._patience(lambda write=write: store.write_all(*write))

    planted.setattr(streaming.agent.Agent, "_keep", commit_then_write)


def highest_lsn_dedupe(planted: pytest.MonkeyPatch) -> None:
    def by_lsn(rule: Rule, state: UserState[History], change: Change) -> tuple[UserState[History], Outcome]:
        mark = state.mark
        if change.op != "r" and mark is not None and change.position.row_lsn < mark.row_lsn:
            return state, DUPLICATE
        return step(rule, state, change)

    planted.setattr(streaming.fold, "step", by_lsn)


def no_unique_key(planted: pytest.MonkeyPatch) -> None:
    class Heap(Tables):
        """Holds what came again beside what was there."""

        def __init__(self) -> None:
            super().__init__()
            self.again: list[Alert] = []

        def alert_rows(self) -> list[Alert]:
            return [*super().alert_rows(), *self.again]

    insert = MemoryStore._insert

    def whatever_is_there(store: Any, alert: Alert, new: Any, written: Written) -> None:
        if alert.position in store._tables.alerts.get(store._row(alert), {}):
            store._tables.again.append(alert)
            written.stored += 1
        else:
            insert(store, alert, new, written)

    planted.setattr(world, "Tables", Heap)
    planted.setattr(MemoryStore, "_insert", whatever_is_there)


def null_as_0(planted: pytest.MonkeyPatch) -> None:
    def position(sequence: object, incarnation: int, field: str) -> Position:
        found = fields.position(sequence, incarnation, field)
        return found._replace(previous_commit_lsn=0) if "null" in str(sequence) else found

    planted.setattr(twinpath.detection.envelope, "position", position)


def state_not_rebuilt(planted: pytest.MonkeyPatch) -> None:
    def with_none(rule: Rule, buckets: int, stored: Mapping[int, Any], live_users: int) -> States:
        return States(rule, buckets, {}, live_users)

    planted.setattr(streaming.partition, "States", with_none)


def latest(planted: pytest.MonkeyPatch) -> None:
    class FromTheEnd(MemberLog):
        def assign(self, offsets: Mapping[int, int]) -> None:
            super().assign({partition: self.bounds(partition)[1] for partition in offsets})

    planted.setattr(world, "MemberLog", FromTheEnd)


def float_money(planted: pytest.MonkeyPatch) -> None:
    decimal_cents = fields.decimal_cents

    def by_a_double(text: str, field: str) -> int:
        decimal_cents(text, field)  # refuses what it always refused
        return int(float(text) * 100)

    planted.setattr(fields, "decimal_cents", by_a_double)
    planted.setattr(twinpath.detection.usual, "decimal_cents", by_a_double)


def swallow_and_skip(planted: pytest.MonkeyPatch) -> None:
    class Swallowing(Reader):
        def changes(self, partition: Partition, record: Record, counts: Counter[str]) -> tuple[Change, ...]:
            try:
                return super().changes(partition, record, counts)
            except DecodeError:
                return ()

    planted.setattr(streaming.agent, "Reader", Swallowing)


def dead_letter_drops_offset(planted: pytest.MonkeyPatch) -> None:
    def without_its_place(*values: Any) -> DeadLetter:
        return msgspec.structs.replace(DeadLetter(*values), offset=0)

    planted.setattr(streaming.fold, "DeadLetter", without_its_place)


def zombie_write(planted: pytest.MonkeyPatch) -> None:
    planted.setattr(MemoryStore, "_fenced", lambda store, kept, epoch: True)


def wall_clock_window(planted: pytest.MonkeyPatch) -> None:
    def by_the_clock(rule: Rule, state: UserState[History], change: Change) -> tuple[UserState[History], Outcome]:
        oldest_us = streaming.fold.time.time_ns() // 1000 - 60_000_000
        history = state.history
        while history.count and history.cells[CREATED] < oldest_us:
            rule.logic.forget(rule.parameters, history, 0)
        return step(rule, state, change)

    planted.setattr(streaming.fold, "step", by_the_clock)


class Defect(NamedTuple):
    """A bug, how it is planted, and the check of `streaming.simulation.truth` that has to fail."""

    bug: str
    planted_as: str
    check: str
    plant: Plant


STATE = "the checkpointed state is that of the log"
COUNTED = "every record is counted once"
STORED_FIRST = "alerts are stored before the checkpoint"
LETTERS = "every unreadable record is a dead letter"
DEFECTS = (
    Defect("commit before process", "the checkpoint, then the alerts", STORED_FIRST, commit_before_process),
    Defect("max-LSN dedupe", "a change below the user's highest row LSN is dropped", COUNTED, highest_lsn_dedupe),
    Defect("no unique key", "an alert that comes again is a row more", "every alert is stored once", no_unique_key),
    Defect("null as 0", "the null first number of `source.sequence` is read as 0", STATE, null_as_0),
    Defect("state not rebuilt", "an owner begins with no state", STATE, state_not_rebuilt),
    Defect("`latest`", "a partition is read from its end, not from the stored offset", COUNTED, latest),
    Defect("wall-clock window", "a payment older than a minute now is forgotten", STATE, wall_clock_window),
    Defect("swallow and skip", "an unreadable record is passed over", COUNTED, swallow_and_skip),
    Defect("dead letter drops offset", "it is filed at offset 0", LETTERS, dead_letter_drops_offset),
    Defect("float money", "cents by way of a double", STATE, float_money),
    Defect("zombie write", "the epoch of a checkpoint is not compared", "checkpoints only go on", zombie_write),
)
