"""The simulation: its parts are true to what they stand for, it repeats itself, and the agents hold in it."""

import random
from collections import Counter
from collections.abc import Iterable

import pytest

from streaming.simulation import scheduler
from streaming.simulation.records import DATABASE
from streaming.simulation.scheduler import Simulation
from streaming.simulation.source import Source
from streaming.simulation.store import MemoryStore, Tables
from tests import store_contract
from twinpath.alert_store import AlertStore
from twinpath.detection.envelope import EnvelopeDecoder, EnvelopeFormat
from twinpath.detection.model import Alert, Skipped
from twinpath.detection.rules import Rule
from twinpath.detection.usual import UnusualRecord, usual_change
from twinpath.errors import DecodeError

SEEDS = 150  # from 1000 on; 0 to 19 belong to the planted defects; many more by tests/e2e/test_simulate.py
FOUND = [25_204]  # a record that was fetched before a refused checkpoint was counted twice


class MemoryBench:
    """Sessions that never fail, on tables of their own."""

    def __init__(self) -> None:
        self._tables = Tables()

    def session(self) -> AlertStore:
        return MemoryStore(self._tables, "agent", lambda call: False)  # type: ignore[return-value]

    def alerts(self, rule: Rule) -> list[Alert]:
        rows = [row for row in self._tables.alerts.items() if row[0][2] == rule.version]
        return sorted((one for _, alerts in rows for one in alerts.values()), key=lambda one: one.position)

    def letters(self, rule: Rule) -> list[store_contract.Letter]:
        return [
            (one.partition, one.offset, one.reason, _length(one.key), _length(one.value))
            for (*_, partition, offset), one in sorted(self._tables.letters.items())
            if _[2] == rule.version
        ]


def _length(data: bytes | None) -> int | None:
    return None if data is None else len(data)


@pytest.mark.parametrize(
    "number", range(len(store_contract.CASES)), ids=lambda number: store_contract.CASES[number].__name__
)
def test_the_store_in_memory_keeps_the_contract(number: int) -> None:
    store_contract.CASES[number](MemoryBench(), store_contract.RULES["spending"])


def test_the_decoder_reads_from_every_record_what_the_source_meant() -> None:
    fmt = EnvelopeFormat(database=DATABASE)
    times: Counter[str] = Counter()
    for sent in (one for seed in range(30) for one in Source(random.Random(seed), 60).sent):
        try:
            decoded = EnvelopeDecoder(fmt).decode(sent.key, sent.value)
            kind = "skipped" if isinstance(decoded, Skipped) else "change"
        except DecodeError:
            decoded, kind = (), "unreadable"
        assert (kind, () if kind == "skipped" else decoded) == (sent.kind, sent.changes)
        times[kind] += 1
        times["usual"] += is_usual(sent.key, sent.value, fmt)
    assert set(times) == {"change", "skipped", "unreadable", "usual"}
    assert min(times.values()) > 50
    assert times["usual"] > times["change"] / 2


def is_usual(key: bytes | None, value: bytes | None, fmt: EnvelopeFormat) -> bool:
    try:
        return key is not None and value is not None and usual_change(key, value, 1, fmt) is not None
    except (UnusualRecord, DecodeError, ValueError, LookupError):
        return False


def test_a_seed_repeats_itself_call_by_call() -> None:
    first, again, other = Simulation(4711), Simulation(4711), Simulation(4712)
    assert first.run() == again.run()
    assert first.trace == again.trace
    assert other.run().broken == []
    assert first.trace != other.trace


def test_a_failing_seed_says_how_to_replay_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "CALM_TURNS", 0)
    text = str(scheduler.simulate(7))
    assert text.startswith("seed 7 (velocity): every record is folded: not after 0 turns of calm")
    assert text.endswith("(replay it: twinpath simulate --seed 7)")


def broken(seeds: Iterable[int]) -> list[str]:
    return [str(outcome) for outcome in map(scheduler.simulate, seeds) if outcome.broken]


def test_agents_hold_under_chaos() -> None:
    assert broken([*FOUND, *range(1_000, 1_000 + SEEDS)]) == []
