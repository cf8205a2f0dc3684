"""Which query folds which rules, and whether a Spark checkpoint is the one that the alert store knows. Pure.

Rules that are new together share one query and decode each record once. A version of a rule stays with the query that
it began in; one that comes later gets a query, and a checkpoint, of its own, which begins at the beginning of the log.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from twinpath.detection.rules import Rule
from twinpath.errors import ForeignCheckpoint

Offsets = Mapping[int, int]
"""Partition -> next offset."""

Start = Literal["new", "goes on", "judges again"]


class KnownQuery(NamedTuple):
    """A query as the alert store knows it; `batch_id` is None while nothing of it is stored."""

    name: str
    number: int
    rules: tuple[tuple[str, str], ...]
    location: str
    checkpoint_id: str | None
    batch_id: int | None
    next_offsets: Offsets


class QueryPlan(NamedTuple):
    """A query to start: its lasting name, and the rules that it folds now."""

    name: str
    rules: tuple[Rule, ...]
    known: KnownQuery | None


class FoundCheckpoint(NamedTuple):
    """What lies in the folder of a checkpoint: Spark's id, the newest planned and the newest finished micro-batch."""

    checkpoint_id: str | None = None
    planned: int | None = None
    finished: int | None = None


def plan_queries(rules: Sequence[Rule], known: Iterable[KnownQuery], marks: Mapping[str, Offsets]) -> list[QueryPlan]:
    """The queries for these rules; `known` the newest first, `marks` up to where each rule was judged, by name."""
    known = list(known)
    bound: dict[str, list[Rule]] = {}
    new: list[Rule] = []
    for rule in rules:
        home = next((one for one in known if (rule.name, rule.version) in one.rules), None)
        if home is not None and _kept_up(marks[rule.name], home.next_offsets):
            bound.setdefault(home.name, []).append(rule)
        else:
            new.append(rule)
    plans = [QueryPlan(one.name, tuple(bound[one.name]), one) for one in reversed(known) if one.name in bound]
    if new:
        plans.append(_new_query(new, known))
    return plans


def _kept_up(marks: Offsets, query: Offsets) -> bool:
    """False when the query went on without the rule: its state then has a hole."""
    return all(marks.get(partition, 0) >= offset for partition, offset in query.items())


def _new_query(rules: Sequence[Rule], known: Sequence[KnownQuery]) -> QueryPlan:
    name = ".".join(f"{rule.name}-{rule.version}" for rule in rules)
    taken = {one.name for one in known}
    if name in taken:  # it went on without one of these rules, which begins anew
        name = next(f"{name}.{again}" for again in range(2, len(taken) + 3) if f"{name}.{again}" not in taken)
    return QueryPlan(name, tuple(rules), None)


def start_of(plan: QueryPlan, location: str, found: FoundCheckpoint) -> Start:
    """How a query begins, given what lies at its location; ForeignCheckpoint when that would skip something.

    A checkpoint that is gone is no harm: the log is judged again and what is stored already is refused as duplicate.
    One that is older than what is stored is not used: its state may hold files of both.
    """
    known = plan.known
    mend = (
        "Remove the folder: the log is then judged from its beginning, and alerts that are stored are kept. Or put "
        "the right one back (STREAM_CHECKPOINTS)"
    )
    if found.planned is None:
        return "new" if known is None or known.batch_id is None else "judges again"
    if known is None or known.batch_id is None:
        if found.finished is None:
            return "goes on"  # killed before the first micro-batch was stored
        raise ForeignCheckpoint(
            f"{location} holds a checkpoint with micro-batch {found.finished} finished, of which this alert store "
            f"knows nothing: its alerts would be missed here. {mend}"
        )
    if known.checkpoint_id not in (None, found.checkpoint_id) and found.finished is not None:
        raise ForeignCheckpoint(
            f"{location} holds the checkpoint {found.checkpoint_id}, wanted {known.checkpoint_id}, whose micro-batch "
            f"{known.batch_id} is stored: it belongs to another query or run. {mend}"
        )
    if found.checkpoint_id != known.checkpoint_id:
        return "goes on"  # begun again after a loss, and killed before its first micro-batch was stored
    if found.planned < known.batch_id:
        raise ForeignCheckpoint(
            f"{location} stands at micro-batch {found.planned}, but micro-batch {known.batch_id} of it is stored: it "
            f"is an older copy. {mend}"
        )
    if found.finished is not None and found.finished > known.batch_id:
        raise ForeignCheckpoint(
            f"{location} has finished micro-batch {found.finished}, but this alert store has {known.batch_id} as the "
            f"last one: alerts in between are missing here. {mend}"
        )
    return "goes on"
