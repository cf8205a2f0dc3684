"""Per class of operation: how many the workload did, and how many each path saw (the least of its rules)."""

from typing import Any

from lab.measure.batch import BatchPath
from lab.measure.evidence import Evidence
from lab.report.goals import judged

CHANGED = ("corrected", "forgotten", "too_old")


def losses(evidence: Evidence) -> dict[str, Any]:
    """`losses.<class>` with `done`, and `seen` by path."""
    rows = evidence.load.rows
    changes = rows["updated"] + rows["deleted"]
    done = {"insert": rows["inserted"], "update or delete": changes, "rollback": rows["rolled_back"]}
    by_path = {path: _log_fed(path, evidence) for path in evidence.compared.log_fed}
    by_path |= {one.path: _batch(one, evidence) for one in evidence.compared.batch}
    return {
        name: {"done": count, "seen": {path: seen[name] for path, seen in by_path.items()}}
        for name, count in done.items()
    }


def rows_seen(path: str, evidence: Evidence) -> int:
    """Distinct rows judged by every rule of a log-fed path: a changed user_id has its row judged under both users."""
    least = min((judged(one) for one in evidence.compared.log_fed[path]), default=0)
    return least - evidence.compared.key_changes


def _log_fed(path: str, evidence: Evidence) -> dict[str, int]:
    seen = rows_seen(path, evidence)
    return {
        "insert": seen,
        "update or delete": min((_changed(one.counters) for one in evidence.compared.log_fed[path]), default=0),
        "rollback": max(0, seen - evidence.load.rows["inserted"]),
    }


def _batch(one: BatchPath, evidence: Evidence) -> dict[str, int]:
    """A row that came and went between two runs is not seen, nor is any value but the last before a run."""
    compared = evidence.compared
    return {
        "insert": min((len(rule.judged & compared.inserted) for rule in one.rules), default=0),
        "update or delete": min((_changed(rule.counters) for rule in one.rules), default=0),
        "rollback": max((len(rule.judged & compared.rolled_back) for rule in one.rules), default=0),
    }


def _changed(counters: dict[str, int]) -> int:
    return sum(counters.get(kind, 0) for kind in CHANGED)
