"""A fenced run compared: what was written, what the topic holds, and what every path made of it."""

from collections.abc import Collection, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import msgspec
import psycopg2

from lab.measure import reference, witness
from lab.measure.batch import BatchPath, gather_batch
from lab.measure.batch_evidence import Written, commit_stamps
from lab.measure.operation_classes import Classes, classify
from lab.measure.verdict import RuleEvidence, gather
from lab.operations import read_operations
from lab.stack.credentials import Credentials
from twinpath.detection.envelope import EnvelopeDecoder
from twinpath.detection.rules import Rule
from twinpath.settings import Settings


class Compared(msgspec.Struct):
    """Every rule of every log-fed path against both oracles, every batch path against the log; what the log holds.

    `classes` are the load's operations by class; `key_changes` counts changed user_ids, which the log carries as a
    delete and an insert.
    """

    log_fed: dict[str, list[RuleEvidence]]
    batch: list[BatchPath]
    classes: Classes
    committed_inserts: int
    key_changes: int


def compare_run(
    settings: Settings,
    credentials: Credentials,
    rules: Sequence[Rule],
    folder: Path,
    commits: dict[int, int],
    ends: dict[int, int],
    *,
    log_fed: Collection[str],
    modes: Collection[str] = (),
) -> Compared:
    """Compare the named log-fed paths and batch modes of a run on its own names.

    `commits` is the witness, the topic is read up to `ends`.
    """
    lab, alerts = (credentials.dsn("twinpath_lab", name) for name in ("postgres", settings.alerts_database))
    operations = list(read_operations(folder / "operations.jsonl"))
    unknown = {one.full_xid for one in operations if one.outcome == "unknown"}
    settled = witness.settle_unknown(lab, unknown)
    changes = reference.ordered(operations, commits, settled)
    by_log = reference.fold(rules, changes)
    by_topic = reference.fold(rules, reference.topic_changes(settings, ends, EnvelopeDecoder(settings.envelope())))
    with closing(psycopg2.connect(alerts)) as session:
        found = {
            path: [gather(session, rule, by_topic[rule.name], by_log[rule.name], path) for rule in rules]
            for path in log_fed
        }
    stamps = commit_stamps(lab, {change.source_xid or 0 for change in changes})
    written = Written(operations, commits, stamps, settled)
    batch = gather_batch(alerts, modes, rules, by_log, written)
    looks = [run for one in batch if one.mode == "safe" for rule in one.rules for run in rule.runs]
    return Compared(
        log_fed=found,
        batch=batch,
        classes=classify(written, looks),
        committed_inserts=sum(1 for change in changes if change.op == "c"),
        key_changes=sum(1 for one, two in pairwise(changes) if one.op == "d" and one.position == two.position),
    )
