"""State of a bucket of users <-> bytes: one codec for agents, Spark stream and Spark batch.

A bucket holds the users with the same `user_id mod B`. Its bytes are MessagePack of a format number
and (user_id, state) pairs in order of user_id, so that equal states give equal bytes.
"""

from collections.abc import Mapping

import msgspec

from twinpath.detection.detector import UserState
from twinpath.detection.history import History
from twinpath.detection.rules import Rule
from twinpath.errors import ForeignCheckpoint

FORMAT = 1


def bucket_of(user_id: int, buckets: int) -> int:
    """Floor modulo: 0 <= bucket < buckets also for negative users (the JVM's % differs)."""
    return user_id % buckets


class BucketCodec:
    """Encodes and decodes the states of one rule."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        state_type = UserState[rule.logic.State]  # type: ignore[name-defined]
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(tuple[int, list[tuple[int, state_type]]])

    def encode(self, states: Mapping[int, UserState[History]]) -> bytes:
        """Bytes of the given users' states."""
        return self._encoder.encode((FORMAT, sorted(states.items(), key=lambda item: item[0])))

    def decode(self, data: bytes) -> dict[int, UserState[History]]:
        """States by user_id; raises ForeignCheckpoint for bytes of another format or rule."""
        try:
            number, states = self._decoder.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:  # msgspec leaves bad UTF-8 to Python
            raise ForeignCheckpoint(
                f"state of rule {self._rule.name} version {self._rule.version}: {error}; "
                f"wanted format {FORMAT}. Use the code that wrote it, or start a new rule version"
            ) from None
        if number != FORMAT:
            raise ForeignCheckpoint(f"state of rule {self._rule.name} has format {number}, wanted {FORMAT}")
        return dict(states)
