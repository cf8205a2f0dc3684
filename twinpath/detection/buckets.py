"""State of a bucket of users <-> bytes: one codec for agents, Spark stream and Spark batch.

A bucket holds the users with the same `user_id mod B`. Its bytes are MessagePack of a format number
and (user_id, state) pairs in order of user_id, so that equal states give equal bytes. The bytes of one
user can be taken out and put in without reading them, so that most users can stay bytes.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from twinpath.detection.detector import UserState
from twinpath.detection.history import History, packed, unpacked
from twinpath.detection.rules import Rule
from twinpath.errors import ForeignCheckpoint

FORMAT = 2


def bucket_of(user_id: int, buckets: int) -> int:
    """Floor modulo: 0 <= bucket < buckets also for negative users (the JVM's % differs)."""
    return user_id % buckets


class BucketCodec:
    """Encodes and decodes the states of one rule."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        state_type = UserState[rule.logic.State]  # type: ignore[name-defined]
        self._encoder = msgspec.msgpack.Encoder(enc_hook=packed)
        self._state = msgspec.msgpack.Decoder(state_type, dec_hook=unpacked)
        self._bucket: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(tuple[int, list[tuple[int, msgspec.Raw]]])

    def encode(self, states: Mapping[int, UserState[History]]) -> bytes:
        """Bytes of the given users' states."""
        return self.join({user: self.encode_user(state) for user, state in states.items()})

    def decode(self, data: bytes) -> dict[int, UserState[History]]:
        """States by user_id; raises ForeignCheckpoint for bytes of another format or rule."""
        return {user: self.decode_user(state) for user, state in self.split(data).items()}

    def encode_user(self, state: UserState[History]) -> bytes:
        """Bytes of one user's state."""
        return self._encoder.encode(state)

    def decode_user(self, data: bytes) -> UserState[History]:
        """One user's state; raises ForeignCheckpoint for bytes of another rule."""
        try:
            state: UserState[History] = self._state.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:  # msgspec leaves bad UTF-8 to Python
            raise self._foreign(str(error)) from None
        history = state.history
        if len(history.cells) % history.WIDTH or not 0 <= history.taught <= history.count:
            raise self._foreign(f"found {len(history.cells)} integers, {history.taught} taught entries")
        return state

    def join(self, users: Mapping[int, bytes]) -> bytes:
        """A bucket of users that are bytes already."""
        pairs = [(user, msgspec.Raw(users[user])) for user in sorted(users)]
        return self._encoder.encode((FORMAT, pairs))

    def split(self, data: bytes) -> dict[int, bytes]:
        """Users of a bucket, still as bytes; raises ForeignCheckpoint for another format."""
        try:
            number, pairs = self._bucket.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self._foreign(str(error)) from None
        if number != FORMAT:
            raise self._foreign(f"found format {number}")
        return {user: bytes(state) for user, state in pairs}

    def merge(self, parts: Iterable[bytes]) -> dict[int, bytes]:
        """Users of a bucket that is kept in parts: what stands in a later one is newer."""
        users: dict[int, bytes] = {}
        for part in parts:
            users.update(self.split(part))
        return users

    def _foreign(self, found: str) -> ForeignCheckpoint:
        return ForeignCheckpoint(
            f"state of rule {self._rule.name} version {self._rule.version}: {found}; wanted format {FORMAT}. "
            "Use the code that wrote it, or start a new rule version"
        )
