"""What a load did, by class of operation: which rows, and which values of rows, each class is made of.

From the operation log in the order of the COMMIT records. Two classes hang on when the batch path looked: a value or
a row that came and went between two of its runs. Without a run every such value counts.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise

import msgspec

from lab.measure.batch_evidence import Written
from lab.measure.batch_input import BatchRun
from lab.operations import Operation

Update = tuple[int, int, int]
"""(tx_id, LSN of the COMMIT record, place in its transaction): one value that an update gave a row."""


class Classes(msgspec.Struct, frozen=True):
    """Rows by their ids, values by their place in the log.

    `middle_updates`: replaced by another update before a run could see them. `born_and_died`: inserted and deleted
    with no run in between. `late_commits`: committed after a row with a greater id, which was begun later.
    `same_stamps`: not the only row of its created_at. `rolled_back` are rows whose insert was undone, and
    `rolled_back_writes` counts undone writes of every kind.
    """

    inserts: frozenset[int] = frozenset()
    updates: frozenset[Update] = frozenset()
    middle_updates: frozenset[Update] = frozenset()
    deletes: frozenset[int] = frozenset()
    born_and_died: frozenset[int] = frozenset()
    late_commits: frozenset[int] = frozenset()
    same_stamps: frozenset[int] = frozenset()
    rolled_back: frozenset[int] = frozenset()
    rolled_back_writes: int = 0


def classify(written: Written, looks: Sequence[BatchRun]) -> Classes:
    """The classes of everything that was written; `looks` are the runs of the batch path."""
    done = [one for one in written.operations if written.happened(one)]
    undone = [one for one in written.operations if not written.happened(one)]
    done.sort(key=lambda one: (written.commits[one.xid], one.sequence))
    inserts = [one for one in done if one.op == "insert"]
    lives: defaultdict[int, list[Operation]] = defaultdict(list)
    for one in done:
        lives[one.tx_id].append(one)
    steps = [pair for life in lives.values() for pair in pairwise(life)]
    ends = [(life[0], life[-1]) for life in lives.values() if life[0].op == "insert" and life[-1].op == "delete"]

    def value(one: Operation) -> Update:
        return (one.tx_id, written.commits[one.xid], one.sequence)

    return Classes(
        inserts=frozenset(one.tx_id for one in inserts),
        updates=frozenset(value(one) for one in done if one.op == "update"),
        middle_updates=frozenset(
            value(one) for one, then in steps if one.op == then.op == "update" and not _looked(looks, one, then)
        ),
        deletes=frozenset(one.tx_id for one in done if one.op == "delete"),
        born_and_died=frozenset(one.tx_id for one, end in ends if not _looked(looks, one, end)),
        late_commits=frozenset(_late(inserts)),
        same_stamps=frozenset(_tied(inserts)),
        rolled_back=frozenset(one.tx_id for one in undone if one.op == "insert"),
        rolled_back_writes=len(undone),
    )


def _looked(looks: Iterable[BatchRun], one: Operation, then: Operation) -> bool:
    """Whether a run saw the one and not yet the other."""
    return any(look.sees(one.full_xid) and not look.sees(then.full_xid) for look in looks)


def _late(inserts: Iterable[Operation]) -> Iterable[int]:
    """Ids below one that was committed before; ids of one transaction rise."""
    highest = 0
    for one in inserts:
        if one.tx_id < highest:
            yield one.tx_id
        highest = max(highest, one.tx_id)


def _tied(inserts: Sequence[Operation]) -> Iterable[int]:
    stamped = [(one.tx_id, one.after.created_us) for one in inserts if one.after is not None]
    count = Counter(stamp for _, stamp in stamped)
    return (tx_id for tx_id, stamp in stamped if count[stamp] > 1)
