"""The values that detection works on: rows, changes, positions, verdicts, alerts.

Money is integer cents, time is integer microseconds since 1970-01-01 UTC, LSNs are integers.
"""

from typing import Literal, NamedTuple

import msgspec

Op = Literal["c", "u", "d", "r"]
"""Debezium's letters: create, update, delete, read (a snapshot row)."""

Status = Literal["RAISED", "REVISED", "RETRACTED"]
Condition = Literal["REVISE_IF_STANDING", "RETRACT_IF_STANDING"]
OutcomeKind = Literal["judged", "taught", "corrected", "forgotten", "duplicate", "too_old", "conflict"]


class Position(NamedTuple):
    """Where a change stands in the log of its key: never decreases for one key.

    `incarnation` counts re-created sources; `previous_commit_lsn` and `row_lsn` are the two numbers
    of Debezium's `source.sequence` (a null first number becomes `row_lsn - 1`).
    """

    incarnation: int
    previous_commit_lsn: int
    row_lsn: int


class Transaction(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One row of `transactions`, as far as rules read it."""

    tx_id: int
    user_id: int
    amount_cents: int
    created_us: int
    merchant_id: int | None = None


class Change(msgspec.Struct, frozen=True, gc=False):
    """One change of one row, in the order of the log.

    `after` is None for a delete; `before` is None for an insert or a snapshot row, and for an update
    or delete whose before-image was not delivered. `committed_us` is the source's commit time,
    `captured_us` the connector's clock; both only explain latency and never enter a rule.
    """

    op: Op
    user_id: int
    tx_id: int
    position: Position
    before: Transaction | None = None
    after: Transaction | None = None
    source_xid: int | None = None
    committed_us: int | None = None
    captured_us: int | None = None


class Verdict(NamedTuple):
    """What a rule says of one transaction. `score` is a whole number; `reason` is for people."""

    alert: bool
    score: int
    reason: str


USUAL = Verdict(False, 0, "")
"""The verdict on nearly every payment: one object, as making it would cost as much as judging."""

Features = dict[str, int]
"""What a verdict was reached from (counts and cents): enough to judge the same row again."""


class Alert(msgspec.Struct, frozen=True, gc=False):
    """One fact for the alert log; with a `Condition` as status it still has to be resolved."""

    rule: str
    rule_version: str
    user_id: int
    tx_id: int
    position: Position
    op: Op
    status: Status | Condition
    score: int
    reason: str
    features: Features
    source_xid: int | None = None
    transaction: Transaction | None = None


class Outcome(NamedTuple):
    """What one change did: its kind, and at most one alert."""

    kind: OutcomeKind
    alert: Alert | None = None


class Skipped(msgspec.Struct, frozen=True):
    """A record that is no change of our table; `alarm` asks for a warning in the log."""

    reason: str
    alarm: bool = False
