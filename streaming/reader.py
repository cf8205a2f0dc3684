"""Records become changes; what is no change of our table is counted, what looks wrong is said."""

from collections import Counter
from typing import Any

from streaming.change_log import Record
from streaming.partition import Partition
from twinpath.detection.envelope import EnvelopeDecoder, key_columns
from twinpath.detection.model import Change, Skipped
from twinpath.errors import WrongKey


class Reader:
    """Decodes the records of one topic for one rule."""

    def __init__(self, decoder: EnvelopeDecoder, topic: str, key_column: str, logger: Any) -> None:
        self._decoder = decoder
        self._topic = topic
        self._key_column = key_column
        self._logger = logger
        self._alarms: Counter[str] = Counter()

    def changes(self, partition: Partition, record: Record, counts: Counter[str]) -> tuple[Change, ...]:
        """The changes of a record; none for one that is skipped. Raises DecodeError and WrongKey."""
        if not partition.key_was_checked:
            self._check_key(partition, record)
        decoded = self._decoder.decode(record.key, record.value, partition.incarnation(record.offset))
        if not isinstance(decoded, Skipped):
            return decoded
        counts["skipped"] += 1
        if decoded.alarm:
            self.alarm(f"skipped: {decoded.reason}", record)
        return ()

    def _check_key(self, partition: Partition, record: Record) -> None:
        """Refuse a topic that is keyed by another column than the rule's."""
        columns = key_columns(record.key)
        if self._key_column not in columns:
            raise WrongKey(
                f"topic {self._topic} is keyed by {sorted(columns)}, wanted {self._key_column}: rows of one user "
                "would lie in several partitions and alerts would be missed. Set message.key.columns="
                f"public.transactions:{self._key_column} in the connector, on a new topic"
            )
        partition.key_was_checked = True

    def alarm(self, reason: str, record: Record) -> None:
        """Warn at the first time of a reason and at each tenfold of it, so that a storm fills no disk."""
        self._alarms[reason] += 1
        times = self._alarms[reason]
        if str(times).rstrip("0") == "1":
            self._logger.warning(reason, partition=record.partition, offset=record.offset, times=times)
