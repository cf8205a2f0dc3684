"""Records written into a topic by a test, in the form in which Debezium writes them."""

import json
from typing import Any

from confluent_kafka import Producer

from twinpath.settings import Settings

OURS = "the database of the test"


def envelope(
    op: str, lsn: int, *, before: dict[str, Any] | None = None, after: dict[str, Any] | None = None, **top: Any
) -> bytes:
    """A value as the connector writes it, at position (lsn, lsn)."""
    source = {
        "db": OURS,
        "schema": "public",
        "table": "transactions",
        "sequence": json.dumps([str(lsn), str(lsn)]),
        "txId": 700 + lsn,
        "lsn": lsn,
        "ts_us": 1_795_413_600_000_000 + lsn,
        "snapshot": None,
    }
    value = {"before": before, "after": after, "source": source, "op": op, "ts_us": 1_795_413_600_001_000 + lsn}
    return json.dumps(value | top, separators=(",", ":")).encode()


def row(tx_id: int, user_id: int, amount: str, created_at: str = "2026-11-23T06:00:00Z") -> dict[str, Any]:
    """A row as it stands in an envelope."""
    return {
        "id": tx_id,
        "user_id": user_id,
        "amount": amount,
        "card_type": "visa",
        "merchant_id": 1,
        "created_at": created_at,
    }


def key(user_id: int) -> bytes:
    """A record key."""
    return json.dumps({"user_id": user_id}, separators=(",", ":")).encode()


def publish(
    settings: Settings, records: list[tuple[bytes | None, bytes | None]], partition: int = 0, **config: Any
) -> None:
    """Write (key, value) records to one partition of the topic, in order."""
    idempotent = {"enable.idempotence": True}  # a fresh topic's leader may refuse at first: keep the order
    producer = Producer({"bootstrap.servers": settings.kafka_bootstrap_servers, **idempotent, **config})
    for record_key, value in records:
        ours = None if value is None else value.replace(OURS.encode(), settings.source_database.encode())
        producer.produce(settings.topic, key=record_key, value=ours, partition=partition)
    assert producer.flush(30) == 0


def usual_payments(user_id: int, first_id: int, amounts: list[str]) -> list[tuple[bytes, bytes]]:
    """Inserts of one user, ids and positions counting up."""
    return [
        (key(user_id), envelope("c", number, after=row(number, user_id, amount)))
        for number, amount in enumerate(amounts, first_id)
    ]
