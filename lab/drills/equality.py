"""What a comparison found: every agent against both oracles, and the topic against the operation log."""

from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec
from psycopg2.extensions import connection as Connection

from lab.drills.streams import StreamDifference
from lab.measure.verdict import PATH, gather
from twinpath.alert_rows import read_alerts
from twinpath.detection.model import Alert
from twinpath.detection.replay import Replay
from twinpath.detection.rules import Rule

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


def found_of(
    session: Connection, rule: Rule, by_topic: Replay, by_log: Replay, commits: Mapping[int, int]
) -> AgentFound:
    """What one agent has stored, against the replays of topic and log; `commits` are LSNs by transaction."""
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
