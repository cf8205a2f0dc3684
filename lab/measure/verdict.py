"""What a run found out about each agent, rule by rule, before it becomes a report."""

from collections import Counter
from datetime import datetime, timedelta

import msgspec
from psycopg2.extensions import connection as Connection

from lab.load import LoadResult
from lab.measure.agreement import Difference, compare, compare_log, differing_histories, differing_users
from twinpath.alert_rows import read_alerts
from twinpath.detection.replay import Replay
from twinpath.detection.rules import Rule

PATH = "agent"


class RuleEvidence(msgspec.Struct):
    """One agent against both oracles."""

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

    @property
    def suppressed(self) -> int:
        """Events dropped by position plus alert inserts refused."""
        return self.counters.get("duplicate", 0) + self.counters.get("alerts_refused", 0)


class Evidence(msgspec.Struct):
    """Everything that the report of a demo is made of.

    `usage` holds CPU seconds and peak MB by agent; `left_out` are the windows (begin, length) of warm-up and
    faults, which a second latency row leaves out.
    """

    run_id: str
    seed: int
    began: datetime
    finished: datetime
    profile: str
    duration_s: float
    load: LoadResult
    records: int
    committed_inserts: int
    key_changes: int
    rules: list[RuleEvidence]
    killed: list[tuple[str, datetime]]
    kills_wanted: int
    usage: dict[str, tuple[float, float]]
    left_out: list[tuple[datetime, timedelta]]
    alerts_dsn: str


def gather(session: Connection, rule: Rule, by_topic: Replay, by_log: Replay, path: str = PATH) -> RuleEvidence:
    """Read the alerts, counters and state of one rule on a path, and hold them against both replays.

    Only agents keep their state in the alert store: for another path no user's state is compared.
    """
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
    return RuleEvidence(
        rule=rule.name,
        version=rule.version,
        alerts=len(alerts),
        counters=dict(counters),
        dead_letters=dead_letters,
        against_topic=compare_log(alerts, by_topic.alerts),
        against_log=compare(alerts, by_log.alerts),
        differing_users=differing_users(rule, states, by_topic.states) if path == PATH else [],
        differing_histories=differing_histories(by_topic.states, by_log.states),
        reference_alerts=len(by_topic.alerts),
    )
