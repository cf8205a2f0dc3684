"""The two oracles: `replay` of the topic, and `replay` of the operation log in the witness's order.

The first checks an agent (same log, same alerts); the second checks the log itself: that Debezium and
Kafka delivered every committed row, in an order that PostgreSQL's own WAL confirms.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from lab.operations import LoggedRow, Operation
from lab.topic import records
from twinpath.detection.envelope import EnvelopeDecoder
from twinpath.detection.model import Change, Op, Position, Skipped, Transaction
from twinpath.detection.replay import Replay
from twinpath.detection.rules import Rule
from twinpath.errors import DecodeError, ServiceFault
from twinpath.settings import Settings


def topic_changes(
    settings: Settings,
    ends: Mapping[int, int],
    decoder: EnvelopeDecoder,
    unreadable: list[str] | None = None,
    begins: Mapping[int, int] | None = None,
) -> Iterator[Change]:
    """Every change in the topic from `begins` (its start) to below `ends`, partition by partition.

    A record that cannot be read is noted in `unreadable`; without such a list it is a DecodeError.
    """
    for partition, end in sorted(ends.items()):
        for record in records(settings, partition, (begins or {}).get(partition, 0), end):
            try:
                decoded = decoder.decode(record.key, record.value)
            except DecodeError as problem:
                if unreadable is None:
                    raise
                unreadable.append(str(problem))
                continue
            if not isinstance(decoded, Skipped):
                yield from decoded


def ordered(operations: Iterable[Operation], commits: Mapping[int, int], settled: Mapping[int, bool]) -> list[Change]:
    """Committed operations as changes, in the order of their COMMIT records."""
    placed = []
    for operation in operations:
        outcome = operation.outcome
        if outcome == "unknown":
            outcome = "committed" if settled[operation.full_xid] else "rolled_back"
        if outcome != "committed":
            continue
        if operation.xid not in commits:
            raise ServiceFault(f"the witness has no COMMIT record of transaction {operation.xid}")
        placed.append((commits[operation.xid], operation.sequence, operation))
    placed.sort(key=lambda entry: entry[:2])
    return [change for lsn, sequence, operation in placed for change in _changes(lsn, sequence, operation)]


def _changes(lsn: int, sequence: int, operation: Operation) -> Iterator[Change]:
    """One operation as the log carries it: a changed user is a delete and an insert."""
    position = Position(1, lsn, sequence)
    before, after = _row(operation.before), _row(operation.after)
    xid = operation.xid
    if after is None and before is not None:
        yield Change("d", before.user_id, before.tx_id, position, before, None, xid)
    elif after is not None and before is not None and before.user_id != after.user_id:
        yield Change("d", before.user_id, before.tx_id, position, before, None, xid)
        yield Change("c", after.user_id, after.tx_id, position, None, after, xid)
    elif after is not None:
        op: Op = "c" if before is None else "u"
        yield Change(op, after.user_id, after.tx_id, position, before, after, xid)


def _row(row: LoggedRow | None) -> Transaction | None:
    if row is None:
        return None
    return Transaction(row.tx_id, row.user_id, row.amount_cents, row.created_us, row.merchant_id)


def fold(rules: Sequence[Rule], changes: Iterable[Change]) -> dict[str, Replay]:
    """One replay for each rule, in one pass."""
    replays = {rule.name: Replay(rule) for rule in rules}
    for change in changes:
        for one in replays.values():
            one.apply(change)
    return replays
