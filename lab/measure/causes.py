"""Why a batch path's alerts differ from the log's, each cause verified by folding again; nothing is guessed.

The reference is the fold of the operation log in the order of the COMMIT records. For a row whose final standing
differs, in this order:

1. the reference given must be that fold, the ids that the path keeps as judged must be those that its runs could read,
   and the fold of what its runs could read must give the path's standing: otherwise the difference is unexplained;
2. `missed` (naive modes only): a run could see the row, and none read it;
3. `a`: the row itself was updated or deleted;
4. otherwise the input is put right, one deviation of the user's rows after the other: rows that were never read
   (`missed`), rows that were updated or deleted (`b`), order against the COMMIT records (`c`), rows that one side
   learned from a snapshot only (`d`). The cause is the smallest set of these after which the fold gives exactly the
   reference's standing; without a row to show for it a deviation is not tried, and its name stands in no result.

A difference that passes none of these has no cause. A run that reads with a snapshot of its own (`--read plain`) may
see more than its snapshot says; what comes of that stays unexplained.
"""

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Literal

import msgspec

from lab.measure.agreement import Final, compare
from lab.measure.batch_input import NAIVE, BatchInput, BatchRun, Mode, WrittenRow
from lab.measure.refold import CHANGED, MISSED, ORDER, SNAPSHOT, Fold, Standing, standings
from lab.operations import Operation
from twinpath.detection.model import Alert
from twinpath.detection.rules import Rule

Side = Literal["missing", "extra"]
Cause = Literal["a", "b", "c", "d", "missed"]
CAUSES: dict[str, Cause] = {MISSED: "missed", CHANGED: "b", ORDER: "c", SNAPSHOT: "d"}
SAID = {
    MISSED: "{} of the same user were never read",
    CHANGED: "{} of the same user were updated or deleted",
    SNAPSHOT: "{} delivered by a snapshot only",
}
SHOWN = 5  # ids in an evidence: the nearest before the row


class Explained(msgspec.Struct, frozen=True):
    """One difference: the standing that the path lacks (missing) or has beyond the reference (extra), and why.

    `cause` is None when nothing allowed explains it; `evidence` names transactions by the ids of their rows.
    """

    tx_id: int
    side: Side
    status: str
    score: int
    reason: str
    cause: Cause | None
    evidence: str


def explain(
    rule: Rule,
    path_alerts: Iterable[Alert],
    reference_alerts: Iterable[Alert],
    operations: Iterable[Operation],
    commits: Mapping[int, int],
    stamps: Mapping[int, int],
    judged_ids: Collection[int],
    *,
    runs: Sequence[BatchRun],
    mode: Mode = "safe",
    settled: Mapping[int, bool] | None = None,
    teach_before_us: int = 0,
    snapshot_only: Collection[int] = (),
) -> list[Explained]:
    """Every difference of the final standings, with its cause.

    `commits` and `stamps` go from a 32-bit transaction id to the LSN of its COMMIT record and to its commit time in
    microseconds; `judged_ids` are the ids that the path keeps; `runs` its merged runs. Rows committed before
    `teach_before_us` were taught by the batch job; those in `snapshot_only` reached the log's readers by a snapshot.
    """
    path_alerts, reference_alerts = list(path_alerts), list(reference_alerts)
    seen = BatchInput(operations, commits, settled or {}, runs, mode)
    case = _Case(
        Fold(rule, seen, stamps, teach_before_us, frozenset(snapshot_only)),
        standings(path_alerts),
        standings(reference_alerts),
        judged_ids,
    )
    difference = compare(path_alerts, reference_alerts)
    causes = {tx_id: case.cause(tx_id) for tx_id, *_ in (*difference.missing, *difference.extra)}
    sides: dict[Side, list[Final]] = {"missing": difference.missing, "extra": difference.extra}
    return [
        Explained(tx_id, side, status, score, reason, *causes[tx_id])
        for side, finals in sides.items()
        for tx_id, status, score, reason in finals
    ]


class _Case:
    """One path and rule against the reference."""

    def __init__(
        self,
        fold: Fold,
        path: Mapping[int, Standing],
        reference: Mapping[int, Standing],
        judged: Collection[int],
    ) -> None:
        self._fold = fold
        self._input = fold.input
        self._path = path
        self._reference = reference
        self._judged = judged
        self._wrong: dict[int, str] = {}
        self._places: dict[int, dict[str, list[tuple[tuple[int, int], int]]]] = {}

    def cause(self, tx_id: int) -> tuple[Cause | None, str]:
        """The cause and its evidence for the standing of one row."""
        row = self._input.rows.get(tx_id)
        if row is None:
            return None, f"the operation log holds no committed transaction {tx_id}"
        wrong = self._not_reproduced(row)
        if wrong:
            return None, wrong
        if self._input.mode in NAIVE and self._input.left_out(row):
            return "missed", f"{tx_id} was committed before a run that could see it, and none read it"
        if row.changed:
            what = ", ".join(_did(row))
            return "a", f"{tx_id} was {what}; folding what each run read gives {_said(self._path.get(tx_id))}"
        return self._by_putting_right(row)

    def _not_reproduced(self, row: WrittenRow) -> str:
        """What does not fit between the inputs given; empty when path and reference are both folded again."""
        tx_id = row.tx_id
        found, given = self._fold.of_log(row), self._reference.get(tx_id)
        if found != given:
            return f"the operation log in commit order gives {_said(found)} for {tx_id}, the reference {_said(given)}"
        apart = [wrong for user in row.users if (wrong := self._apart(user))]
        if apart:
            return "; ".join(apart)
        found, given = self._fold.of_runs(row), self._path.get(tx_id)
        if found != given:
            return f"folding what each run read gives {_said(found)} for {tx_id}, the path has {_said(given)}"
        return ""

    def _apart(self, user: int) -> str:
        """Rows of a user that the path knows and its runs could not read, or the other way round."""
        if user not in self._wrong:
            known = {row.tx_id: self._input.known(row) for row in self._input.by_user[user]}
            lost = [tx_id for tx_id, read in known.items() if read and tx_id not in self._judged]
            beyond = [tx_id for tx_id, read in known.items() if not read and tx_id in self._judged]
            self._wrong[user] = ""
            if lost:
                self._wrong[user] = f"a run was to read {_listed(lost)} and they are not among the judged ids"
            elif beyond:
                self._wrong[user] = f"no run could read {_listed(beyond)} and they are among the judged ids"
        return self._wrong[user]

    def _by_putting_right(self, row: WrittenRow) -> tuple[Cause | None, str]:
        """The smallest set of deviations whose removal gives the reference."""
        deviations = self._deviations(row)
        wanted = self._reference.get(row.tx_id)
        for size in range(1, len(deviations) + 1):
            for chosen in combinations(deviations, size):
                if self._fold.put_right(row, frozenset(chosen)) == wanted:
                    shown = "; ".join(deviations[one] for one in chosen)
                    return CAUSES[chosen[0]], (
                        f"{shown}; folding what each run read gives {_said(self._path.get(row.tx_id))}, with this put "
                        f"right {_said(wanted)}"
                    )
        if not deviations:
            return None, f"nothing allowed happened to {row.tx_id} or to an earlier transaction of its user"
        return None, f"putting right what happened ({'; '.join(deviations.values())}) does not give {_said(wanted)}"

    def _deviations(self, row: WrittenRow) -> dict[str, str]:
        """What happened to this row's user before it, by kind, each with the rows to show for it."""
        (user,) = row.users
        found = {kind: places for kind, places in self._deviating(user).items() if places}
        place = row.lsn_for(user)
        before = {
            kind: [tx_id for at, tx_id in places[: bisect_left(places, (place,))]] for kind, places in found.items()
        }
        if self._fold.snapshot_differs(row):
            before.setdefault(SNAPSHOT, []).append(row.tx_id)
        shown = {kind: SAID[kind].format(_listed(ids)) for kind, ids in before.items() if ids}
        inverted = self._fold.inverted(row)
        if inverted:
            pairs = [f"{later} before {sooner}" for later, sooner in inverted]
            shown[ORDER] = f"commit stamps equal or against the COMMIT records: {_listed(pairs)}"
        return {kind: shown[kind] for kind in CAUSES if kind in shown}

    def _deviating(self, user: int) -> dict[str, list[tuple[tuple[int, int], int]]]:
        """A user's rows that were missed, changed or taught on one side only, in the order of the log."""
        found = self._places.get(user)
        if found is None:
            found = self._places[user] = {MISSED: [], CHANGED: [], SNAPSHOT: []}
            for row in self._input.by_user[user]:
                entry = (row.lsn_for(user), row.tx_id)
                if self._input.mode in NAIVE and self._input.left_out(row):
                    found[MISSED].append(entry)
                if row.changed:
                    found[CHANGED].append(entry)
                if self._fold.snapshot_differs(row):
                    found[SNAPSHOT].append(entry)
            for places in found.values():
                places.sort()
        return found


def _did(row: WrittenRow) -> Iterator[str]:
    """What was done to a row after its insert."""
    for change, former in zip(row.changes[1:], row.changes, strict=False):
        if change.op == "c" and former.position == change.position:
            yield f"moved to another user by transaction {change.source_xid}"
        elif change.op == "u":
            yield f"updated by transaction {change.source_xid}"
        elif row.changes[-1] is change:
            yield f"deleted by transaction {change.source_xid}"


def _listed(ids: Sequence[int | str]) -> str:
    """The last ones of a list, and how many there are."""
    shown = ", ".join(str(one) for one in ids[-SHOWN:])
    return f"{shown} and {len(ids) - SHOWN} more" if len(ids) > SHOWN else shown


def _said(standing: Standing | None) -> str:
    return "no alert" if standing is None else f"{standing[0]} {standing[1]} ({standing[2]})"
