"""What a batch path knows from run to run, and the one transaction in which a run becomes true.

1. the progress of every rule is compared and set, and what the run saw is noted: a job that began from an older one
   discards itself;
2. staged alerts become rows of the alert log, numbered per transaction; letters become dead letters;
3. staged state replaces the state of its buckets; counters are added up;
4. what was staged, by this attempt and by those that this merge outran, is removed.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec
from psycopg2.extensions import cursor as Cursor

from spark_jobs.batch_fold import INCARNATION, StagedAlert, StagedLetter
from spark_jobs.judged import Ids
from twinpath.alert_rows import DeadLetter, PartitionKey, StampedAlert, Stamps, Written, read_alerts
from twinpath.alert_store import AlertStore
from twinpath.checkpoint_rows import add_counters
from twinpath.detection.model import Alert, Position
from twinpath.detection.replay import current
from twinpath.detection.rules import Rule
from twinpath.errors import ServiceFault
from twinpath.store_session import StoreSession

PARTITION = 0
NOTHING = -(2**63)  # stored as the watermark of runs that found no row
Pairs = frozenset[tuple[int, int]]


class Progress(NamedTuple):
    """How far one rule of a path went; `run` 0 means that nothing was merged yet."""

    run: int = 0
    horizon: int = 0
    watermark: int | None = None
    folded: Pairs = frozenset()
    judged: Ids = Ids()


class Shown(NamedTuple):
    """What a run could see: its snapshot as PostgreSQL writes it, and its interval of created_at in microseconds."""

    snapshot: str
    begin_us: int | None = None
    end_us: int | None = None


class RunResult(NamedTuple):
    """What the executors said of one rule, all buckets together."""

    rule: Rule
    before: Progress
    after: Progress
    buckets: int
    alerts: int
    counts: Counter[str]


class BatchStore:
    """The alert store as the driver of one path uses it."""

    def __init__(self, dsn: str, path: str, source: str) -> None:
        self._session = StoreSession(dsn)
        self._alerts = AlertStore(dsn, path)
        self._path = path
        self._source = source

    def close(self) -> None:
        """End the session."""
        self._session.close()

    def progress(self, rule: Rule) -> Progress:
        """How far this version of a rule went on this source."""
        with self._session.transaction() as cursor:
            cursor.execute(
                "SELECT run, horizon, watermark, folded, judged FROM batch_progress "
                "WHERE path = %s AND rule = %s AND rule_version = %s AND source = %s",
                self._names(rule),
            )
            row = cursor.fetchone()
        if row is None:
            return Progress()
        run, horizon, watermark, folded, judged = row
        pairs = frozenset(msgspec.msgpack.decode(bytes(folded), type=list[tuple[int, int]]))
        watermark = None if watermark == NOTHING else watermark
        return Progress(run, horizon, watermark, pairs, Ids.decode(bytes(judged)))

    def teach_before_us(self, topic: str) -> int:
        """Rows committed before this time teach: when the topic's source was registered; 0 without a topic."""
        with self._session.transaction() as cursor:
            cursor.execute(
                "SELECT (extract(epoch FROM min(registered_at)) * 1000000)::bigint FROM sources WHERE topic = %s",
                [topic],
            )
            (us,) = cursor.fetchone() or (None,)
        return int(us or 0)

    def merge(self, attempt: str, results: Sequence[RunResult], shown: Shown, *, full: bool) -> Written | None:
        """Make a run true, whole or not at all; None when another run was merged since this one began."""
        written = Written()
        with self._session.transaction() as cursor:
            won = [self._set_progress(cursor, one) for one in results]
            if not all(won):
                cursor.connection.rollback()
                self._discard(cursor, attempt)
                return None
            for one in results:
                cursor.execute(
                    "INSERT INTO batch_runs (path, rule, rule_version, source, run, snapshot, begin_us, end_us) "
                    "VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
                    [*self._names(one.rule), one.after.run, *shown],
                )
                alerts, letters = self._staged(cursor, attempt, one)
                if full:
                    alerts = self._differing(cursor, one.rule, alerts)
                numbered = self._numbered(cursor, one.rule, alerts)
                self._alerts.write_in(cursor, one.rule, numbered, letters, self._source, written)
                if not full:  # which begins from nothing each time
                    self._replace_states(cursor, attempt, one.rule)
                    key = PartitionKey(one.rule.name, one.rule.version, self._source, PARTITION)
                    add_counters(cursor, self._path, key, one.counts)
            self._discard(cursor, attempt)
        return written

    def discard(self, attempt: str) -> None:
        """Remove what an attempt staged."""
        with self._session.transaction() as cursor:
            self._discard(cursor, attempt)

    def _set_progress(self, cursor: Cursor, one: RunResult) -> bool:
        """Compare and set: False when the run that this one began from is no longer the last."""
        after = one.after
        watermark = NOTHING if after.watermark is None else after.watermark
        pairs = msgspec.msgpack.encode(sorted(after.folded))
        values = [after.run, after.horizon, watermark, pairs, after.judged.encode()]
        if one.before.run == 0:
            cursor.execute(
                "INSERT INTO batch_progress (path, rule, rule_version, source, run, horizon, watermark, folded, "
                "judged) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
                [*self._names(one.rule), *values],
            )
        else:
            cursor.execute(
                "UPDATE batch_progress SET run = %s, horizon = %s, watermark = %s, folded = %s, judged = %s, "
                "updated_at = now() WHERE path = %s AND rule = %s AND rule_version = %s AND source = %s AND run = %s",
                [*values, *self._names(one.rule), one.before.run],
            )
        return bool(cursor.rowcount == 1)

    def _staged(self, cursor: Cursor, attempt: str, one: RunResult) -> tuple[list[StagedAlert], list[DeadLetter]]:
        """What the executors staged, all of it: what is missing would be lost for ever."""
        cursor.execute(
            "SELECT alerts, letters FROM batch_staged WHERE attempt = %s AND rule = %s ORDER BY bucket",
            [attempt, one.rule.name],
        )
        rows = cursor.fetchall()
        alerts = [alert for row in rows for alert in msgspec.msgpack.decode(bytes(row[0]), type=list[StagedAlert])]
        letters = [letter for row in rows for letter in msgspec.msgpack.decode(bytes(row[1]), type=list[StagedLetter])]
        if (len(rows), len(alerts)) != (one.buckets, one.alerts):
            raise ServiceFault(
                f"attempt {attempt}: found {len(rows)} staged buckets with {len(alerts)} alerts of {one.rule.name}, "
                f"wanted {one.buckets} with {one.alerts}; nothing was merged, run the job again"
            )
        return alerts, [DeadLetter(PARTITION, letter.tx_id, letter.reason, None, None) for letter in letters]

    def _numbered(self, cursor: Cursor, rule: Rule, alerts: Sequence[StagedAlert]) -> list[StampedAlert]:
        """Alerts at the positions (0, n): n counts the verdicts on a transaction, over all runs."""
        cursor.execute(
            "SELECT tx_id, max(row_lsn) FROM alert_log WHERE path = %s AND rule = %s AND rule_version = %s "
            "AND tx_id = ANY(%s) GROUP BY tx_id",
            [self._path, rule.name, rule.version, [one.alert.tx_id for one in alerts]],
        )
        numbers: Counter[int] = Counter(dict(cursor.fetchall()))
        stamped = []
        for one in alerts:
            numbers[one.alert.tx_id] += 1
            position = Position(INCARNATION, 0, numbers[one.alert.tx_id])
            alert = msgspec.structs.replace(one.alert, position=position)
            stamped.append(StampedAlert(alert, Stamps(committed_us=one.committed_us, decided_us=one.decided_us)))
        return stamped

    def _differing(self, cursor: Cursor, rule: Rule, alerts: Sequence[StagedAlert]) -> list[StagedAlert]:
        """Of a fold of the whole table, what differs from the standing view; what is gone is retracted."""
        standing = current(read_alerts(cursor, self._path, rule.name, rule.version))
        found = {one.alert.tx_id: one for one in alerts}
        differing = []
        for tx_id, one in found.items():
            before = standing.get(tx_id)
            if before is None or before.status == "RETRACTED":
                differing.append(one)
            elif (before.score, before.reason) != (one.alert.score, one.alert.reason):
                revised = msgspec.structs.replace(one.alert, status="REVISED", op="u")
                differing.append(StagedAlert(revised, one.committed_us, one.decided_us))
        for tx_id, before in standing.items():
            if tx_id not in found and before.status != "RETRACTED":
                differing.append(StagedAlert(_retracted(before), None))
        return differing

    def _replace_states(self, cursor: Cursor, attempt: str, rule: Rule) -> None:
        cursor.execute(
            "INSERT INTO state_buckets (path, rule, rule_version, topic_id, partition, bucket, part, state) "
            "SELECT %s, %s, %s, %s, %s, bucket, 0, state FROM batch_staged WHERE attempt = %s AND rule = %s "
            "ON CONFLICT (path, rule, rule_version, topic_id, partition, bucket, part) "
            "DO UPDATE SET state = excluded.state",
            [self._path, rule.name, rule.version, self._source, PARTITION, attempt, rule.name],
        )

    def _discard(self, cursor: Cursor, attempt: str) -> None:
        """Attempts of a day ago ended long since; younger ones may still be running."""
        cursor.execute("DELETE FROM batch_staged WHERE attempt = %s OR staged_at < now() - interval '1 day'", [attempt])

    def _names(self, rule: Rule) -> list[str]:
        return [self._path, rule.name, rule.version, self._source]


def _retracted(before: Alert) -> Alert:
    return msgspec.structs.replace(
        before, status="RETRACTED", op="d", score=0, reason="no longer in the table, or no longer unusual"
    )


def combined(rule: Rule, before: Progress, horizon: int, lines: Iterable[Mapping[str, object]]) -> RunResult:
    """What the executors said of one rule (rows of columns.FOLDED), as the next progress."""
    judged, counts = before.judged.ranges, Counter[str]()
    highest = before.watermark
    folded = {pair for pair in before.folded if pair[1] >= horizon}
    buckets = alerts = 0
    for line in lines:
        buckets += 1
        alerts += _integer(line["alerts"])
        judged += Ids.decode(_bytes(line["judged"])).ranges
        folded |= set(msgspec.msgpack.decode(_bytes(line["folded"]), type=list[tuple[int, int]]))
        counts.update(msgspec.msgpack.decode(_bytes(line["counts"]), type=dict[str, int]))
        highest = max(_integer(line["highest"]), NOTHING if highest is None else highest)
    after = Progress(before.run + 1, horizon, highest, frozenset(folded), Ids(judged))
    return RunResult(rule, before, after, buckets, alerts, counts)


def _bytes(value: object) -> bytes:
    assert isinstance(value, bytes | bytearray)  # noqa: S101  the contract of columns.FOLDED
    return bytes(value)


def _integer(value: object) -> int:
    assert isinstance(value, int)  # noqa: S101  likewise
    return value
