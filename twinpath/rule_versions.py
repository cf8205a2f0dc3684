"""Which version of a rule is folded on a path: generations, and the activations of versions.

A version names what is folded over the log: the rule's code version, its parameters and its generation. A
generation is raised to judge the same log again, from its beginning, beside what was decided before. Each
program that folds a rule notes at its start the version that it folds; the last one noted is the active
one, and a program that folds another one stops. One version is bound to one way of reading the records.
"""

from contextlib import closing
from datetime import datetime
from typing import Any

import msgspec
from psycopg2.extensions import cursor as Cursor
from psycopg2.extras import Json

from twinpath.detection.record import EnvelopeFormat
from twinpath.detection.rules import Rule
from twinpath.errors import ForeignCheckpoint, Superseded
from twinpath.store_session import StoreSession

Reading = dict[str, Any]
"""The settings by which records are read, by name."""


class Activation(msgspec.Struct, frozen=True):
    """One version as a program noted it at its start."""

    rule_version: str
    generation: int
    parameters: dict[str, Any]
    reading: Reading
    activated_at: datetime


def reading_of(fmt: EnvelopeFormat) -> Reading:
    """What decides how a record is read; which database it comes from is no part of it."""
    return {"event_time_unit": fmt.event_time_unit, "amount_scale": fmt.amount_scale, "flattened": fmt.flattened}


def changed_reading(before: Reading, now: Reading) -> str:
    """The settings that differ: `AMOUNT_SCALE was null, is 2`; empty when none does."""
    parts = []
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            was, is_now = (msgspec.json.encode(one.get(name)).decode() for one in (before, now))
            parts.append(f"{name.upper()} was {was}, is {is_now}")
    return "; ".join(parts)


class RuleVersions:
    """The versions of the rules on one path of one alert store; each call is a session of its own."""

    def __init__(self, dsn: str, path: str) -> None:
        self._dsn = dsn
        self._path = path

    def generation(self, rule: str) -> int:
        """The generation to fold."""
        with closing(StoreSession(self._dsn)) as session, session.transaction() as cursor:
            cursor.execute(
                "SELECT coalesce(max(generation), 1) FROM rule_generations WHERE path = %s AND rule = %s",
                [self._path, rule],
            )
            (found,) = cursor.fetchone() or (1,)
        return int(found)

    def reason(self, rule: str, generation: int) -> str:
        """Why a generation was raised; empty for the first one."""
        with closing(StoreSession(self._dsn)) as session, session.transaction() as cursor:
            cursor.execute(
                "SELECT reason FROM rule_generations WHERE path = %s AND rule = %s AND generation = %s",
                [self._path, rule, generation],
            )
            (found,) = cursor.fetchone() or ("",)
        return str(found)

    def raise_generation(self, rule: str, reason: str) -> int:
        """Call for the log to be judged again; returns the new generation."""
        with closing(StoreSession(self._dsn)) as session, session.transaction() as cursor:
            self._one_at_a_time(cursor, rule)
            cursor.execute(
                "INSERT INTO rule_generations (path, rule, generation, reason) "
                "SELECT %s, %s, coalesce(max(generation), 1) + 1, %s FROM rule_generations "
                "WHERE path = %s AND rule = %s RETURNING generation",
                [self._path, rule, reason, self._path, rule],
            )
            (raised,) = cursor.fetchone() or (0,)
        return int(raised)

    def active(self, rule: str) -> Activation | None:
        """The version that was activated last; None when no program has folded this rule yet."""
        with closing(StoreSession(self._dsn)) as session, session.transaction() as cursor:
            return self._last(cursor, rule)

    def last(self, rule: Rule) -> Activation | None:
        """The last activation of this version."""
        with closing(StoreSession(self._dsn)) as session, session.transaction() as cursor:
            return self._last(cursor, rule.name, rule.version)

    def activate(self, rule: Rule, reading: Reading) -> None:
        """Make this version the active one; ForeignCheckpoint when it was begun with another reading."""
        with closing(StoreSession(self._dsn)) as session, session.transaction() as cursor:
            self._one_at_a_time(cursor, rule.name)
            known = self._last(cursor, rule.name, rule.version)
            changed = "" if known is None else changed_reading(known.reading, reading)
            if changed:
                raise ForeignCheckpoint(
                    f"version {rule.version} of rule {rule.name} was begun with records read otherwise: {changed}. "
                    "Its alerts would come from both. Put the setting back, or judge the whole log by the new one: "
                    f"twinpath rebuild {rule.name}"
                )
            active = self._last(cursor, rule.name)
            if active is not None and active.rule_version == rule.version:
                return
            cursor.execute(
                "INSERT INTO rule_activations (path, rule, number, rule_version, generation, parameters, reading) "
                "SELECT %s, %s, coalesce(max(number), 0) + 1, %s, %s, %s, %s FROM rule_activations "
                "WHERE path = %s AND rule = %s",
                [
                    *(self._path, rule.name, rule.version, rule.generation),
                    *(Json(msgspec.to_builtins(rule.parameters)), Json(reading)),
                    *(self._path, rule.name),
                ],
            )

    def check(self, rule: Rule) -> None:
        """Superseded when another version than this one is active now."""
        active = self.active(rule.name)
        if active is not None and active.rule_version != rule.version:
            raise Superseded(
                f"rule {rule.name}: this process folds version {rule.version}, but version {active.rule_version} was "
                f"activated at {active.activated_at:%Y-%m-%d %H:%M:%S} UTC. Members of one group fold one version. "
                "Start this one again with the same settings as the others (RULE_PARAMETERS)"
            )

    def begun(self, rule: Rule) -> bool:
        """True when some of the log was judged under this version, as its checkpoints say."""
        with closing(StoreSession(self._dsn)) as session, session.transaction() as cursor:
            cursor.execute(
                "SELECT count(next_offset) FROM checkpoints WHERE path = %s AND rule = %s AND rule_version = %s",
                [self._path, rule.name, rule.version],
            )
            (found,) = cursor.fetchone() or (0,)
        return int(found) > 0

    def _last(self, cursor: Cursor, rule: str, version: str | None = None) -> Activation | None:
        cursor.execute(
            "SELECT rule_version, generation, parameters, reading, activated_at FROM rule_activations "
            "WHERE path = %s AND rule = %s AND (%s::text IS NULL OR rule_version = %s) ORDER BY number DESC LIMIT 1",
            [self._path, rule, version, version],
        )
        row = cursor.fetchone()
        return None if row is None else Activation(*row)

    def _one_at_a_time(self, cursor: Cursor, rule: str) -> None:
        """Programs that start together, and commands, wait for one another until the transaction ends."""
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [f"{self._path}/{rule}"])
