"""The correctness goals of a run: what must hold, with what was measured."""

from collections.abc import Mapping, Sequence
from typing import Any

from lab.measure.agreement import Difference
from lab.measure.batch import LOSSLESS, BatchPath, BatchRule
from lab.measure.evidence import Evidence
from lab.measure.verdict import PATH as AGENT
from lab.measure.verdict import RuleEvidence
from lab.temperature_side import differing

NAMED = 5  # transactions of one figure; summary.json holds all differing alerts under agreement
Goal = dict[str, Any]
Rows = Mapping[str, Sequence[int]]
"""Transactions, by the name of the figure that they are behind."""


def correctness_goals(evidence: Evidence) -> list[Goal]:
    """Those of the paths that read the log, then those of the sides that ran beside them."""
    return [*_log_fed(evidence), *_faults(evidence), *_batch(evidence), *_temperature(evidence)]


def judged(one: RuleEvidence) -> int:
    """Inserts that a rule judged."""
    return one.counters.get("judged", 0) + one.counters.get("conflict", 0)


def count(difference: Difference) -> int:
    """Missing and extra."""
    return len(difference.missing) + len(difference.extra)


def _log_fed(evidence: Evidence) -> list[Goal]:
    """Of agents and stream alike, measured rule by rule; their state, where the alert store holds it."""
    found = evidence.compared.log_fed
    wanted = evidence.compared.committed_inserts
    agents = found.get(AGENT, [])
    every = [one for rules in found.values() for one in rules]
    short = {path: len(rules) for path, rules in found.items() if len(rules) < len(agents) or not rules}
    alerts = {one.rule: one.reference_alerts for one in agents}
    return [
        _above_zero("tested", "the log calls for alerts by every rule: there is something to compare", alerts),
        _goal(
            "complete",
            "every committed row is judged once by every rule of every log-fed path",
            wanted,
            short | {_name(one): judged(one) for one in every},
            {_name(one): one.unlike_rows for one in agents},
        ),
        _zero(
            "once", "no row came twice at two positions", {_name(one): one.counters.get("conflict", 0) for one in every}
        ),
        _zero(
            "topic",
            "alerts equal replay() of the topic, positions included (missing + extra)",
            {_name(one): count(one.against_topic) for one in every},
            {_name(one): _ids(one.against_topic) for one in every},
        ),
        _zero(
            "log",
            "final alerts equal replay() of the operation log in COMMIT order (missing + extra)",
            {_name(one): count(one.against_log) for one in every},
            {_name(one): _ids(one.against_log) for one in every},
        ),
        _zero(
            "history",
            "remembered rows, alert or not, equal those of the operation log (differing users)",
            {one.rule: len(one.differing_histories) for one in agents},
            {one.rule: one.unlike_in_log for one in agents},
        ),
        _zero(
            "state",
            "agents' checkpointed state equals the state that replay() ends in (differing users)",
            {_name(one): len(one.differing_users) for one in agents},
            {_name(one): one.unlike_rows for one in agents},
        ),
        _zero("dead_letters", "no record was unreadable", {_name(one): one.dead_letters for one in every}),
    ]


def _name(one: RuleEvidence) -> str:
    return f"{one.path} {one.rule}"


def _faults(evidence: Evidence) -> list[Goal]:
    if not evidence.kills_wanted:
        return []
    dropped = {one.rule: one.counters.get("duplicate", 0) for one in evidence.compared.log_fed.get(AGENT, [])}
    killed = {"demo": len(evidence.killed)}
    return [
        _goal("faults", "processes were killed in mid-load", evidence.kills_wanted, killed),
        _above_zero("duplicates", "the kills led to duplicate events at the agents, and all were suppressed", dropped),
    ]


def _batch(evidence: Evidence) -> list[Goal]:
    if evidence.beside is None:
        return []
    paths = evidence.compared.batch
    scheduled = sum(run.kind == "scheduled" for run in evidence.beside.runs)
    return [
        _above_zero(
            "batch_scheduled", f"runs by schedule ended well ({evidence.beside.scheduler})", {"fraud_batch": scheduled}
        ),
        _zero(
            "batch_complete",
            "rows that a run of a lossless batch mode could see and none judged",
            {f"{one.path} {rule.rule}": len(rule.missed) for one in _lossless(paths) for rule in one.rules},
            {f"{one.path} {rule.rule}": rule.missed for one in paths for rule in one.rules},
        ),
        _zero(
            "batch_equal",
            "differences of batch alerts from the operation log without a verified cause",
            {f"{one.path} {rule.rule}": len(rule.unexplained) for one in paths for rule in one.rules},
            {f"{one.path} {rule.rule}": _unexplained(rule) for one in paths for rule in one.rules},
        ),
        _zero(
            "batch_dead_letters",
            "no row was unreadable by batch",
            {f"{one.path} {rule.rule}": rule.dead_letters for one in paths for rule in one.rules},
        ),
    ]


def _lossless(paths: list[BatchPath]) -> list[BatchPath]:
    return [one for one in paths if one.mode in LOSSLESS]


def _temperature(evidence: Evidence) -> list[Goal]:
    if evidence.beside is None or evidence.beside.windows is None:
        return []
    found, wanted = evidence.beside.windows, evidence.beside.windows_wanted or []
    text = "windows of temperatures that Airflow averaged otherwise than the readings call for"
    return [
        _above_zero("temperature_tested", "windows of temperatures were to be averaged", {"windows": len(wanted)}),
        _zero("temperature", text, {"windows": len(differing(found, wanted))}),
    ]


def _goal(name: str, text: str, target: object, measured: Mapping[str, int], rows: Rows | None = None) -> Goal:
    """`rows` are the transactions behind each figure; the first ones of a figure that misses the target are named."""
    ok = bool(measured) and all(value == target for value in measured.values())
    goal = {"id": name, "kind": "correctness", "text": text, "target": target, "measured": dict(measured), "ok": ok}
    missed = [path for path, value in measured.items() if value != target]
    named = {path: list(dict.fromkeys(rows[path]))[:NAMED] for path in missed if rows and rows.get(path)}
    return goal | {"transactions": named} if named else goal


def _zero(name: str, text: str, measured: Mapping[str, int], rows: Rows | None = None) -> Goal:
    return _goal(name, text, 0, measured, rows)


def _unexplained(rule: BatchRule) -> list[int]:
    return [each.tx_id for each in rule.unexplained]


def _ids(difference: Difference) -> list[int]:
    """Transactions of a difference, ascending."""
    return sorted(fact[0] for fact in (*difference.missing, *difference.extra))


def _above_zero(name: str, text: str, measured: Mapping[str, int]) -> Goal:
    ok = bool(measured) and all(value > 0 for value in measured.values())
    return _goal(name, text, "> 0", measured) | {"ok": ok}
