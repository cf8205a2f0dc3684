"""State of one bucket of users between micro-batches, as one blob: what Spark's state store keeps for the query.

A blob is MessagePack of a format number, the next offset of each partition that was folded into the bucket, and for
each rule of the query its counts since the beginning of the log and its users, as twinpath.detection.buckets has them.
Because offsets and counts are in the blob, a micro-batch that runs again gives the same numbers, never twice as many.
"""

import msgspec

from twinpath.detection.buckets import BucketCodec
from twinpath.detection.detector import UserState, empty
from twinpath.detection.history import History
from twinpath.detection.rules import Rule
from twinpath.errors import ForeignCheckpoint

FORMAT = 1


class RuleBlob(msgspec.Struct, array_like=True):
    """What is kept for one rule of a bucket."""

    rule: str
    version: str
    counts: dict[str, int]
    users: bytes


class Blob(msgspec.Struct, array_like=True):
    """The whole of a bucket."""

    format: int
    next_offsets: dict[int, int]
    rules: list[RuleBlob]


class RuleUsers:
    """The users of one rule in one bucket: bytes, and objects for those that this micro-batch touches."""

    def __init__(self, rule: Rule, codec: BucketCodec, users: bytes | None) -> None:
        self._rule = rule
        self._codec = codec
        self._kept = {} if users is None else codec.split(users)
        self._live: dict[int, UserState[History]] = {}

    def of(self, user_id: int) -> UserState[History]:
        """The state of a user, to be changed in place."""
        state = self._live.get(user_id)
        if state is None:
            data = self._kept.get(user_id)
            state = empty(self._rule) if data is None else self._codec.decode_user(data)
            self._live[user_id] = state
        return state

    def join(self) -> tuple[bytes, int]:
        """All users as bytes, and how many they are."""
        for user_id, state in self._live.items():
            self._kept[user_id] = self._codec.encode_user(state)
        return self._codec.join(self._kept), len(self._kept)


class StreamCodec:
    """Blobs of one query <-> the parts that a fold works on."""

    def __init__(self, rules: tuple[Rule, ...]) -> None:
        self._rules = rules
        self._codecs = [BucketCodec(rule) for rule in rules]
        self._decoder = msgspec.msgpack.Decoder(Blob)
        self._encoder = msgspec.msgpack.Encoder()

    def open(self, blob: bytes | None) -> tuple[dict[int, int], list[tuple[dict[str, int], RuleUsers]]]:
        """Next offsets by partition, and counts and users for each rule in its order; None is a bucket never seen.

        Rules that the query no longer folds are left out. ForeignCheckpoint when one that it folds is not there:
        it would be judged with a history that has a hole.
        """
        found = self._read(blob)
        kept = {(one.rule, one.version): one for one in found.rules}
        opened = []
        for rule, codec in zip(self._rules, self._codecs, strict=True):
            one = kept.get((rule.name, rule.version))
            if one is None and blob is not None:
                raise ForeignCheckpoint(
                    f"state of a bucket holds {sorted(kept)}, wanted rule {rule.name} {rule.version} as well: it was "
                    "not folded here from the beginning of the log. Give it a checkpoint of its own"
                )
            counts = {} if one is None else one.counts
            opened.append((counts, RuleUsers(rule, codec, None if one is None else one.users)))
        return found.next_offsets, opened

    def close(
        self, next_offsets: dict[int, int], folded: list[tuple[dict[str, int], RuleUsers]]
    ) -> tuple[bytes, list[int]]:
        """The blob, and the number of users for each rule."""
        rules, users = [], []
        for rule, (counts, states) in zip(self._rules, folded, strict=True):
            data, known = states.join()
            rules.append(RuleBlob(rule.name, rule.version, counts, data))
            users.append(known)
        return self._encoder.encode(Blob(FORMAT, next_offsets, rules)), users

    def _read(self, blob: bytes | None) -> Blob:
        if blob is None:
            return Blob(FORMAT, {}, [])
        try:
            found = self._decoder.decode(blob)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ForeignCheckpoint(f"state of a bucket cannot be read: {error}") from None
        if found.format != FORMAT:
            raise ForeignCheckpoint(f"state of a bucket has format {found.format}, wanted {FORMAT}")
        return found
