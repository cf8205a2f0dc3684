"""F25: records that nobody can read, among live ones."""

import json
from collections.abc import Callable
from contextlib import closing
from typing import Any

from confluent_kafka import Producer

from lab.drills.faults import Struck, at_work, back
from lab.drills.matrix.scene import Scene
from lab.measure import fence
from lab.topic import one_record
from twinpath.errors import ServiceFault

STORM = 200  # records of one blow
ROWS_AFTERWARDS = 600
FLUSH_S = 30.0
LETTERS = (
    "SELECT rule, count(*), count(DISTINCT (partition, kafka_offset)), count(*) FILTER (WHERE reason = '') "
    "FROM dead_letters GROUP BY rule ORDER BY rule"
)
Envelope = dict[str, Any]


def _after(column: str, value: object) -> Callable[[Envelope], Envelope]:
    return lambda record: record | {"after": record["after"] | {column: value}}


def _top(field: str, value: object) -> Callable[[Envelope], Envelope]:
    return lambda record: record | {field: value}


SPOILT: tuple[Callable[[Envelope], Envelope], ...] = (
    _top("op", "x"),
    _top("op", 1),
    _top("after", None),
    _top("source", None),
    lambda record: {name: value for name, value in record.items() if name != "op"},
    lambda _: {"schema": {}},
    *(_after("amount", value) for value in ("NaN", "Infinity", "12,34", "12.345", "", None, True, [1], "9" * 400)),
    *(_after("user_id", value) for value in (None, "12", 2**63)),
    *(_after("id", value) for value in (None, "7")),
    *(_after("created_at", value) for value in (None, "yesterday", 9_223_372_036_825_200_000)),
)


def spoilt(value: bytes) -> list[bytes]:
    """What a record's value becomes, each way of spoiling it once."""
    record = json.loads(value)
    whole = [json.dumps(spoil(record)).encode() for spoil in SPOILT]
    deep = b'{"op":' * 5_000 + b"1" + b"}" * 5_000
    return [*whole, b"", b"\xff\xfe\x00", value[: len(value) // 2], b"[1, 2]", b"7", b'"text"', deep]


def unreadable_records(scene: Scene) -> None:
    """F25: each becomes one dead letter of each agent, and nothing else changes."""
    for _ in range(scene.rounds):
        scene.blow(lambda: _storm(scene))
    wanted = scene.faults.traces.unreadable
    try:
        found = at_work(lambda: _letters(scene, wanted), "every unreadable record is a dead letter")
    except ServiceFault as problem:
        found = str(problem)
    held = found == [(rule, wanted, wanted, 0) for rule in sorted(scene.rules)]
    scene.check("I11", f"{wanted} dead letters of each agent, with place and reason", held, str(found))


def _storm(scene: Scene) -> Struck:
    settings = scene.line.settings
    scene.faults.wait_until_delivering()
    struck = scene.faults.begun("unreadable records")
    key, value = one_record(settings, fence.end_offsets(settings))
    bad = spoilt(value)
    producer = Producer({"bootstrap.servers": settings.kafka_bootstrap_servers, "enable.idempotence": True})
    for number in range(STORM):
        partition = scene.rng.randrange(settings.topic_partitions)
        producer.produce(settings.topic, key=key, value=bad[number % len(bad)], partition=partition)
    left = producer.flush(FLUSH_S)
    scene.faults.traces.unreadable += STORM
    scene.pass_rows(ROWS_AFTERWARDS)
    struck.acted = left == 0
    struck.evidence = f"{STORM} records in {len(bad)} shapes, {left} of them undelivered"
    return back(struck)


def _letters(scene: Scene, wanted: int) -> list[tuple[Any, ...]] | None:
    """Dead letters by rule, when there are as many as wanted."""
    with closing(scene.line.alerts()) as session, session.cursor() as cursor:
        cursor.execute(LETTERS)
        found = cursor.fetchall()
    return found if [row[1] for row in found] == [wanted] * len(scene.rules) else None
