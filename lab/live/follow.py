"""`twinpath follow`: one transaction from its commit to its alert, hop by hop, and its fate on every other path."""

import sys
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta

import msgspec
import psycopg2

from lab.live.journey import AlertSeen, Journey, gather
from lab.live.passages import Passage
from lab.measure.latency import HOPS
from lab.measure.verdict import PATH as AGENT
from lab.report.words import duration
from lab.stack import process
from lab.stack.spark_stream import PATH as STREAM
from lab.stack.stack import Stack
from lab.watch_changes import WORDS
from twinpath.alert_rows import EPOCH_START
from twinpath.detection.money import money
from twinpath.errors import ConfigurationError, ServiceFault

EVERY_S = 0.2
BAR = 24  # characters of the longest hop
UNSTAMPED = "before, without a stamp"
NEXT = """
SELECT tx_id FROM alert_log WHERE decided_at > %s ORDER BY decided_at LIMIT 1"""


def show(stack: Stack, tx_id: int | None, *, wait_s: float, as_json: bool) -> None:
    """Print the journey of a transaction, or of the next one that an alert is raised for.

    Waits up to `wait_s` until agents and Spark stream have judged it. ConfigurationError when nobody knows it.
    """
    if process.running(stack.home, "postgres") is None or process.running(stack.home, "kafka") is None:
        raise ServiceFault(f"found no running stack in {stack.home.path}, wanted one. Run: twinpath up")
    if tx_id is None:
        tx_id = next_alert(stack)
    deadline = time.monotonic() + wait_s
    found = gather(stack, tx_id)
    while (not found.known or found.waiting(AGENT, STREAM)) and time.monotonic() < deadline:
        time.sleep(EVERY_S)
        found = gather(stack, tx_id)
    if not found.known:
        raise ConfigurationError(
            f"found no transaction {tx_id} in {stack.settings.source_database}, in the topic or among the alerts; "
            "twinpath alerts and twinpath changes show ids"
        )
    text = msgspec.json.encode(found).decode() if as_json else "\n".join(lines(found))
    sys.stdout.write(f"{text}\n")


def next_alert(stack: Stack) -> int:
    """Wait for the next alert of any path; returns the id of its transaction."""
    dsn = stack.credentials.alerts_dsn(stack.settings, "twinpath_reader")
    with closing(psycopg2.connect(dsn, connect_timeout=5)) as session, session.cursor() as cursor:
        session.autocommit = True
        cursor.execute("SELECT now()")
        (since,) = cursor.fetchone() or (None,)
        while True:
            cursor.execute(NEXT, [since])
            found = cursor.fetchone()
            if found is not None:
                return int(found[0])
            time.sleep(EVERY_S)


def lines(found: Journey) -> Iterator[str]:
    """The journey for people: the row, the log, each alert with its hops, then those without one."""
    yield _row(found)
    for one in found.passages:
        yield from _passage(one)
    for alert in found.alerts:
        yield from _alert(alert)
    for fate in found.fates:
        yield f"{fate.path} {fate.rule}".rstrip() + f": {fate.said}"
    if any(fate.open for fate in found.fates):
        yield f"Not everybody has judged it yet. Again: twinpath follow {found.tx_id}"


def _row(found: Journey) -> str:
    row = found.row
    if row is None:
        return f"transaction {found.tx_id}: not in the table any more"
    merchant = "-" if row.merchant_id is None else row.merchant_id
    return (
        f"transaction {found.tx_id}: user {row.user_id}, {row.amount}, merchant {merchant}, "
        f"created {row.created_at} UTC"
    )


def _passage(one: Passage) -> Iterator[str]:
    change = one.change
    row = change.after or change.before
    amount = "" if row is None else f" {money(row.amount_cents)}"
    at = "at an unknown time" if change.committed_us is None else f"{_clock(change.committed_us)} UTC"
    yield f"{WORDS[change.op]}{amount}: committed {at} by transaction id {change.source_xid or '?'}"
    if change.committed_us is not None and change.captured_us is not None:
        yield f"  {'connector':<12} {_since(change.captured_us, change.committed_us)} after the commit"
    if change.committed_us is not None:
        since = _since(one.appended_us, change.committed_us)
        yield f"  {'broker':<12} {since} after the commit, partition {one.partition}, offset {one.offset}"


def _alert(alert: AlertSeen) -> Iterator[str]:
    late = "after an unknown time" if alert.latency_ms is None else f"{duration(alert.latency_ms)} after the commit"
    of = {"c": "", "u": " at an update", "d": " at a delete"}.get(alert.op, "")
    yield f"{alert.path} {alert.rule} {alert.version}: {alert.status}{of}, score {alert.score}, {late}"
    yield f"  {alert.reason}"
    known = [(hop, ms) for hop, ms in zip(HOPS, alert.hops_ms, strict=True) if ms is not None]
    if alert.latency_ms is not None and len(known) < len(HOPS):
        known.insert(0, (UNSTAMPED, alert.latency_ms - sum(ms for _, ms in known)))
    longest = max((ms for _, ms in known), default=0.0)
    for hop, ms in known:
        bar = "#" * round(BAR * ms / longest) if longest > 0 and ms > 0 else ""
        yield f"  {hop:<28} {duration(ms):>10} {bar}".rstrip()


def _since(us: int, begin_us: int) -> str:
    return f"{duration((us - begin_us) / 1000):>10}"


def _clock(us: int) -> str:
    return f"{EPOCH_START + timedelta(microseconds=us):%Y-%m-%d %H:%M:%S.%f}"
