"""What a run found out about each path that reads the change log, rule by rule."""

from collections import Counter

import msgspec
from psycopg2.extensions import connection as Connection

from lab.measure.agreement import (
    Difference,
    compare,
    compare_log,
    differing_histories,
    differing_rows,
    differing_users,
    remembered,
)
from twinpath.alert_rows import read_alerts
from twinpath.detection.model import Alert
from twinpath.detection.replay import Replay
from twinpath.detection.rules import Rule

PATH = "agent"


class RuleEvidence(msgspec.Struct):
    """One rule of one path against both oracles.

    `rows` are the ids of payments that the path is known to have judged: those it remembers and those it raised alerts
    for. `unlike_rows` are not remembered as the topic calls for, `unlike_in_log` not as the operation log does.
    """

    path: str
    rule: str
    version: str
    alerts: int
    counters: dict[str, int]
    dead_letters: int
    against_topic: Difference
    against_log: Difference
    differing_users: list[int]
    differing_histories: list[int]
    reference_alerts: int
    rows: frozenset[int] = frozenset()
    unlike_rows: list[int] = []
    unlike_in_log: list[int] = []

    @property
    def suppressed(self) -> int:
        """Events dropped by position plus alert inserts refused."""
        return self.counters.get("duplicate", 0) + self.counters.get("alerts_refused", 0)


class Stored(msgspec.Struct):
    """What the alert store holds of one rule on one path; `states` are buckets, their parts in order."""

    alerts: list[Alert]
    counters: dict[str, int]
    states: list[bytes]
    dead_letters: int


def read_stored(session: Connection, path: str, rule: Rule) -> Stored:
    """Read alerts, counters, state and dead letters of one rule on one path."""
    with session.cursor() as cursor:
        alerts = read_alerts(cursor, path, rule.name, rule.version)
        names = [path, rule.name, rule.version]
        where = "path = %s AND rule = %s AND rule_version = %s"
        cursor.execute(f"SELECT name, value FROM counters WHERE {where}", names)  # noqa: S608  constant
        counters: Counter[str] = Counter()
        for name, value in cursor.fetchall():
            counters[name] += value
        cursor.execute(f"SELECT state FROM state_buckets WHERE {where} ORDER BY part", names)  # noqa: S608  constant
        states = [bytes(state) for (state,) in cursor.fetchall()]
        cursor.execute(f"SELECT count(*) FROM dead_letters WHERE {where}", names)  # noqa: S608  constant
        (dead_letters,) = cursor.fetchone() or (0,)
    return Stored(alerts, dict(counters), states, dead_letters)


def gather(session: Connection, rule: Rule, by_topic: Replay, by_log: Replay, path: str = PATH) -> RuleEvidence:
    """Read what one rule of a log-fed path has stored, and hold it against both replays."""
    return held(rule, read_stored(session, path, rule), by_topic, by_log, path)


def held(rule: Rule, stored: Stored, by_topic: Replay, by_log: Replay, path: str = PATH) -> RuleEvidence:
    """What one rule of a log-fed path has stored, against both replays.

    Only agents keep their state in the alert store: for another path no user's state is compared.
    """
    alerts, states = stored.alerts, remembered(rule, stored.states)
    entries = (entry for state in states.values() for entry in state.history.entries)
    return RuleEvidence(
        path=path,
        rule=rule.name,
        version=rule.version,
        alerts=len(alerts),
        counters=stored.counters,
        dead_letters=stored.dead_letters,
        against_topic=compare_log(alerts, by_topic.alerts),
        against_log=compare(alerts, by_log.alerts),
        differing_users=differing_users(states, by_topic.states) if path == PATH else [],
        differing_histories=differing_histories(by_topic.states, by_log.states),
        reference_alerts=len(by_topic.alerts),
        rows=frozenset(one.tx_id for one in alerts).union(entry.transaction.tx_id for entry in entries),
        unlike_rows=differing_rows(states, by_topic.states) if path == PATH else [],
        unlike_in_log=differing_rows(by_topic.states, by_log.states),
    )
