"""Each batch mode against the operation log: rows missed, and every differing alert with its verified cause."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise

import msgspec
from psycopg2.extensions import cursor as Cursor

from lab.measure.batch_evidence import PATHS, Kept, Written, explained, read_kept
from lab.measure.batch_input import BatchInput, Mode
from lab.measure.causes import Explained
from lab.measure.reference import fold, ordered
from lab.operations import Operation
from twinpath.detection.model import Alert
from twinpath.detection.rules import Rule

EXAMPLES = 3  # of each cause, in the result; the file beside it holds all
SHOWN = 20
HELD_S = 1.0
READ_TABLE = (
    "SELECT id, user_id, (amount * 100)::bigint, (extract(epoch FROM created_at) * 1000000)::bigint, merchant_id "
    "FROM transactions"
)


class RuleFound(msgspec.Struct):
    """One rule of one mode: final standings that differ from the reference, by cause; what has none, in full."""

    rule: str
    alerts: int
    differing: int
    causes: dict[str, int]
    unexplained: list[Explained]
    examples: list[Explained]


class ModeFound(msgspec.Struct):
    """One mode: its merged runs, how many of them saw open transactions, the rows that it missed, its rules.

    `missed`: rows that a run could see and that are not among the judged ids; `unseen`: rows that no run could see.
    """

    mode: Mode
    path: str
    runs: int
    runs_beside_open: int
    judged: int
    missed: int
    missed_ids: list[int]
    unseen: int
    dead_letters: int
    rules: list[RuleFound]

    @property
    def unexplained(self) -> int:
        """Differences without a cause."""
        return sum(len(one.unexplained) for one in self.rules)


class Found(msgspec.Struct):
    """Everything that a comparison found. `late`: inserted rows whose id lies below one that committed earlier."""

    rows: dict[str, int]
    late: int
    held_s: list[float]
    inverted_stamps: int
    equal_stamps: int
    table_differs: list[int]
    modes: list[ModeFound]


Tell = Callable[[str, str, Explained], None]
"""Takes each difference: path, rule, and what was found out."""


def compare_modes(source: Cursor, alerts: Cursor, written: Written, rules: Sequence[Rule], tell: Tell) -> Found:
    """Everything of one run; the cursors are on the source and on the alert store."""
    changes = ordered(written.operations, written.commits, written.settled)
    references = {name: one.alerts for name, one in fold(rules, changes).items()}
    modes = [_mode(alerts, path, mode, written, rules, references, tell) for path, mode in PATHS.items()]
    return Found(
        rows=_rows(written),
        late=_late(written),
        held_s=_held_s(written),
        inverted_stamps=_pairs(written, lambda sooner, later: sooner > later),
        equal_stamps=_pairs(written, lambda sooner, later: sooner == later),
        table_differs=_table_differs(source, written),
        modes=modes,
    )


def _mode(
    alerts: Cursor,
    path: str,
    mode: Mode,
    written: Written,
    rules: Sequence[Rule],
    references: Mapping[str, Sequence[Alert]],
    tell: Tell,
) -> ModeFound:
    kept = {rule.name: read_kept(alerts, path, rule) for rule in rules}
    least = min(kept.values(), key=lambda one: len(one.judged))
    given = BatchInput(written.operations, written.commits, written.settled, least.runs, mode)
    missed = sorted({tx_id for one in kept.values() for tx_id in given.unread(one.judged)})
    return ModeFound(
        mode=mode,
        path=path,
        runs=min(len(one.runs) for one in kept.values()),
        runs_beside_open=sum(bool(run.running) or run.xmin < run.xmax for run in least.runs),
        judged=len(least.judged),
        missed=len(missed),
        missed_ids=missed[:SHOWN],
        unseen=len(given.unseen()),
        dead_letters=sum(one.dead_letters for one in kept.values()),
        rules=[_rule(rule, path, mode, kept[rule.name], written, references[rule.name], tell) for rule in rules],
    )


def _rule(
    rule: Rule, path: str, mode: Mode, kept: Kept, written: Written, reference: Sequence[Alert], tell: Tell
) -> RuleFound:
    found = explained(rule, mode, kept, reference, written)
    by_cause: dict[str, list[Explained]] = {}
    for one in found:
        tell(path, rule.name, one)
        by_cause.setdefault(one.cause or "unexplained", []).append(one)
    unexplained = by_cause.pop("unexplained", [])
    return RuleFound(
        rule=rule.name,
        alerts=len(kept.alerts),
        differing=len(found),
        causes={cause: len(some) for cause, some in sorted(by_cause.items())},
        unexplained=unexplained,
        examples=[one for _, some in sorted(by_cause.items()) for one in some[:EXAMPLES]],
    )


def _committed(written: Written) -> Iterator[Operation]:
    """Committed operations, transaction by transaction in the order of the COMMIT records."""
    kept = [one for one in written.operations if written.happened(one)]
    yield from sorted(kept, key=lambda one: (written.commits[one.xid], one.sequence))


def _rows(written: Written) -> dict[str, int]:
    counts = Counter(one.op for one in _committed(written))
    every = len(written.operations)
    return {**dict(sorted(counts.items())), "rolled_back": every - counts.total()}


def _late(written: Written) -> int:
    """Inserted rows whose id lies below one that committed earlier."""
    highest, late = 0, 0
    for one in _committed(written):
        if one.op == "insert":
            late += one.tx_id < highest
            highest = max(highest, one.tx_id)
    return late


def _held_s(written: Written) -> list[float]:
    """How long the transactions that were held for a second or more were open, the longest first."""
    open_s = {one.full_xid: (one.done_us - one.intended_us) / 1_000_000 for one in written.operations}
    return sorted((round(one, 1) for one in open_s.values() if one >= HELD_S), reverse=True)


def _pairs(written: Written, holds: Callable[[int, int], bool]) -> int:
    """Transactions that follow one another by COMMIT record whose stamps stand in this relation."""
    in_order = dict.fromkeys(one.xid for one in _committed(written))
    stamps = [written.stamps[xid] for xid in in_order if xid in written.stamps]
    return sum(holds(sooner, later) for sooner, later in pairwise(stamps))


def _table_differs(source: Cursor, written: Written) -> list[int]:
    """Rows whose values in the table are not those that the operation log ends with: it would be no reference."""
    last: dict[int, tuple[int, int, int, int, int | None]] = {}
    for one in _committed(written):
        if one.after is None:
            last.pop(one.tx_id, None)
        else:
            row = one.after
            last[one.tx_id] = (one.tx_id, row.user_id, row.amount_cents, row.created_us, row.merchant_id)
    source.execute(READ_TABLE)
    found = {row[0]: row for row in source.fetchall()}
    return sorted(tx_id for tx_id in last.keys() | found.keys() if last.get(tx_id) != found.get(tx_id))
