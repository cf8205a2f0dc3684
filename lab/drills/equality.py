"""Every agent against both oracles, and the topic against the operation log."""

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

import msgspec
import psycopg2
from psycopg2.extensions import connection as Connection

from lab.drills.line import Line
from lab.drills.streams import Stream, StreamDifference, compare_streams, with_snapshots
from lab.drills.traces import Traces
from lab.measure import fence, reference, witness
from lab.measure.verdict import PATH, gather
from lab.operations import Operation, read_operations
from twinpath.alert_rows import read_alerts
from twinpath.detection.envelope import EnvelopeDecoder
from twinpath.detection.model import Alert, Change
from twinpath.detection.replay import Replay
from twinpath.detection.rules import Rule
from twinpath.errors import TwinpathError

FOLDED = ("judged", "taught", "corrected", "forgotten", "too_old", "conflict")
KINDS = (*FOLDED, "duplicate")


class AgentFound(msgspec.Struct):
    """One agent: what it stored, and where that differs from what the log calls for.

    missing, extra: alerts against replay() of the topic (position, op, status, score, reason); missing_in_log,
    extra_in_log: against replay() of the operation log (transaction of the source, op, status, score, reason).
    """

    rule: str
    version: str
    alerts: int
    statuses: dict[str, int]
    counters: dict[str, int]
    missing: list[str]
    extra: list[str]
    missing_in_log: list[str]
    extra_in_log: list[str]
    users_out_of_commit_order: list[int]
    users_with_other_state: list[int]
    users_with_other_history: list[int]
    counters_of_replay: dict[str, int]
    counters_of_log: dict[str, int]
    dead_letters: int
    unreadable: int = 0

    @property
    def lost(self) -> int:
        """Changes that the agent did not fold, and alerts that either oracle calls for and it does not have."""
        return max(0, -self._folded_beyond()) + max(len(self.missing), len(self.missing_in_log))

    @property
    def beyond(self) -> int:
        """Changes that the agent folded beyond the log, and alerts that it has and either oracle does not call for."""
        return max(0, self._folded_beyond()) + max(len(self.extra), len(self.extra_in_log))

    def _folded_beyond(self) -> int:
        """Changes that the agent folded, minus those that were written; what it dropped as duplicate is not folded."""
        return sum(self.counters.get(kind, 0) for kind in FOLDED) - sum(self.counters_of_log.values())

    @property
    def equal(self) -> bool:
        """True when nothing differs from either oracle."""
        apart = (self.users_out_of_commit_order, self.users_with_other_state, self.users_with_other_history)
        if self.lost or self.beyond or any(apart) or self.dead_letters != self.unreadable:
            return False
        by_topic, by_log = _counted(self.counters, KINDS), _counted(self.counters, FOLDED)
        return by_topic == self.counters_of_replay and by_log == self.counters_of_log


class Found(msgspec.Struct):
    """Everything that a comparison found; `rows` counts row-level writes: insert, update, delete, rolled_back."""

    rows: dict[str, int]
    changes_written: int
    unknown: int
    unknown_committed: int
    numbers_reused: int
    records: int
    changes_delivered: int
    delivered_twice: int
    snapshot_rows: int
    stream: StreamDifference
    agents: list[AgentFound]
    unreadable: int = 0
    unreadable_wanted: int = 0

    @property
    def committed(self) -> int:
        """Row-level writes that were committed, those of settled transactions included."""
        return sum(self.rows.get(op, 0) for op in ("insert", "update", "delete"))

    @property
    def lost(self) -> int:
        """Changes that never reached the topic, and alerts that an agent lacks."""
        return len(self.stream.lost) + sum(one.lost for one in self.agents)

    @property
    def extra(self) -> int:
        """Changes that nobody committed, and alerts that an agent has beyond the log."""
        return len(self.stream.extra) + sum(one.beyond for one in self.agents)

    def unequal(self) -> list[str]:
        """What differs from the oracles; empty when everything is exact."""
        wrong = [f"agent {one.rule} differs" for one in self.agents if not one.equal]
        if self.lost or self.extra:
            wrong.append(f"lost {self.lost}, extra {self.extra}")
        if self.unreadable != self.unreadable_wanted:
            wrong.append(f"unreadable records {self.unreadable}, wanted {self.unreadable_wanted}")
        if self.stream.disordered:
            wrong.append(f"out of order: users {self.stream.disordered}")
        return wrong


def judge(line: Line, folder: Path, start_lsn: int, traces: Traces) -> tuple[Found | None, str]:
    """Fence the line and compare; without a comparison, why there is none."""
    try:
        ends = line.wait_until_judged()
    except (TwinpathError, psycopg2.Error) as problem:
        return None, str(problem).strip()
    with line.stack.progress.step("comparing with both oracles") as step:
        found = compare_all(line, folder, start_lsn, ends, traces)
        step.done = "done"
    return found, ""


def compare_all(line: Line, folder: Path, start_lsn: int, ends: Mapping[int, int], traces: Traces) -> Found:
    """Read operation log, write-ahead log, topic and alert store of a fenced line, and compare them."""
    operations = list(read_operations(folder / "operations.jsonl"))
    commits = witness.commit_lsns(line.lab(), start_lsn, fence.current_lsn(line.lab()))
    begun_us = {one.full_xid: one.intended_us for one in operations if one.outcome == "unknown"}
    settled = witness.settle_lost(line.lab(), begun_us, commits, traces.restarts)
    ordered = reference.ordered(operations, commits, settled)
    decoder = EnvelopeDecoder(line.settings.envelope())
    written, by_log = Stream(), {rule.name: Replay(rule) for rule in line.rules}
    for change in with_snapshots(ordered, traces.snapshot_lsns, traces.interrupted):
        _tell(written, by_log, change)
    delivered, by_topic = Stream(), {rule.name: Replay(rule) for rule in line.rules}
    unreadable: list[str] = []
    for change in reference.topic_changes(line.settings, ends, decoder, unreadable):
        _tell(delivered, by_topic, change)
    with closing(line.alerts()) as session:
        agents = [_agent(session, rule, by_topic[rule.name], by_log[rule.name], commits) for rule in line.rules]
    for one in agents:
        one.unreadable = len(unreadable)
    return Found(
        rows=_rows(operations, settled),
        changes_written=len(ordered),
        unknown=len(begun_us),
        unknown_committed=sum(settled.values()),
        numbers_reused=_reused(operations),
        records=sum(ends.values()),
        changes_delivered=delivered.changes,
        delivered_twice=delivered.twice,
        snapshot_rows=delivered.snapshot_rows,
        stream=compare_streams(written, delivered),
        agents=agents,
        unreadable=len(unreadable),
        unreadable_wanted=traces.unreadable,
    )


def _tell(stream: Stream, replays: Mapping[str, Replay], change: Change) -> None:
    stream.add(change)
    for one in replays.values():
        one.apply(change)


def _rows(operations: Iterable[Operation], settled: Mapping[int, bool]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for one in operations:
        kept = settled[one.full_xid] if one.outcome == "unknown" else one.outcome == "committed"
        counts[one.op if kept else "rolled_back"] += 1
    return dict(sorted(counts.items()))


def _reused(operations: Iterable[Operation]) -> int:
    """Transaction numbers that a lost server gave out twice."""
    begun: dict[int, set[int]] = {}
    for one in operations:
        begun.setdefault(one.full_xid, set()).add(one.intended_us)
    return sum(len(times) > 1 for xid, times in begun.items() if xid)


def _agent(session: Connection, rule: Rule, by_topic: Replay, by_log: Replay, commits: Mapping[int, int]) -> AgentFound:
    evidence = gather(session, rule, by_topic, by_log)
    with session.cursor() as cursor:
        alerts = read_alerts(cursor, PATH, rule.name, rule.version)
    stored, called_for = Counter(map(_by_position, alerts)), Counter(map(_by_position, by_topic.alerts))
    told, written = Counter(map(_by_transaction, alerts)), Counter(map(_by_transaction, by_log.alerts))
    return AgentFound(
        rule=rule.name,
        version=rule.version,
        alerts=len(alerts),
        statuses=dict(sorted(Counter(one.status for one in alerts).items())),
        counters=dict(sorted(evidence.counters.items())),
        missing=_listed(called_for - stored),
        extra=_listed(stored - called_for),
        missing_in_log=_listed(written - told),
        extra_in_log=_listed(told - written),
        users_out_of_commit_order=_out_of_order(alerts, commits),
        users_with_other_state=evidence.differing_users,
        users_with_other_history=evidence.differing_histories,
        counters_of_replay=_counted(by_topic.counts, KINDS),
        counters_of_log=_counted(by_log.counts, FOLDED),
        dead_letters=evidence.dead_letters,
    )


def _counted(counters: Mapping[str, int], kinds: Iterable[str]) -> dict[str, int]:
    return {kind: count for kind in kinds if (count := counters.get(kind, 0))}


def _out_of_order(alerts: Iterable[Alert], commits: Mapping[int, int]) -> list[int]:
    """Users whose alerts, in order of position, are not in the order of the COMMIT records of their transactions."""
    latest: dict[int, int] = {}
    wrong = set()
    for alert in sorted(alerts, key=lambda one: one.position):
        lsn = commits.get(alert.source_xid or 0, -1)
        if lsn < latest.get(alert.user_id, 0):
            wrong.add(alert.user_id)
        latest[alert.user_id] = lsn
    return sorted(wrong)


_Told = tuple[int, int, str, str, int, str]


def _content(alert: Alert) -> _Told:
    return (alert.user_id, alert.tx_id, alert.op, alert.status, alert.score, alert.reason)


def _by_position(alert: Alert) -> tuple[object, ...]:
    return (alert.position, *_content(alert))


def _by_transaction(alert: Alert) -> tuple[object, ...]:
    return (alert.source_xid, *_content(alert))


def _listed(facts: Counter[tuple[object, ...]]) -> list[str]:
    return sorted(str(fact) for fact in facts.elements())
