"""Where a transaction stands in the topic: every change of one row, with the stamps of the hops up to the broker."""

from collections.abc import Iterator
from contextlib import closing

import msgspec
from kafka.errors import KafkaError

from lab.watch_changes import open_topic
from twinpath.detection.envelope import EnvelopeDecoder
from twinpath.detection.model import Change, Skipped
from twinpath.errors import ChangeLogUnavailable, DecodeError
from twinpath.settings import Settings

POLL_MS = 1_000


class Passage(msgspec.Struct, frozen=True):
    """One change of the row as a record of the topic; `appended_us` is by the broker's clock, of whole milliseconds."""

    change: Change
    partition: int
    offset: int
    appended_us: int


def passages(settings: Settings, tx_id: int, from_ms: int | None) -> list[Passage]:
    """Changes of a row in the order of the log, among records appended at `from_ms` or later; None: all records.

    A row whose user was changed lies in two partitions. Nothing is joined or committed: looking changes nothing.
    """
    try:
        found = list(_read(settings, tx_id, from_ms))
    except KafkaError as error:
        raise ChangeLogUnavailable(
            f"Kafka at {settings.kafka_bootstrap_servers}: {type(error).__name__}. Run: twinpath doctor"
        ) from None
    return sorted(found, key=lambda one: (one.change.position, one.partition, one.offset))


def _read(settings: Settings, tx_id: int, from_ms: int | None) -> Iterator[Passage]:
    decoder = EnvelopeDecoder(settings.envelope())
    needle = str(tx_id).encode()  # most records are of other rows, and need no decoding to tell
    with closing(open_topic(settings)) as consumer:
        partitions = consumer.assignment()
        ends = consumer.end_offsets(partitions)
        begins = consumer.beginning_offsets(partitions)
        if from_ms is not None:
            later = consumer.offsets_for_times(dict.fromkeys(partitions, from_ms))
            begins = {one: ends[one] if later.get(one) is None else later[one].offset for one in partitions}
        for one, offset in begins.items():
            consumer.seek(one, offset)
        left = {one for one in partitions if begins[one] < ends[one]}
        while left:
            for records in consumer.poll(POLL_MS).values():
                for record in records:
                    if record.value is None or needle not in record.value:
                        continue
                    try:
                        decoded = decoder.decode(record.key, record.value)
                    except DecodeError:
                        continue  # a dead letter has no row
                    changes = () if isinstance(decoded, Skipped) else decoded
                    for change in changes:
                        if change.tx_id == tx_id:
                            yield Passage(change, record.partition, record.offset, record.timestamp * 1000)
            left = {one for one in left if consumer.position(one) < ends[one]}
