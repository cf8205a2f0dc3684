"""Folding again what the runs of a batch path read, as they read it and with deviations put right.

Everything is folded by user with the rules' own `step`. The order of a run is that of the job: taught rows first by
created_at, then by the commit stamp of the row's transaction (none: first), then by id.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby, pairwise
from typing import NamedTuple

import msgspec

from lab.measure.batch_input import BatchInput, WrittenRow
from twinpath.detection.model import Alert, Change, Op, Position, Transaction
from twinpath.detection.replay import current, replay
from twinpath.detection.rules import Rule

MISSED, CHANGED, ORDER, SNAPSHOT = "missed", "changed", "order", "snapshot"
Undone = frozenset[str]
"""Deviations of the input that are put right: of MISSED, CHANGED, ORDER, SNAPSHOT."""

Standing = tuple[str, int, str]
"""Status, score and reason."""

NO_STAMP = -(2**63)
GONE: Standing = ("RETRACTED", 0, "no longer in the table, or no longer unusual")


class Event(NamedTuple):
    """One change as it is to be folded: `run` that brought it, stamp and LSN of its transaction, its row."""

    run: int
    stamp: int
    lsn: int
    sequence: int
    xid: int
    op: Op
    user_id: int
    tx_id: int
    row: Transaction | None

    @property
    def place(self) -> tuple[int, int, int]:
        """Where a run puts it, ids left aside."""
        if self.op == "r" and self.row is not None:
            return (self.run, 0, self.row.created_us)
        return (self.run, 1, self.stamp)


class Fold:
    """One rule over what was written and over what was read of it."""

    def __init__(
        self,
        rule: Rule,
        given: BatchInput,
        stamps: Mapping[int, int],
        teach_before_us: int,
        snapshot_only: frozenset[int],
    ) -> None:
        self.rule = rule
        self.input = given
        self._stamps = stamps
        self._teach_before_us = teach_before_us
        self._snapshot_only = snapshot_only
        self._alerts: dict[tuple[object, ...], dict[int, list[Alert]]] = {}
        self._inverted: dict[int, list[tuple[Event, Event]]] = {}

    def of_log(self, row: WrittenRow) -> Standing | None:
        """The standing of a row when the log is folded in the order of the COMMIT records."""
        return _standing(alert for user in row.users for alert in self._log(user).get(row.tx_id, []))

    def of_runs(self, row: WrittenRow) -> Standing | None:
        """The standing of a row when what the runs read is folded in their order."""
        if self.input.mode == "full":
            return self._of_whole_folds(row)
        return _standing(alert for user in row.users for alert in self._runs(user).get(row.tx_id, []))

    def put_right(self, row: WrittenRow, undone: Undone) -> Standing | None:
        """The standing of a row of one user when the runs' input is folded with these deviations put right."""
        (user,) = row.users
        found = self._cached(("right", user, undone), lambda: self._put_right(user, undone))
        return _standing(found.get(row.tx_id, []))

    def inverted(self, row: WrittenRow) -> list[tuple[int, int]]:
        """Pairs (later, sooner) by COMMIT record that the runs folded in this order for their stamps, row included.

        Transactions behind the row in the log are left out as sooner ones.
        """
        (user,) = row.users
        pairs = self._inverted.get(user)
        if pairs is None:
            events = self._ordered(self._read(user, frozenset(), self._last()), frozenset())
            pairs = self._inverted[user] = [
                (one, other) for one, other in pairwise(events) if one.lsn > other.lsn and one.stamp <= other.stamp
            ]
        place = row.lsn_for(user)
        return [(one.tx_id, other.tx_id) for one, other in pairs if (other.lsn, other.sequence) <= place]

    def snapshot_differs(self, row: WrittenRow) -> bool:
        """True when one side learned a row from a snapshot and the other judged it."""
        readings = self.input.readings(row)
        taught = bool(readings) and self._taught(readings[0].version.xid)
        return taught != (row.tx_id in self._snapshot_only)

    def _of_whole_folds(self, row: WrittenRow) -> Standing | None:
        """`full`: each run folds the whole table; what differs from the view is raised, revised or retracted."""
        standing: Standing | None = None
        for run in range(len(self.input.runs)):
            version = row.current(run)
            found = None
            if version is not None and version.row is not None:
                found = _standing(self._whole(version.row.user_id, run).get(row.tx_id, []))
            if found is None:
                standing = GONE if standing is not None else None
            elif standing is None or standing[0] == "RETRACTED":
                standing = found
            elif standing[1:] != found[1:]:
                standing = ("REVISED", *found[1:])
        return standing

    def _cached(self, key: tuple[object, ...], made: Callable[[], Sequence[Alert]]) -> dict[int, list[Alert]]:
        found = self._alerts.get(key)
        if found is None:
            found = self._alerts[key] = {}
            for alert in made():
                found.setdefault(alert.tx_id, []).append(alert)
        return found

    def _log(self, user: int) -> dict[int, list[Alert]]:
        def made() -> Sequence[Alert]:
            changes = [change for row in self.input.by_user[user] for change in self._as_delivered(row, user)]
            taught = [change for change in changes if change.op == "r"]
            taught.sort(key=lambda change: (change.after.created_us if change.after else 0, change.tx_id))
            others = sorted((change for change in changes if change.op != "r"), key=lambda change: change.position)
            return replay(self.rule, [*taught, *others]).alerts

        return self._cached(("log", user), made)

    def _runs(self, user: int) -> dict[int, list[Alert]]:
        return self._cached(("runs", user), lambda: self._folded(self._read(user, frozenset(), None), frozenset()))

    def _whole(self, user: int, run: int) -> dict[int, list[Alert]]:
        return self._cached(("whole", user, run), lambda: self._folded(self._read(user, frozenset(), run), frozenset()))

    def _put_right(self, user: int, undone: Undone) -> Sequence[Alert]:
        return self._folded(self._read(user, undone, self._last()), undone)

    def _last(self) -> int | None:
        """`full` is what its last run says."""
        return len(self.input.runs) - 1 if self.input.mode == "full" else None

    def _read(self, user: int, undone: Undone, only: int | None) -> list[Event]:
        """What the runs (or only one) read of a user's rows; rows that are put right come as the log has them."""
        events = []
        for row in self.input.by_user[user]:
            left_out = self.input.left_out(row)
            if (left_out and MISSED in undone) or (row.changed and not left_out and CHANGED in undone):
                for change in self._as_delivered(row, user):
                    _, lsn, sequence = change.position
                    xid = change.source_xid or 0
                    run = self.input.seen(xid) if only is None else only
                    events.append(self._event(run, lsn, sequence, xid, change.op, change))
                continue
            for reading in self.input.readings(row):
                version = reading.version
                if version.row is None or version.row.user_id != user or only not in (None, reading.run):
                    continue
                op: Op = "u"
                if reading.first:
                    taught = row.tx_id in self._snapshot_only if SNAPSHOT in undone else self._taught(version.xid)
                    op = "r" if taught else "c"
                read = Change(op, user, row.tx_id, Position(1, 0, 0), None, version.row)
                events.append(self._event(reading.run, version.lsn, version.sequence, version.xid, op, read))
        return events

    def _event(self, run: int, lsn: int, sequence: int, xid: int, op: Op, change: Change) -> Event:
        stamp = self._stamps.get(xid, NO_STAMP)
        return Event(run, stamp, lsn, sequence, xid, op, change.user_id, change.tx_id, change.after)

    def _folded(self, events: Sequence[Event], undone: Undone) -> Sequence[Alert]:
        """The alerts; positions rise with the place, and with the run so that those of several users compare."""
        changes = []
        for place, one in enumerate(self._ordered(events, undone), 1):
            first = place if undone else one.run + 1
            position = Position(1, 0, 0) if one.op == "r" else Position(1, first, place)
            changes.append(Change(one.op, one.user_id, one.tx_id, position, None, one.row))
        return replay(self.rule, changes).alerts

    def _ordered(self, events: Sequence[Event], undone: Undone) -> list[Event]:
        """As the runs fold them; or, with ORDER put right, as the log has them.

        Rows that come as the log has them keep its order within their transaction.
        """
        if ORDER in undone:
            return sorted(events, key=_in_log)
        found: list[Event] = []
        for _, group in groupby(sorted(events, key=lambda one: one.place), key=lambda one: one.place):
            tied = list(group)
            by_sequence = CHANGED in undone and len({one.xid for one in tied}) == 1 and tied[0].op != "r"
            found += sorted(tied, key=lambda one: one.sequence if by_sequence else one.tx_id)
        return found

    def _as_delivered(self, row: WrittenRow, user: int) -> list[Change]:
        """A user's changes of a row as the log's readers got them: what a snapshot delivered was taught."""
        changes = [change for change in row.changes if change.user_id == user]
        if row.tx_id in self._snapshot_only and changes and changes[0] is row.changes[0]:
            changes[0] = msgspec.structs.replace(changes[0], op="r", position=Position(1, 0, 0))
        return changes

    def _taught(self, xid: int) -> bool:
        return self._stamps.get(xid, 0) < self._teach_before_us


def _in_log(one: Event) -> tuple[bool, int, int]:
    """Taught rows first, by created_at and id; the others by COMMIT record, in a transaction as written."""
    taught = one.op == "r" and one.row is not None
    return (not taught, *((one.place[2], one.tx_id) if taught else (one.lsn, one.sequence)))


def standings(alerts: Iterable[Alert]) -> dict[int, Standing]:
    """The final standing of each row that ever had an alert."""
    return {tx_id: (one.status, one.score, one.reason) for tx_id, one in current(alerts).items()}


def _standing(alerts: Iterable[Alert]) -> Standing | None:
    """The standing of the one row that these alerts are about."""
    return next(iter(standings(alerts).values()), None)
