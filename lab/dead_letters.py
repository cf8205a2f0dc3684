"""`twinpath dead-letters`: the records that could not be read; and the whole log judged anew once they can.

A record that can be read now is not folded late: its rows would come after changes that are later than they,
and the alerts would not be those that the log calls for. Judging it means judging the log anew from its
beginning, under a new version: docs/adr/0015-redrive-is-a-rebuild.md.
"""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from datetime import datetime
from itertools import groupby
from typing import Any

import msgspec
import psycopg2
from kafka import TopicPartition

from lab.stack.rebuild import PATH
from lab.stack.stack import Stack
from lab.topic import open_consumer
from twinpath.detection.envelope import EnvelopeDecoder
from twinpath.detection.rules import RULES, configured
from twinpath.errors import DecodeError, ServiceFault, first_line
from twinpath.settings import Settings

SHOWN_BYTES = 200
SHOWN_REASONS = 10
IDLE_MS = 20_000
NEAR = 1_000  # records that are read over rather than jumped over
READ = (
    "SELECT path, rule, rule_version, partition, kafka_offset, reason, coalesce(value_bytes, 0), recorded_at, "
    "substring(record_key FOR %(bytes)s), substring(record_value FOR %(bytes)s) FROM dead_letters letter "
    "WHERE (%(rule)s::text IS NULL OR rule = %(rule)s) AND (%(all)s OR NOT EXISTS (SELECT FROM active_rules active "
    "WHERE active.path = letter.path AND active.rule = letter.rule AND active.rule_version <> letter.rule_version)) "
    "ORDER BY path, rule, rule_version, partition, kafka_offset"
)


class Letter(msgspec.Struct, frozen=True):
    """One dead letter: where the record is, why it could not be read, its length and its first bytes."""

    path: str
    rule: str
    rule_version: str
    partition: int
    offset: int
    reason: str
    value_bytes: int
    recorded_at: datetime
    key: bytes | None
    value: bytes | None


def show(stack: Stack, *, rule: str | None, all_versions: bool, payload: bool, as_json: bool) -> None:
    """A line for each dead letter; the first bytes of key and value only with `payload`."""
    name = configured(rule).name if rule else None
    for letter in read(stack, name, all_versions=all_versions):
        values: dict[str, Any] = {
            "path": letter.path,
            "rule": letter.rule,
            "rule_version": letter.rule_version,
            "partition": letter.partition,
            "offset": letter.offset,
            "reason": letter.reason,
            "value_bytes": letter.value_bytes,
            "recorded_at": letter.recorded_at.isoformat(),
        }
        if payload:
            values |= {"key": _printable(letter.key), "value": _printable(letter.value)}
        if as_json:
            sys.stdout.write(f"{json.dumps(values)}\n")
            continue
        sys.stdout.write(
            f"{letter.path} {letter.rule} {letter.rule_version} {letter.partition}/{letter.offset}, "
            f"{letter.value_bytes} bytes: {letter.reason}\n"
        )
        if payload:
            sys.stdout.write(f"  key {values['key']} value {values['value']}\n")


def read(stack: Stack, rule: str | None, *, all_versions: bool = False) -> list[Letter]:
    """The dead letters of the active versions, or of all; in the order of the log."""
    parameters = {"rule": rule, "all": all_versions, "bytes": SHOWN_BYTES}
    try:
        dsn = stack.credentials.alerts_dsn(stack.settings, "twinpath_lab")
        with closing(psycopg2.connect(dsn, connect_timeout=5)) as session, session.cursor() as cursor:
            cursor.execute(READ, parameters)
            return [Letter(*row[:8], *(None if one is None else bytes(one) for one in row[8:])) for row in cursor]
    except psycopg2.OperationalError as error:
        raise ServiceFault(f"the alert store does not answer: {first_line(error)}. Run: twinpath up") from None


def redrive(stack: Stack, *, rule: str | None, as_json: bool) -> None:
    """Try each dead letter of the active versions again; a rule of which one can be read is judged anew."""
    for name in [configured(rule).name] if rule else RULES:
        letters = [letter for letter in read(stack, name) if letter.path == PATH]
        still = list(unreadable(stack.settings, letters))
        readable = len(letters) - len(still)
        version = None
        if readable:
            version = stack.rebuilder().rebuild(name, f"{readable} of {len(letters)} dead letters can be read now")
        if as_json:
            found = {"rule": name, "dead_letters": len(letters), "readable": readable, "judged_anew_as": version}
            places = [{"partition": one.partition, "offset": one.offset, "reason": why} for one, why in still]
            sys.stdout.write(f"{json.dumps(found | {'unreadable': places})}\n")
            continue
        _say(name, letters, still, version)


def _say(name: str, letters: Sequence[Letter], still: Sequence[tuple[Letter, str]], version: str | None) -> None:
    if not letters:
        sys.stdout.write(f"{name}: no dead letters, nothing to do\n")
        return
    readable = len(letters) - len(still)
    end = f"judged anew as version {version}; twinpath rules shows how far" if version else "nothing to do"
    sys.stdout.write(f"{name}: {len(letters)} dead letters, {readable} can be read now, {len(still)} cannot: {end}\n")
    for letter, reason in still[:SHOWN_REASONS]:
        sys.stdout.write(f"  {letter.partition}/{letter.offset}: {reason}\n")
    if len(still) > SHOWN_REASONS:
        sys.stdout.write(f"  and {len(still) - SHOWN_REASONS} more; --json names them all\n")


def unreadable(settings: Settings, letters: Iterable[Letter]) -> Iterator[tuple[Letter, str]]:
    """Those of the letters (in the order of the log) whose records still cannot be read, each with the reason."""
    decoder = EnvelopeDecoder(settings.envelope())
    for partition, ours in groupby(letters, lambda letter: letter.partition):
        with closing(open_consumer(settings, IDLE_MS)) as consumer:
            place = TopicPartition(settings.topic, partition)
            consumer.assign([place])
            stands = -NEAR
            for letter in ours:
                if not 0 <= letter.offset - stands < NEAR:
                    consumer.seek(place, letter.offset)
                record = next((one for one in consumer if one.offset >= letter.offset), None)
                if record is None or record.offset != letter.offset:
                    stands = -NEAR
                    yield letter, "the record is gone from the topic"
                    continue
                stands = letter.offset + 1
                try:
                    decoder.decode(record.key, record.value)
                except DecodeError as problem:
                    yield letter, str(problem)


def _printable(data: bytes | None) -> str:
    """Bytes as text that no terminal acts upon."""
    return "-" if data is None else data.decode(errors="replace").encode("unicode_escape").decode()
