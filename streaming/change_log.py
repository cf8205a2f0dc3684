"""The change log as an agent reads it: Kafka behind one small interface, with a choice of two clients.

Never auto-commit, never `latest`: an offset outside of the log is a GapError, because going on would
skip changes. Partitions that the group hands over are not read before `assign` names their offsets.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from twinpath.errors import ConfigurationError

CALL_TIMEOUT_S = 10.0
MAX_RECORDS = 5_000  # of one poll


class Record(NamedTuple):
    """One record of the topic; `appended_us` is its time stamp, microseconds since 1970 UTC."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    appended_us: int


class Place(NamedTuple):
    """Where a member reads: brokers, topic, group, its own lasting name in the group (or none), and how it gets in."""

    servers: str
    topic: str
    group: str
    instance: str = ""
    access: Mapping[str, Any] = MappingProxyType({})  # further options of the client, passwords among them


class ChangeLog(Protocol):
    """One member of a consumer group on one topic; used by one thread.

    Trouble that passes is passed over by `poll` (it returns what there is, perhaps nothing) and is a
    ChangeLogUnavailable everywhere else. What cannot be mended by waiting is a ServiceFault.
    """

    def describe(self) -> tuple[str, int]:
        """The topic's id (URL-safe base64, as Kafka prints it) and its number of partitions.

        Raises ConfigurationError when there is no such topic; reading one never creates it.
        """
        ...

    def subscribe(self, assigned: Callable[[list[int]], None], revoked: Callable[[list[int]], None]) -> None:
        """Join the group. Both callbacks run while the caller waits in `poll`, `rejoin` or `close`.

        `assigned` is told all partitions that this member has from now on, and only takes note of them.
        `revoked` is told what it had, before anyone else is given it, so that a checkpoint can be saved;
        when the group had already given up on us it is called all the same. What they raise is raised
        by the call that the caller waits in.
        """
        ...

    def rejoin(self) -> None:
        """Leave the group and join it again: every partition is handed out anew."""
        ...

    def assign(self, offsets: Mapping[int, int]) -> None:
        """Read these partitions from these offsets (partition -> next offset), and no others."""
        ...

    def poll(self, timeout_s: float) -> list[Record]:
        """Records that are there, in the order of the log within a partition, at the latest after `timeout_s`.

        The first record is not held back until others come. Aborted transactions are never delivered.
        Raises GapError when a position is not in the log, or the topic is gone.
        """
        ...

    def pause(self) -> None:
        """Fetch nothing; as long as `poll` is called, the group keeps this member."""
        ...

    def resume(self) -> None:
        """Fetch again."""
        ...

    def bounds(self, partition: int) -> tuple[int, int]:
        """The first offset of a partition, and the one after its last; asks the broker."""
        ...

    def known_end(self, partition: int) -> int | None:
        """The end offset as of the last fetch, without asking the broker; None while unknown."""
        ...

    def commit(self, offsets: Mapping[int, int]) -> None:
        """Tell Kafka how far the checkpoints are, for lag tools only; never waited upon."""
        ...

    def close(self) -> None:
        """End the membership; `revoked` is called first when partitions are owned.

        A member without a name leaves its group at once. One with a name stays until its session ends, so
        that it finds its partitions again when it is back by then.
        """
        ...


def fenced(place: Place) -> ConfigurationError:
    """What a member is told whose name in the group another process has taken."""
    return ConfigurationError(
        f"another member of group {place.group} has taken the name {place.instance}: two processes run with "
        f"GROUP_INSTANCE={place.instance}, wanted one. This one ends; give each process a name of its own"
    )
