"""A small log judged by every path, with one defect between the log and what one path stored of it.

The comparison, the report and the page are the ones of a run: only what the services would have stored is made here,
by folding the changes that the defective path took for the log's.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import msgspec

from lab.measure import batch as batch_side
from lab.measure import reference, verdict
from lab.measure.batch import BatchPath, BatchRule
from lab.measure.batch_evidence import Kept, Written
from lab.measure.batch_input import BatchRun
from lab.measure.comparison import Compared
from lab.measure.evidence import Evidence
from lab.measure.operation_classes import classify
from lab.measure.verdict import RuleEvidence, Stored
from lab.operations import LoggedRow, Operation
from tests.unit.building import NOON_US, SECOND_US, cents
from tests.unit.test_report import with_batch
from twinpath.detection.buckets import BucketCodec
from twinpath.detection.model import Change
from twinpath.detection.replay import Replay, replay
from twinpath.detection.rules import RULES, Rule

CHEAP, DEAR, BURST = (1, 2, 3), 4, range(11, 17)
OLDER, LONELY = 10, 20
PAYMENTS = [
    *((tx_id, 7, "100.00", tx_id * 3_600) for tx_id in CHEAP),
    (DEAR, 7, "500.01", 4 * 3_600),  # one cent above the least amount that spending alerts
    (OLDER, 8, "20.00", -3_600),
    *((tx_id, 8, "20.00", tx_id) for tx_id in BURST[:-1]),
    (BURST[-1], 8, "4000.01", BURST[-1]),  # the sixth within a minute, which velocity alerts
    (LONELY, 9, "5.00", 0),  # of no consequence for any alert
]
Defect = Callable[[Sequence[Change]], list[Change]]
Rules = Callable[[Rule], Rule]


def _operations() -> list[Operation]:
    """One transaction for each payment; its id is that of the row."""
    rows = [LoggedRow(tx_id, user, cents(amount), NOON_US + at_s * SECOND_US) for tx_id, user, amount, at_s in PAYMENTS]
    return [Operation(0, 0, 100 + row.tx_id, 0, "insert", "committed", row.tx_id, None, row) for row in rows]


OPERATIONS = _operations()
COMMITS = {one.xid: 1_000 * one.xid for one in OPERATIONS}
STAMPS = dict(COMMITS)
RUN = BatchRun.of(1, "1000:1000:")


def as_it_is(changes: Sequence[Change]) -> list[Change]:
    return list(changes)


def a_dropped_row(tx_id: int) -> Defect:
    return lambda changes: [one for one in changes if one.tx_id != tx_id]


def swapped_times(changes: Sequence[Change]) -> list[Change]:
    """The times of the older payment and of the last one of the burst, exchanged."""
    times = {one.tx_id: one.after.created_us for one in changes if one.after is not None}
    times[OLDER], times[BURST[-1]] = times[BURST[-1]], times[OLDER]
    change = msgspec.structs.replace
    return [change(one, after=change(one.after, created_us=times[one.tx_id])) for one in changes if one.after]


def one_cent_off(rule: Rule) -> Rule:
    """Spending asks for a cent more, and says nothing of it: the version is that of the others."""
    if rule.name != "spending":
        return rule
    parameters = msgspec.structs.replace(rule.parameters, minimum_cents=rule.parameters.minimum_cents + 1)
    off = replace(rule, parameters=parameters)
    vars(off)["version"] = rule.version
    return off


def run_with(
    path: str, defect: Defect = as_it_is, rule_of: Rules = lambda rule: rule, *, in_the_topic: bool = False
) -> Evidence:
    """What a run of agents, stream and batch finds when `path` folds what `defect` makes of the log, by the rule that
    `rule_of` makes of each; or, for the log-fed paths together, when the topic holds what `defect` made of the log."""
    changes = reference.ordered(OPERATIONS, COMMITS, {})
    rules = list(RULES.values())
    by_log = reference.fold(rules, changes)
    by_topic = reference.fold(rules, defect(changes) if in_the_topic else changes)
    written = Written(OPERATIONS, COMMITS, STAMPS, {})

    def fold(rule: Rule, reader: str) -> Replay:
        if in_the_topic:
            return replay(rule, defect(changes) if reader != "spark_batch" else changes)
        return replay(rule_of(rule), defect(changes)) if reader == path else replay(rule, changes)

    def log_fed(reader: str, rule: Rule) -> RuleEvidence:
        done = fold(rule, reader)
        states = [BucketCodec(rule).encode(done.states)] if reader == "agent" else []
        stored = Stored(done.alerts, dict(done.counts), states, 0)
        return verdict.held(rule, stored, by_topic[rule.name], by_log[rule.name], reader)

    def of_batch(rule: Rule) -> BatchRule:
        done = fold(rule, "spark_batch")
        judged = {entry.transaction.tx_id for state in done.states.values() for entry in state.history.entries}
        return batch_side.held(
            rule, "safe", Kept(done.alerts, judged, [RUN], 0, dict(done.counts)), by_log[rule.name], written
        )

    run = with_batch()
    run.killed, run.kills_wanted = [], 0
    run.usage = {"agent": [], "spark_stream": []}
    run.compared = Compared(
        log_fed={reader: [log_fed(reader, rule) for rule in rules] for reader in ("agent", "spark_stream")},
        batch=[BatchPath("safe", "spark_batch", [of_batch(rule) for rule in rules], [])],
        classes=classify(written, [RUN]),
        committed_inserts=len(changes),
        key_changes=0,
    )
    return run
