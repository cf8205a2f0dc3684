"""What was written against what was delivered, change by change and user by user."""

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from twinpath.detection.model import Change, Op, Position, Transaction


class Fact(NamedTuple):
    """One change of one row, whoever tells it: the position is left out, a snapshot row has no transaction."""

    xid: int | None
    op: Op
    tx_id: int
    before: Transaction | None
    after: Transaction | None


class Stream:
    """Changes by user, each once, in the order in which they first came."""

    def __init__(self) -> None:
        self.by_user: dict[int, list[Fact]] = {}
        self.changes = 0
        self.twice = 0
        self.snapshot_rows = 0
        self._seen: set[tuple[int, int, Op, Position]] = set()

    def settle(self) -> None:
        """Forget what was held against the other stream and found equal; what comes again is still known."""
        self.by_user.clear()

    def add(self, change: Change) -> None:
        """Note one change; one that came before at the same position is counted, no more."""
        self.changes += 1
        identity = (change.user_id, change.tx_id, change.op, change.position)
        if identity in self._seen:
            self.twice += 1
            return
        self._seen.add(identity)
        taught = change.op == "r"
        self.snapshot_rows += taught
        xid = None if taught else change.source_xid
        fact = Fact(xid, change.op, change.tx_id, change.before, change.after)
        self.by_user.setdefault(change.user_id, []).append(fact)


class StreamDifference(msgspec.Struct, frozen=True):
    """Facts that were written and never delivered, delivered and never written; users out of order."""

    lost: list[str]
    extra: list[str]
    disordered: list[int]


def compare_streams(written: Stream, delivered: Stream) -> StreamDifference:
    """Both streams, user by user: the same facts, in the same order."""
    lost, extra, disordered = [], [], []
    for user in sorted(written.by_user.keys() | delivered.by_user.keys()):
        wanted, found = written.by_user.get(user, []), delivered.by_user.get(user, [])
        if wanted == found:
            continue
        missing, beyond = Counter(wanted) - Counter(found), Counter(found) - Counter(wanted)
        lost += [f"user {user}: {fact}" for fact in missing.elements()]
        extra += [f"user {user}: {fact}" for fact in beyond.elements()]
        if not missing and not beyond:
            disordered.append(user)
    return StreamDifference(lost, extra, disordered)


def with_snapshots(
    changes: Iterable[Change],
    lsns: Sequence[int],
    interrupted: Mapping[int, Container[int]] | None = None,
    table: dict[int, Transaction] | None = None,
) -> Iterator[Change]:
    """Written changes, and at each LSN the table as a snapshot reads it there: by created_at, then id.

    `changes` are in the order of their COMMIT records, as `lab.measure.reference.ordered` gives them. With what was in
    the `table` before (by id; it is kept up to date) they hold all that the table ever held. Of an `interrupted`
    snapshot, by its LSN, only these rows were delivered.
    """
    partly = interrupted or {}
    table = {} if table is None else table
    waiting = sorted(lsns)
    for change in changes:
        while waiting and change.position.previous_commit_lsn > waiting[0]:
            yield from _snapshot(table, lsn := waiting.pop(0), partly.get(lsn))
        if change.after is None:
            table.pop(change.tx_id, None)
        else:
            table[change.tx_id] = change.after
        yield change
    for lsn in waiting:
        yield from _snapshot(table, lsn, partly.get(lsn))


def _snapshot(table: Mapping[int, Transaction], lsn: int, only: Container[int] | None) -> Iterator[Change]:
    for row in sorted(table.values(), key=lambda row: (row.created_us, row.tx_id)):
        if only is not None and row.tx_id not in only:
            continue
        yield Change("r", row.user_id, row.tx_id, Position(1, lsn - 1, lsn), None, row)
