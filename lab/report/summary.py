"""`summary.json` (stable keys, for scripts) and `summary.md` (for people) of a run."""

from pathlib import Path
from typing import Any

import msgspec

from lab.console import command_line
from lab.measure.evidence import Evidence
from lab.measure.latency import Percentiles, Sample, between, hop_medians, percentiles, read_samples, write_samples
from lab.measure.money import money
from lab.measure.verdict import PATH as AGENT
from lab.measure.verdict import RuleEvidence
from lab.report.batch import beside_sections, pairs, path_sections
from lab.report.claims import claims
from lab.report.complexity import complexity
from lab.report.goals import correctness_goals, count
from lab.report.losses import losses, rows_seen
from lab.report.model import SCHEMA_VERSION, Summary
from lab.report.page import markdown
from lab.report.saved_drills import markdown_lines, saved_drills
from lab.runs import write_whole
from lab.surroundings import environment


def write_summary(evidence: Evidence, folder: Path) -> bool:
    """Write both files, and the latencies; returns whether the verdict is pass."""
    samples = {path: read_samples(evidence.alerts_dsn, path) for path in evidence.compared.log_fed}
    return write_files(evidence, samples, folder)


def write_files(evidence: Evidence, samples: dict[str, list[Sample]], folder: Path) -> bool:
    """`write_summary` with the samples of the log-fed paths at hand."""
    summary = build(evidence, samples)
    every = samples | {one.path: one.samples for one in evidence.compared.batch}
    judged = claims(msgspec.convert(summary, Summary), every)
    summary["claims"] = [msgspec.structs.asdict(one) for one in judged]
    write_samples(every, folder / "latencies.csv")
    write_whole(folder / "summary.json", msgspec.json.format(msgspec.json.encode(summary), indent=1).decode())
    lines = [markdown(summary).rstrip("\n"), *markdown_lines(saved_drills()), ""]
    write_whole(folder / "summary.md", "\n".join(lines))
    return bool(summary["verdict"] == "pass")


def build(evidence: Evidence, samples: dict[str, list[Sample]]) -> dict[str, Any]:
    """The summary as a dictionary with the stable keys; `samples` by log-fed path."""
    goals = correctness_goals(evidence)
    rows = evidence.load.rows
    compared, beside = evidence.compared, evidence.beside
    log_fed = {path: _log_fed(path, evidence, samples.get(path, [])) for path in compared.log_fed}
    every = {path: samples.get(path, []) for path in log_fed} | {one.path: one.samples for one in compared.batch}
    batch_paths = path_sections(compared.batch, beside, evidence.calm) if beside else {}
    of_airflow = beside_sections(beside) if beside else {}
    return {
        "schema_version": SCHEMA_VERSION,
        "run_id": evidence.run_id,
        "began": evidence.began.isoformat(timespec="seconds"),
        "finished": evidence.finished.isoformat(timespec="seconds"),
        "seed": evidence.seed,
        "command": command_line(),
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
        "calm_s": [round((at - evidence.began).total_seconds(), 1) for at in evidence.calm],
        "faults": [{"killed": name, "at": at.isoformat(timespec="milliseconds")} for name, at in evidence.killed],
        "paths": log_fed | batch_paths,
        "agreement": {
            "reference_alerts": sum(one.reference_alerts for one in compared.log_fed[AGENT]),
            "pairs": [
                *(_pair(one, to) for rules in compared.log_fed.values() for one in rules for to in ("topic", "log")),
                *pairs(compared.batch),
            ],
        },
        "losses": losses(evidence),
        "money": msgspec.to_builtins(money(evidence.payments, every, evidence.duration_s)),
        **of_airflow,
        "complexity": complexity(log_fed | batch_paths),
        "environment": environment(),
    }


def _log_fed(path: str, evidence: Evidence, samples: list[Sample]) -> dict[str, Any]:
    """`paths.agent` or `paths.spark_stream`."""
    rules = evidence.compared.log_fed[path]
    calm = between(samples, *evidence.calm)
    usage = evidence.usage[path]
    return {
        "rows_seen": rows_seen(path, evidence),
        "alerts": sum(one.alerts for one in rules),
        "missing": sum(len(one.against_log.missing) for one in rules),
        "extra": sum(len(one.against_log.extra) for one in rules),
        "explained": 0,  # log-fed paths have no allowed difference
        "unexplained": sum(count(one.against_log) for one in rules),
        "duplicates_suppressed": sum(one.suppressed for one in rules),
        "events_dropped_by_position": _total(rules, "duplicate"),
        "alert_inserts_refused": _total(rules, "alerts_refused"),
        "dead_letters": sum(one.dead_letters for one in rules),
        "cpu_s": round(sum(cpu_s for cpu_s, _ in usage), 1),
        "peak_rss_mb": round(sum(peak_mb for _, peak_mb in usage), 1),
        "latency_ms": _latency([one.latency_ms for one in samples]),
        "latency_ms_calm": _latency([one.latency_ms for one in calm]),
        "hops_ms_p50": hop_medians(calm),
        "rules": {one.rule: _rule(one, samples) for one in rules},
    }


def _total(rules: list[RuleEvidence], counter: str) -> int:
    return sum(one.counters.get(counter, 0) for one in rules)


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
        "a": f"{one.path} {one.rule}",
        "b": names[against],
        "only_a": difference.extra,
        "only_b": difference.missing,
        "unexplained": count(difference),
    }
