"""Do two alert sets agree? Compared on the final standing of each row, and for log-fed paths on every alert."""

from collections.abc import Iterable, Mapping

import msgspec

from twinpath.detection.buckets import BucketCodec
from twinpath.detection.detector import UserState
from twinpath.detection.history import Entry, History
from twinpath.detection.model import Alert, Position
from twinpath.detection.replay import current
from twinpath.detection.rules import Rule

Final = tuple[int, str, int, str]
"""(tx_id, status, score, reason): what "equal" compares within one rule and version."""
States = Mapping[int, UserState[History]]
"""By user_id."""


class Difference(msgspec.Struct, frozen=True):
    """What a path lacks (missing) and has beyond the reference (extra)."""

    missing: list[Final]
    extra: list[Final]

    @property
    def equal(self) -> bool:
        """True when nothing is missing and nothing is extra."""
        return not self.missing and not self.extra


def finals(alerts: Iterable[Alert]) -> set[Final]:
    """The final standing of each row that ever had an alert."""
    return {(one.tx_id, one.status, one.score, one.reason) for one in current(alerts).values()}


def compare(path: Iterable[Alert], reference: Iterable[Alert]) -> Difference:
    """Final standings of a path against those of a reference."""
    found, wanted = finals(path), finals(reference)
    return Difference(sorted(wanted - found), sorted(found - wanted))


def compare_log(path: Iterable[Alert], reference: Iterable[Alert]) -> Difference:
    """Every alert, its position included: for paths that read the same log."""
    found, wanted = _facts(path), _facts(reference)
    return Difference(sorted(_final(fact) for fact in wanted - found), sorted(_final(fact) for fact in found - wanted))


def remembered(rule: Rule, stored: Iterable[bytes]) -> States:
    """The checkpointed state of every user, from buckets whose parts come in their order."""
    codec = BucketCodec(rule)
    states: dict[int, UserState[History]] = {}
    for data in stored:
        states.update(codec.decode(data))
    return states


def differing_users(states: States, reference: States) -> list[int]:
    """Users whose checkpointed state is not the one that a replay ends in: same entries, same marks."""
    return sorted(user for user in states.keys() | reference.keys() if states.get(user) != reference.get(user))


def differing_histories(a: States, b: States) -> list[int]:
    """Users whose remembered payments differ, whatever their positions: values, order and prior of each row.

    Holds the whole of what was delivered against what was written, rows without an alert included.
    """
    return sorted(user for user in a.keys() | b.keys() if _entries(a, user) != _entries(b, user))


def differing_rows(a: States, b: States) -> list[int]:
    """Transactions that are not remembered alike: first those that one side lacks, then those with other values, last
    those that were judged on another prior."""
    ones, others = (
        {entry.transaction.tx_id: entry for user in states for entry in _entries(states, user)} for states in (a, b)
    )
    found = {tx_id: _unlike(ones.get(tx_id), others.get(tx_id)) for tx_id in ones.keys() | others.keys()}
    return sorted((tx_id for tx_id, how in found.items() if how), key=lambda tx_id: (-found[tx_id], tx_id))


def _unlike(one: Entry | None, other: Entry | None) -> int:
    """3: one is not there; 2: other values; 1: another prior; 0: alike."""
    if one is None or other is None:
        return 3
    return 2 if one.transaction != other.transaction else int(one != other)


def _entries(states: States, user: int) -> list[Entry]:
    return states[user].history.entries if user in states else []


_Fact = tuple[int, int, Position, str, str, int, str]


def _facts(alerts: Iterable[Alert]) -> set[_Fact]:
    return {(one.user_id, one.tx_id, one.position, one.op, one.status, one.score, one.reason) for one in alerts}


def _final(fact: _Fact) -> Final:
    return (fact[1], fact[4], fact[5], fact[6])
