"""One transaction on every path: its row, its records in the topic, its alerts, and what became of it elsewhere."""

from collections.abc import Sequence
from contextlib import closing
from typing import Any

import httpx
import msgspec
import psycopg2
from psycopg2.extensions import cursor as Cursor

from lab import versions
from lab.live.passages import Passage, passages
from lab.measure.batch_evidence import PATHS as BATCH_PATHS
from lab.measure.batch_evidence import judged_ranges
from lab.measure.batch_input import BatchRun
from lab.measure.latency import HOPS_MS
from lab.measure.verdict import PATH as AGENT
from lab.scrape import scrape
from lab.stack.spark_stream import PATH as STREAM
from lab.stack.stack import Stack
from twinpath.detection.rules import RULES

ROW = """
SELECT user_id, amount::text, card_type, merchant_id, to_char(created_at, 'YYYY-MM-DD HH24:MI:SS.US'),
       (extract(epoch FROM created_at) * 1000000)::bigint,
       (extract(epoch FROM pg_xact_commit_timestamp(xmin)) * 1000000)::bigint
FROM public.transactions WHERE id = %s"""
ALERTS = f"""
SELECT path, rule, rule_version, op, status, score, reason, latency_ms::float,
       (extract(epoch FROM changed_at) * 1000000)::bigint, ARRAY[{HOPS_MS}]
FROM alert_latency JOIN (
    SELECT path, rule, rule_version, user_id, tx_id, incarnation, previous_commit_lsn, row_lsn, score, reason
    FROM alert_log WHERE tx_id = %s
) said USING (path, rule, rule_version, user_id, tx_id, incarnation, previous_commit_lsn, row_lsn)
ORDER BY changed_at, array_position(%s, path), rule"""  # noqa: S608  constant
MARGIN_US = 2_000_000  # a record is never appended before its commit; clocks of two machines may differ by this
RECENT_US = 3_600_000_000
SCRAPE_TIMEOUT_S = 2.0


class Row(msgspec.Struct, frozen=True):
    """The row as it stands in the table; `committed_us` is when its last change was committed, None when forgotten."""

    user_id: int | None
    amount: str | None
    card_type: str | None
    merchant_id: int | None
    created_at: str
    created_us: int
    committed_us: int | None


class AlertSeen(msgspec.Struct, frozen=True):
    """One alert of the row; `hops_ms` are those of lab.measure.latency.HOPS, None where a hop left no stamp."""

    path: str
    rule: str
    version: str
    op: str
    status: str
    score: int
    reason: str
    latency_ms: float | None
    changed_us: int | None
    hops_ms: list[float | None]


class Fate(msgspec.Struct, frozen=True):
    """What became of the row by one rule on one path, where there is no alert; `open` while it may still come."""

    path: str
    rule: str
    said: str
    open: bool = False


class Journey(msgspec.Struct, frozen=True):
    """All that is known of one transaction."""

    tx_id: int
    row: Row | None
    passages: list[Passage]
    alerts: list[AlertSeen]
    fates: list[Fate]

    @property
    def known(self) -> bool:
        """True when anything is."""
        return bool(self.row or self.passages or self.alerts)

    def waiting(self, *paths: str) -> bool:
        """True while one of these paths may still judge it."""
        return any(fate.open and fate.path in paths for fate in self.fates)


def gather(stack: Stack, tx_id: int) -> Journey:
    """Ask the table by its key, the topic, and the alert store."""
    settings = stack.settings
    dsn = stack.credentials.dsn("twinpath_lab", settings.source_database)
    with closing(psycopg2.connect(dsn, connect_timeout=5)) as session, session.cursor() as cursor:
        row = _row(cursor, tx_id)
    dsn = stack.credentials.alerts_dsn(settings, "twinpath_lab")
    with closing(psycopg2.connect(dsn, connect_timeout=5)) as session, session.cursor() as cursor:
        cursor.execute(ALERTS, [tx_id, [AGENT, STREAM, *BATCH_PATHS]])
        alerts = [AlertSeen(*found) for found in cursor.fetchall()]
        records = passages(settings, tx_id, _from_ms(row, alerts))
        if not any(one.change.op in ("c", "r") for one in records):
            records = passages(settings, tx_id, None)  # what we know of was a later change
        fates = _Fates(stack, cursor, tx_id, records, {(one.path, one.rule, one.version) for one in alerts})
        return Journey(tx_id, row, records, alerts, [*fates.of_log(), *fates.of_batch()])


def _row(cursor: Cursor, tx_id: int) -> Row | None:
    cursor.execute("SET TimeZone TO 'UTC'")
    cursor.execute(ROW, [tx_id])
    found: tuple[Any, ...] | None = cursor.fetchone()
    return None if found is None else Row(*found)


def _from_ms(row: Row | None, alerts: Sequence[AlertSeen]) -> int | None:
    """From when on the topic is read: before the first commit that is known, or the insert's if created_at tells it;
    None: nothing is known."""
    stamps = [one.changed_us for one in alerts if one.changed_us is not None]
    if row is not None and row.committed_us is not None:
        since_us = row.committed_us - row.created_us  # a load may date its rows as it likes
        stamps.append(row.created_us if 0 <= since_us <= RECENT_US else row.committed_us)
    return max(0, min(stamps) - MARGIN_US) // 1000 if stamps else None


class _Fates:
    """Rules without an alert: judged and silent, not there yet, or never run."""

    def __init__(
        self, stack: Stack, cursor: Cursor, tx_id: int, records: Sequence[Passage], alerted: set[tuple[str, str, str]]
    ) -> None:
        self._stack = stack
        self._cursor = cursor
        self._tx_id = tx_id
        self._records = records
        self._active = {(one.path, one.rule): one.version for one, _ in versions.stored(cursor) if one.active}
        self._alerted = alerted

    def _silent(self, path: str) -> list[tuple[str, str]]:
        """Rule and active version of those that have no alert."""
        rules = ((rule, self._active.get((path, rule), "")) for rule in RULES)
        return [(rule, version) for rule, version in rules if (path, rule, version) not in self._alerted]

    def of_log(self) -> list[Fate]:
        """The agents, and the stream if it ever ran."""
        paths = [AGENT] + [STREAM] * any(path == STREAM for path, _ in self._active)
        return [self._of_log(path, rule, version) for path in paths for rule, version in self._silent(path)]

    def _of_log(self, path: str, rule: str, version: str) -> Fate:
        if not version:
            return Fate(path, rule, "has judged nothing yet")
        if not self._records:
            return Fate(path, rule, "not judged: it is not in the topic", open=True)
        if all(one.change.op == "r" for one in self._records):
            return Fate(path, rule, "taught, not judged: it was in the table before the connector began")
        self._cursor.execute(
            "SELECT partition, next_offset FROM checkpoints WHERE path = %s AND rule = %s AND rule_version = %s "
            "AND next_offset IS NOT NULL",
            [path, rule, version],
        )
        marks = dict(self._cursor.fetchall())
        first = self._records[0]
        if marks.get(first.partition, 0) > first.offset or (path == AGENT and self._caught_up(rule)):
            return Fate(path, rule, "judged, no alert")
        return Fate(path, rule, f"not judged yet: it stands at offset {marks.get(first.partition, 0)}", open=True)

    def _caught_up(self, rule: str) -> bool:
        """True when an agent says that it has folded all of the topic: its checkpoint may be a minute old."""
        agents = self._stack.agents()
        if not agents.running(rule):
            return False
        try:
            return scrape(f"{agents.url(rule)}/metrics", SCRAPE_TIMEOUT_S).get("twinpath_agent_lag_records") == 0
        except httpx.HTTPError:
            return False

    def of_batch(self) -> list[Fate]:
        """Each mode of the batch job that was ever run."""
        paths = [path for path in BATCH_PATHS if any(known == path for known, _ in self._active)]
        fates = [self._of_batch(path, *one) for path in paths for one in self._silent(path) if one[1]]
        return fates if paths else [Fate("spark_batch", "", "has not run yet", open=True)]

    def _of_batch(self, path: str, rule: str, version: str) -> Fate:
        self._cursor.execute(
            "SELECT run, snapshot, merged_at FROM batch_runs WHERE path = %s AND rule = %s AND rule_version = %s "
            "ORDER BY run",
            [path, rule, version],
        )
        runs = [(BatchRun.of(run, snapshot), merged_at) for run, snapshot, merged_at in self._cursor.fetchall()]
        ranges = judged_ranges(self._cursor, path, rule, version)
        if any(first <= self._tx_id <= last for first, last in ranges):
            xid = self._records[0].change.source_xid if self._records else None
            seen = next((f" by run {run.number}, {at:%H:%M:%S}" for run, at in runs if xid and run.sees(xid)), "")
            return Fate(path, rule, f"judged{seen}, no alert")
        last = f"; the last run, {runs[-1][0].number}, was merged at {runs[-1][1]:%H:%M:%S}" if runs else ""
        return Fate(path, rule, f"not judged yet{last}", open=True)
