"""`twinpath alerts`: the alert log, newest last; data on stdout."""

import json
import sys
import time
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any

import psycopg2

from lab.console import Progress
from lab.stack.stack import Stack
from twinpath.errors import ServiceFault, first_line

COLUMNS = ("path", "rule", "status", "user_id", "tx_id", "score", "reason", "decided_at", "latency_ms", "rule_version")
READ = (
    "SELECT log.path, log.rule, log.status, log.user_id, log.tx_id, log.score, log.reason, log.decided_at, "
    "seen.latency_ms::float, log.rule_version, log.incarnation, log.previous_commit_lsn, log.row_lsn "
    "FROM alert_log log JOIN alert_latency seen USING (path, rule, rule_version, user_id, tx_id, incarnation, "
    "previous_commit_lsn, row_lsn) "
    "WHERE (%(user)s::bigint IS NULL OR log.user_id = %(user)s) "
    "AND (%(since)s::timestamptz IS NULL OR log.decided_at >= %(since)s) "
    "AND (%(all)s OR NOT EXISTS (SELECT FROM active_rules active WHERE active.path = log.path "
    "AND active.rule = log.rule AND active.rule_version <> log.rule_version)) ORDER BY log.decided_at, log.tx_id"
)
EVERY_S = 0.5
LOOK_BACK = timedelta(seconds=60)  # an alert decided earlier may be committed later


def show(stack: Stack, *, follow: bool, user: int | None, all_versions: bool, as_json: bool) -> None:
    """Print the log of the active versions, or of all; with `follow` go on until interrupted."""
    shown: set[tuple[Any, ...]] = set()
    since: datetime | None = None
    try:
        session = psycopg2.connect(stack.credentials.alerts_dsn(stack.settings, "twinpath_reader"), connect_timeout=5)
    except psycopg2.OperationalError as error:
        first = first_line(error)
        raise ServiceFault(f"the alert store does not answer: {first}. Run: twinpath up") from None
    session.autocommit = True
    with closing(session), session.cursor() as cursor:
        while True:
            cursor.execute(READ, {"user": user, "since": since, "all": all_versions})
            for row in cursor.fetchall():
                key = row[:5] + row[9:]
                if key not in shown:
                    shown.add(key)
                    _print(row, all_versions=all_versions, as_json=as_json)
                    since = row[7] - LOOK_BACK if row[7] else since
            sys.stdout.flush()
            if not follow:
                return
            time.sleep(EVERY_S)


def _print(row: tuple[Any, ...], *, all_versions: bool, as_json: bool) -> None:
    values = dict(zip(COLUMNS, row, strict=False))
    values["decided_at"] = values["decided_at"].isoformat() if values["decided_at"] else None
    if as_json:
        sys.stdout.write(f"{json.dumps(values)}\n")
        return
    latency = "-" if values["latency_ms"] is None else f"{values['latency_ms']:.0f} ms"
    rule = f"{values['rule']} {values['rule_version']}" if all_versions else values["rule"]
    sys.stdout.write(
        f"{values['decided_at']} {values['path']} {rule} {values['status']} user {values['user_id']} "
        f"tx {values['tx_id']} score {values['score']} after {latency}: {values['reason']}\n"
    )


def say_first_alert(dsn: str, timeout_s: float, progress: Progress) -> None:
    """Say the first alert as soon as it is stored: what a newcomer waits for."""
    deadline = time.monotonic() + timeout_s
    with closing(psycopg2.connect(dsn)) as session:
        session.autocommit = True
        with session.cursor() as cursor:
            while time.monotonic() < deadline:
                cursor.execute("SELECT rule, reason FROM alert_log ORDER BY decided_at LIMIT 1")
                found = cursor.fetchone()
                if found is not None:
                    progress.say(f"first alert: {found[0]}: {found[1]}")
                    return
                time.sleep(0.2)
