"""Fold one rule over the changes of the log.

`step` is the whole contract, in this order: a position already seen is a duplicate and is dropped; an
insert is judged, then learned (flagged amounts too); an update corrects, and the corrected payment is
judged again with the prior it had; a delete forgets. A snapshot row teaches and is never judged.
`replay` (in replay.py) folds from empty and is the oracle of every path that reads the log.
"""

from typing import Generic, TypeVar

import msgspec

from twinpath.detection.history import Entry, History, Judged
from twinpath.detection.model import (
    USUAL,
    Alert,
    Change,
    Condition,
    Outcome,
    OutcomeKind,
    Position,
    Status,
    Verdict,
)
from twinpath.detection.rules import Rule

CORRECTED = Verdict(False, 0, "corrected: no longer unusual")
DELETED = Verdict(False, 0, "deleted")
DUPLICATE = Outcome("duplicate")


H = TypeVar("H", bound=History)


class UserState(msgspec.Struct, Generic[H], array_like=True, gc=False):
    """What is kept of one user, for one rule; owned by the fold that steps it.

    `mark` is the highest position folded and is never dropped; `seen` holds the (tx_id, op) folded at
    exactly that position; `snapshot_mark` is the LSN of the newest snapshot that taught this user.
    """

    history: H
    mark: Position | None = None
    seen: list[tuple[int, str]] = []
    snapshot_mark: tuple[int, int] | None = None


def empty(rule: Rule) -> "UserState[History]":
    """The state of a user of whom nothing is known."""
    return UserState(rule.logic.State())


def step(rule: Rule, state: UserState[History], change: Change) -> tuple[UserState[History], Outcome]:
    """Fold one change into `state` (changed in place and returned) and say what it did."""
    if change.op == "r":
        return state, _teach(rule, state, change)
    position = change.position
    mark = state.mark
    if mark is None or position > mark:
        if mark is None or mark[0] != position[0]:  # looked at for every change
            _begin_incarnation(rule, state, position[0])
        state.mark = position
        state.seen = [(change.tx_id, change.op)]
    elif position < mark or (change.tx_id, change.op) in state.seen:
        return state, DUPLICATE
    else:
        state.seen.append((change.tx_id, change.op))
    if change.op == "c":
        return state, _insert(rule, state.history, change)
    if change.op == "u":
        return state, _update(rule, state.history, change)
    return state, _delete(rule, state.history, change)


def _insert(rule: Rule, history: History, change: Change) -> Outcome:
    transaction = change.after
    assert transaction is not None  # noqa: S101  the decoder gives every insert its row
    kind: OutcomeKind = "judged"
    former = USUAL
    place = history.place(transaction.tx_id)
    if place >= 0:
        kind = "conflict"
        former = _verdict_of(rule, history.entry(place))
        rule.logic.forget(rule.parameters, history, place)
    judged_on = rule.logic.judge(rule.parameters, history, transaction)
    rule.logic.learn(rule.parameters, history, Entry(transaction, judged_on))
    verdict = rule.logic.verdict(rule.parameters, judged_on, transaction)
    if not (verdict.alert or former.alert):
        return _JUDGED if kind == "judged" else _CONFLICT
    return Outcome(kind, _moved(rule, change, former, verdict, judged_on))


def _update(rule: Rule, history: History, change: Change) -> Outcome:
    transaction = change.after
    assert transaction is not None  # noqa: S101  the decoder gives every update its row
    place = history.place(transaction.tx_id)
    if place < 0:
        return Outcome("too_old", _conditional(rule, change, "REVISE_IF_STANDING"))
    former = _verdict_of(rule, history.entry(place))
    judged_on = rule.logic.correct(rule.parameters, history, place, transaction)
    if judged_on is None:
        return _of_former_source(rule, change, "REVISE_IF_STANDING") or _CORRECTED
    verdict = rule.logic.verdict(rule.parameters, judged_on, transaction)
    return Outcome("corrected", _moved(rule, change, former, verdict, judged_on))


def _delete(rule: Rule, history: History, change: Change) -> Outcome:
    place = history.place(change.tx_id)
    if place < 0:
        return Outcome("too_old", _conditional(rule, change, "RETRACT_IF_STANDING"))
    entry = history.entry(place)
    former = _verdict_of(rule, entry)
    rule.logic.forget(rule.parameters, history, place)
    if entry.judged_on is None:
        return _of_former_source(rule, change, "RETRACT_IF_STANDING") or _FORGOTTEN
    if not former.alert:
        return _FORGOTTEN
    return Outcome("forgotten", _moved(rule, change, former, DELETED, entry.judged_on))


def _teach(rule: Rule, state: UserState[History], change: Change) -> Outcome:
    """A snapshot row: a newer snapshot first clears what an older one taught."""
    transaction = change.after
    assert transaction is not None  # noqa: S101  the decoder gives every snapshot row its row
    snapshot = (change.position.incarnation, change.position.row_lsn)
    if state.snapshot_mark is not None and snapshot < state.snapshot_mark:
        return DUPLICATE
    if state.mark is not None and snapshot <= (state.mark.incarnation, state.mark.row_lsn):
        return DUPLICATE
    if snapshot != state.snapshot_mark:
        _begin_incarnation(rule, state, snapshot[0])
        state.snapshot_mark = snapshot
        for _ in range(state.history.taught):
            rule.logic.forget(rule.parameters, state.history, 0)
    history = state.history
    place = history.place(transaction.tx_id)
    if place < 0:
        rule.logic.teach(rule.parameters, history, Entry(transaction))
    elif place < history.taught:
        rule.logic.correct(rule.parameters, history, place, transaction)
    return _TAUGHT


def _begin_incarnation(rule: Rule, state: UserState[History], number: int) -> None:
    """Forget what is remembered from a former source: there is a gap before this one, and its snapshot has said what
    the table holds."""
    known = max(one[0] for one in (state.mark, state.snapshot_mark, _NEVER) if one is not None)
    if known < number and state.history.count:
        state.history = rule.logic.State()


def _of_former_source(rule: Rule, change: Change, condition: Condition) -> Outcome | None:
    """A taught row of a later source may have been judged under a former one: what stands of it decides, as for a row
    that is outside of the history. None for the first source, under which a taught row was never judged."""
    if change.position.incarnation <= 1:
        return None
    return Outcome("too_old", _conditional(rule, change, condition))


def _verdict_of(rule: Rule, entry: Entry) -> Verdict:
    """The verdict under which an entry stands: computed again from what it was judged on."""
    if entry.judged_on is None:
        return USUAL
    verdict: Verdict = rule.logic.verdict(rule.parameters, entry.judged_on, entry.transaction)
    return verdict


def _moved(rule: Rule, change: Change, former: Verdict, verdict: Verdict, judged_on: Judged) -> Alert | None:
    """The alert that leads from the former verdict to the new one, or None when nothing moved."""
    status: Status
    if verdict.alert:
        if former == verdict:
            return None
        status = "REVISED" if former.alert else "RAISED"
    elif former.alert:
        status = "RETRACTED"
        verdict = DELETED if verdict is DELETED else CORRECTED
    else:
        return None
    return _alert(rule, change, status, verdict, dict(zip(rule.logic.FEATURES, judged_on, strict=True)))


def _conditional(rule: Rule, change: Change, condition: Condition) -> Alert:
    return _alert(rule, change, condition, USUAL, {})


def _alert(rule: Rule, change: Change, status: Status | Condition, verdict: Verdict, features: dict[str, int]) -> Alert:
    return Alert(
        rule=rule.name,
        rule_version=rule.version,
        user_id=change.user_id,
        tx_id=change.tx_id,
        position=change.position,
        op=change.op,
        status=status,
        score=verdict.score,
        reason=verdict.reason,
        features=features,
        source_xid=change.source_xid,
        transaction=change.after,
    )


def resolve(rule: Rule, conditional: Alert, standing: Alert | None) -> Alert | None:
    """What a conditional alert comes to, given the last alert of that row before its position.

    The row is judged again from the features stored with the standing alert. None means that nothing
    stood, or that nothing changed. The alert store and `replay` both decide by this function.
    """
    if standing is None or standing.status == "RETRACTED":
        return None
    verdict = DELETED
    if conditional.status == "REVISE_IF_STANDING":
        transaction = conditional.transaction
        assert transaction is not None  # noqa: S101  every update carries its row
        judged_on = tuple(standing.features[name] for name in rule.logic.FEATURES)
        verdict = rule.logic.verdict(rule.parameters, judged_on, transaction)
    status: Status = "REVISED" if verdict.alert else "RETRACTED"
    if not verdict.alert and verdict is not DELETED:
        verdict = CORRECTED
    if status == "REVISED" and (verdict.score, verdict.reason) == (standing.score, standing.reason):
        return None
    return msgspec.structs.replace(
        conditional,
        status=status,
        score=verdict.score,
        reason=verdict.reason,
        features=standing.features,
    )


_NEVER = (0, 0)
_JUDGED = Outcome("judged")
_CONFLICT = Outcome("conflict")
_CORRECTED = Outcome("corrected")
_FORGOTTEN = Outcome("forgotten")
_TAUGHT = Outcome("taught")
