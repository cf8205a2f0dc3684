"""Per class of operation: how many the workload did, and how many each path saw (the worst of its rules).

What a log-fed path saw is told from its own record: what it counted, which rows it remembers, and which it raised
alerts for. Where that cannot tell one class from another, the figure is the least that the record allows, and a note
says so. What a batch path saw are the ids it keeps as judged, and the values that its runs could read of these rows.
"""

from collections.abc import Collection, Iterable, Iterator
from typing import Any

from lab.measure.batch import BatchRule
from lab.measure.evidence import Evidence
from lab.measure.operation_classes import Classes
from lab.measure.verdict import RuleEvidence
from lab.report.goals import judged

CHANGED = ("corrected", "forgotten", "too_old")
NAMES = (
    "insert",
    "update",
    "middle update",
    "delete",
    "born and died",
    "late commit",
    "same stamp",
    "rollback",
    "truncate",
)
NOTES = {
    "update": "A batch path saw an update when a run read its value, be it as the first value of the row.",
    "middle update": "The value of an update that another one replaced before a run of spark_batch came between.",
    "delete": "A batch path sees a delete only where it keeps nothing of the rows that were there before.",
    "born and died": "Inserted and deleted while no run of spark_batch came between.",
    "late commit": "Committed after a row with a greater id, so that a watermark on the id has passed it.",
    "same stamp": "Rows that share their created_at with another row.",
    "rollback": "Must be seen by none.",
    "truncate": "None in this workload; it is not published to the log.",
}
AT_LEAST = "At least so many: what {} counted cannot tell one lost change from another."


def losses(evidence: Evidence) -> dict[str, Any]:
    """`losses.<class>` with `done`, `seen` by path, and a `note`."""
    classes, compared = evidence.compared.classes, evidence.compared
    done = done_by_class(classes)
    seen = {
        path: _worst(done, [seen_in_log(one, classes, compared.key_changes) for one in rules])
        for path, rules in compared.log_fed.items()
    }
    seen |= {one.path: _worst(done, [seen_by_batch(rule, classes) for rule in one.rules]) for one in compared.batch}
    vague = [
        path
        for path, rules in compared.log_fed.items()
        if any(_lost(one, classes, compared.key_changes) != (0, 0) for one in rules)
    ]
    return {
        name: {
            "done": done[name],
            "seen": {path: found[name] for path, found in seen.items()},
            "note": " ".join(_notes(name, vague)),
        }
        for name in NAMES
    }


def _notes(name: str, vague: Collection[str]) -> Iterator[str]:
    if name in NOTES:
        yield NOTES[name]
    if vague and name not in {"insert", "rollback", "truncate"}:
        yield AT_LEAST.format(", ".join(vague))


def done_by_class(classes: Classes) -> dict[str, int]:
    """What the workload did."""
    return {
        "insert": len(classes.inserts),
        "update": len(classes.updates),
        "middle update": len(classes.middle_updates),
        "delete": len(classes.deletes),
        "born and died": len(classes.born_and_died),
        "late commit": len(classes.late_commits),
        "same stamp": len(classes.same_stamps),
        "rollback": classes.rolled_back_writes,
        "truncate": 0,
    }


def rows_seen(path: str, evidence: Evidence) -> int:
    """Distinct rows judged by every rule of a log-fed path: a changed user_id has its row judged under both users."""
    least = min((judged(one) for one in evidence.compared.log_fed[path]), default=0)
    return least - evidence.compared.key_changes


def seen_in_log(one: RuleEvidence, classes: Classes, key_changes: int) -> dict[str, int]:
    """What one rule of a log-fed path saw.

    A changed user_id is a delete and an insert in the log, and counted as such. Updates and deletes of rows that had
    left the history are counted together (too_old): when all changes were counted, all of either were.
    """
    lost_rows, lost_changes = _lost(one, classes, key_changes)
    counters = one.counters
    corrected = counters.get("corrected", 0) + (0 if lost_changes else key_changes)

    def rows(of: Collection[int], lost: int) -> int:
        return max(len(one.rows.intersection(of)), len(of) - max(lost, 0), 0)

    return {
        "insert": len(classes.inserts) - lost_rows,
        "update": max(corrected, len(classes.updates) - lost_changes, 0),
        "middle update": max(len(classes.middle_updates) - max(lost_changes, 0), 0),
        "delete": max(counters.get("forgotten", 0) - key_changes, len(classes.deletes) - lost_changes, 0),
        "born and died": max(len(classes.born_and_died) - max(lost_rows, 0) - max(lost_changes, 0), 0),
        "late commit": rows(classes.late_commits, lost_rows),
        "same stamp": rows(classes.same_stamps, lost_rows),
        "rollback": max(
            len(one.rows & classes.rolled_back), max(0, -lost_rows) + max(0, -lost_changes)
        ),
        "truncate": 0,
    }  # fmt: skip


def _lost(one: RuleEvidence, classes: Classes, key_changes: int) -> tuple[int, int]:
    """Inserts, and updates and deletes, that were done and not counted; below 0 when more were counted than done."""
    changes = sum(one.counters.get(kind, 0) for kind in CHANGED)
    inserts = judged(one) - key_changes
    return len(classes.inserts) - inserts, len(classes.updates) + len(classes.deletes) - changes


def seen_by_batch(rule: BatchRule, classes: Classes) -> dict[str, int]:
    """What one rule of a batch path saw."""
    rows = rule.judged | {tx_id for tx_id, *_ in rule.read}
    return {
        "insert": len(rows & classes.inserts),
        "update": len(rule.read & classes.updates),
        "middle update": len(rule.read & classes.middle_updates),
        "delete": len((rows - rule.judged) & classes.deletes),
        "born and died": len(rows & classes.born_and_died),
        "late commit": len(rows & classes.late_commits),
        "same stamp": len(rows & classes.same_stamps),
        "rollback": len(rows & classes.rolled_back),
        "truncate": 0,
    }


def _worst(done: dict[str, int], found: Iterable[dict[str, int]]) -> dict[str, int]:
    """By class, what is farthest from what was wanted; nothing without a rule."""
    rules = list(found)
    wanted = done | {"rollback": 0}
    return {
        name: max((seen[name] for seen in rules), key=lambda seen: abs(seen - wanted[name]), default=0)
        for name in NAMES
    }
