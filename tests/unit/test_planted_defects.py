"""Defects planted on purpose, each in one place and only within its test: a check that has never failed proves nothing.

Every defect goes through the same 20 seeds of the simulation as the clean code, which holds in all of them.
With the defect the named check of `tests.simulation.truth` fails, in about as many seeds as are given here.

| defect | planted as | caught by the check | seeds |
|---|---|---|---|
| commit before write | the checkpoint is stored, then the alerts | alerts are stored before the checkpoint | 20 |
| bare-LSN dedupe | a change below the user's last row LSN is dropped | every record is counted once | 17 |
| null counted as 0 | the null first number of `source.sequence` is 0 | the checkpointed state is that of the log | 17 |
| lost state | an owner begins with no state | the checkpointed state is that of the log | 19 |
| `latest` | a partition is read from its end, not from the stored offset | every record is counted once | 19 |
| float money | cents by way of a double | the checkpointed state is that of the log | 13 |
| swallowed record | an unreadable record is passed over | every record is counted once | 20 |
| zombie write | the epoch of a checkpoint is not compared | checkpoints only go on | 11 |
| wall-clock window | a payment older than a minute now is forgotten | the checkpointed state is that of the log | 19 |

On the real alert store, and on a real topic: tests/integration/test_planted_defects.py.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import pytest

import streaming.agent
import streaming.fold
import streaming.partition
import twinpath.detection.envelope
import twinpath.detection.usual
from streaming.change_log import Record
from streaming.partition import Partition
from streaming.reader import Reader
from streaming.states import States
from tests.simulation import scheduler, world
from tests.simulation.log import MemberLog
from tests.simulation.store import MemoryStore
from twinpath.alert_rows import Written
from twinpath.detection import fields
from twinpath.detection.detector import DUPLICATE, UserState, step
from twinpath.detection.history import CREATED, History
from twinpath.detection.model import Change, Outcome, Position
from twinpath.detection.rules import Rule
from twinpath.errors import DecodeError

SEEDS = range(20)
Plant = Callable[[pytest.MonkeyPatch], None]


def commit_before_write(planted: pytest.MonkeyPatch) -> None:
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


def bare_lsn_dedupe(planted: pytest.MonkeyPatch) -> None:
    def by_lsn(rule: Rule, state: UserState[History], change: Change) -> tuple[UserState[History], Outcome]:
        mark = state.mark
        if change.op != "r" and mark is not None and change.position.row_lsn < mark.row_lsn:
            return state, DUPLICATE
        return step(rule, state, change)

    planted.setattr(streaming.fold, "step", by_lsn)


def null_counted_as_0(planted: pytest.MonkeyPatch) -> None:
    def position(sequence: object, incarnation: int, field: str) -> Position:
        found = fields.position(sequence, incarnation, field)
        return found._replace(previous_commit_lsn=0) if "null" in str(sequence) else found

    planted.setattr(twinpath.detection.envelope, "position", position)


def lost_state(planted: pytest.MonkeyPatch) -> None:
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


def swallowed_record(planted: pytest.MonkeyPatch) -> None:
    class Swallowing(Reader):
        def changes(self, partition: Partition, record: Record, counts: Counter[str]) -> tuple[Change, ...]:
            try:
                return super().changes(partition, record, counts)
            except DecodeError:
                return ()

    planted.setattr(streaming.agent, "Reader", Swallowing)


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


DEFECTS: dict[Plant, str] = {
    commit_before_write: "alerts are stored before the checkpoint",
    bare_lsn_dedupe: "every record is counted once",
    null_counted_as_0: "the checkpointed state is that of the log",
    lost_state: "the checkpointed state is that of the log",
    latest: "every record is counted once",
    float_money: "the checkpointed state is that of the log",
    swallowed_record: "every record is counted once",
    zombie_write: "checkpoints only go on",
    wall_clock_window: "the checkpointed state is that of the log",
}


def failures() -> Counter[str]:
    """In how many seeds each check fails; at most one of a kind counts for a seed."""
    return Counter(
        name for seed in SEEDS for name in {said.partition(":")[0] for said in scheduler.simulate(seed).broken}
    )


@pytest.mark.parametrize("plant", DEFECTS, ids=lambda plant: plant.__name__)
def test_a_defect_is_caught_and_without_it_every_check_holds(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as planted:
        plant(planted)
        found = failures()
    assert found[DEFECTS[plant]] >= 1, f"no seed failed it; failed were {dict(found)}"
    assert failures() == Counter()


def test_the_table_names_every_defect_with_its_check() -> None:
    assert __doc__ is not None
    rows = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in __doc__.splitlines() if line[:1] == "|"]
    listed = {re.sub(r"[ -]", "_", name).lower(): check for name, _, check, _ in rows[2:]}
    assert listed == {plant.__name__: check for plant, check in DEFECTS.items()}
