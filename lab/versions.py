"""`twinpath rules`: the versions of each rule in the alert store, and which of them is active."""

import json
import sys
from contextlib import closing
from typing import Any

import msgspec
import psycopg2
from psycopg2.extensions import cursor as Cursor

from lab.measure.fence import end_offsets
from lab.stack.rebuild import PATH
from lab.stack.stack import Stack
from twinpath.detection.rules import RULES
from twinpath.errors import ChangeLogUnavailable, ServiceFault, first_line

READ = """
SELECT known.path, known.rule, known.rule_version, active.rule_version IS NOT NULL,
       (SELECT parameters FROM rule_activations WHERE (path, rule, rule_version)
            = (known.path, known.rule, known.rule_version) ORDER BY number DESC LIMIT 1),
       (SELECT count(*) FROM alert_log WHERE (path, rule, rule_version)
            = (known.path, known.rule, known.rule_version)),
       (SELECT coalesce(sum(value), 0)::bigint FROM counters WHERE (path, rule, rule_version)
            = (known.path, known.rule, known.rule_version) AND name = 'judged'),
       (SELECT coalesce(sum(next_offset), 0)::bigint FROM checkpoints WHERE (path, rule, rule_version)
            = (known.path, known.rule, known.rule_version)),
       (SELECT count(*) FROM dead_letters WHERE (path, rule, rule_version)
            = (known.path, known.rule, known.rule_version))
FROM (SELECT path, rule, rule_version FROM alert_log UNION SELECT path, rule, rule_version FROM checkpoints
      UNION SELECT path, rule, rule_version FROM rule_activations) known
LEFT JOIN active_rules active USING (path, rule, rule_version)
ORDER BY known.path, known.rule, active.rule_version IS NULL, known.rule_version
"""


class Version(msgspec.Struct, frozen=True):
    """One version of a rule on one path; `behind` counts records of the topic past its checkpoints, if known.

    `due` names what the settings call for instead, in the words of `twinpath up`; only of the active version.
    """

    path: str
    rule: str
    version: str
    active: bool
    parameters: dict[str, Any] | None
    alerts: int
    judged: int
    dead_letters: int
    behind: int | None = None
    running: bool = False
    due: str = ""


def show(stack: Stack, *, as_json: bool) -> None:
    """A line for each version, those of one rule together, the active one first."""
    found = read(stack)
    for one in found:
        sys.stdout.write(f"{json.dumps(msgspec.structs.asdict(one)) if as_json else _line(one)}\n")
    if not as_json:
        for name in sorted(RULES.keys() - {one.rule for one in found}):
            sys.stdout.write(f"{name}: nothing was judged yet\n")


def stored(cursor: Cursor) -> list[tuple[Version, int]]:
    """Every version that has alerts, a checkpoint or an activation, as the store knows it; and the records of the topic
    that its checkpoints have folded."""
    cursor.execute(READ)
    return [
        (Version(path, rule, version, active, parameters, alerts, judged, letters), folded)
        for path, rule, version, active, parameters, alerts, judged, folded, letters in cursor.fetchall()
    ]


def read(stack: Stack) -> list[Version]:
    """The versions of the store, those of the agents beside the topic and the settings."""
    try:
        dsn = stack.credentials.alerts_dsn(stack.settings, "twinpath_lab")
        with closing(psycopg2.connect(dsn, connect_timeout=5)) as session, session.cursor() as cursor:
            versions = stored(cursor)
    except psycopg2.OperationalError as error:
        raise ServiceFault(f"the alert store does not answer: {first_line(error)}. Run: twinpath up") from None
    records = _records(stack)
    found = []
    for one, folded in versions:
        if one.path == PATH and one.rule in RULES:
            behind = None if records is None else max(0, records - folded)
            running = one.active and stack.agents().running(one.rule)
            due = _due(stack, one.rule) if one.active else ""
            found.append(msgspec.structs.replace(one, behind=behind, running=running, due=due))
        else:
            found.append(one)
    return found


def _records(stack: Stack) -> int | None:
    """Records in the topic; None while Kafka does not say."""
    try:
        return sum(end_offsets(stack.settings).values())
    except ChangeLogUnavailable:
        return None


def _due(stack: Stack, rule: str) -> str:
    standing = stack.rebuilder().standing(rule)
    return f"{standing.changed}; twinpath up begins the other version" if standing.changed else ""


def _line(one: Version) -> str:
    state = "superseded"
    if one.active:
        state = "active" if one.running or one.path != PATH else "active, but its agent does not run"
    counts = [f"{one.alerts} alerts", f"{one.judged} rows judged", f"{one.dead_letters} dead letters"]
    if one.behind is not None:
        counts.append(f"{one.behind} records behind")
    parameters = " ".join(f"{name}={value}" for name, value in (one.parameters or {}).items()) or "not known"
    due = f"\n  {one.due}" if one.due else ""
    return f"{one.path} {one.rule} {one.version} {state}: {', '.join(counts)}\n  parameters: {parameters}{due}"
