"""A topic in memory, its consumer group, and one member's view of it: the change log as an agent reads it.

The group is the eager one of Kafka: while it rebalances, everybody hands back what they hold, and only
when all have done so (or were expelled) is everything handed out anew. Callbacks are served by `poll`
and by `close`, as the real clients do; what was fetched before an expulsion may still be handed over.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from streaming.change_log import Record
from streaming.simulation.source import Sent
from twinpath.errors import ChangeLogUnavailable

TOPIC_ID = "simulated"


class Gate(Protocol):
    """Called at the begin and at the end of every call of an agent: here it is crashed, or others have their turn.

    True asks the call to fail, before it did anything or after it did everything.
    """

    def __call__(self, call: str) -> bool:
        """`call` names what is being called."""


class Topic:
    """Partitions of records; `told` keeps, beside each record, what the connector meant by it."""

    def __init__(self, partitions: int) -> None:
        self.records: list[list[Record]] = [[] for _ in range(partitions)]
        self.told: list[list[Sent]] = [[] for _ in range(partitions)]

    def partition_of(self, sent: Sent) -> int:
        """The partition of a key."""
        return (sent.user_id * 7 + sent.user_id // 3) % len(self.records)

    def append(self, sent: Sent, now_us: int) -> None:
        """Write one record at the end of its partition."""
        number = self.partition_of(sent)
        records = self.records[number]
        records.append(Record(number, len(records), sent.key, sent.value, now_us))
        self.told[number].append(sent)

    def ends(self) -> dict[int, int]:
        """The offset after the last record, by partition."""
        return {number: len(records) for number, records in enumerate(self.records)}


class Group:
    """A consumer group on the topic."""

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self.members: list[MemberLog] = []
        self.rebalancing = False

    def join(self, member: "MemberLog") -> None:
        """A member that holds nothing asks for partitions."""
        self.members.append(member)
        member.ready = True
        self.rebalancing = True

    def leave(self, member: "MemberLog") -> None:
        """A member goes, by itself or because it was not heard of for a session timeout."""
        if member in self.members:
            self.members.remove(member)
            self.rebalancing = True

    def committed(self, offsets: Mapping[int, int]) -> None:
        """Nobody looks at what Kafka is told."""

    def settle(self) -> None:
        """Hand out the partitions once every member has handed back its own."""
        if not self.rebalancing or not all(member.ready for member in self.members):
            return
        self.rebalancing = False
        partitions, count = len(self.topic.records), len(self.members)
        first = 0
        for index, member in enumerate(self.members):
            share = partitions // count + (index < partitions % count)
            member.pending = list(range(first, first + share))
            member.ready = False
            first += share


class MemberLog:
    """One member of the group: what `streaming.agent.Agent` asks of a change log."""

    def __init__(self, group: Group, gate: Gate, chance: random.Random, advance: Callable[[float], None]) -> None:
        self._group = group
        self._topic = group.topic
        self._gate = gate
        self._chance = chance
        self._advance = advance
        self._assigned: Callable[[list[int]], None] = _nobody
        self._revoked: Callable[[list[int]], None] = _nobody
        self._subscribed = False
        self._held: list[int] | None = None
        self._offsets: dict[int, int] = {}
        self._paused: set[int] = set()
        self._fetched: list[Record] = []
        self.pending: list[int] | None = None
        self.ready = False

    def describe(self) -> tuple[str, int]:
        """The topic's id and its number of partitions."""
        if self._gate("log.describe"):
            raise ChangeLogUnavailable("the simulated Kafka did not answer")
        return TOPIC_ID, len(self._topic.records)

    def subscribe(self, assigned: Callable[[list[int]], None], revoked: Callable[[list[int]], None]) -> None:
        """Join the group."""
        self._gate("log.subscribe")
        self._assigned, self._revoked = assigned, revoked
        self._subscribed = True
        self._group.join(self)

    def rejoin(self) -> None:
        """Leave the group; the next poll hands back what is held, and joins again."""
        self._gate("log.rejoin")
        self._group.leave(self)

    def assign(self, offsets: Mapping[int, int]) -> None:
        """Read these partitions from these offsets, and no others."""
        self._gate("log.assign")
        self._offsets = dict(offsets)
        self._fetched = []

    def pause(self) -> None:
        """Fetch nothing from what is assigned; what was fetched already may still be handed over."""
        self._gate("log.pause")
        if self._chance.random() < 0.5:
            self._fetched += self._fetch()
        self._paused |= self._offsets.keys()

    def resume(self) -> None:
        """Fetch again."""
        self._gate("log.resume")
        self._paused -= self._offsets.keys()

    def bounds(self, partition: int) -> tuple[int, int]:
        """The first offset of a partition, and the one after its last."""
        if self._gate("log.bounds"):
            raise ChangeLogUnavailable("the simulated Kafka did not answer")
        return 0, len(self._topic.records[partition])

    def known_end(self, partition: int) -> int | None:
        """The end offset."""
        return len(self._topic.records[partition])

    def commit(self, offsets: Mapping[int, int]) -> None:
        """For lag tools only."""
        self._gate("log.commit")
        self._group.committed(offsets)

    def close(self) -> None:
        """Hand back what is held, and leave."""
        self._gate("log.close")
        self._hand_back()
        self._group.leave(self)

    def poll(self, timeout_s: float) -> list[Record]:
        """Serve the group, or hand over some records; time passes when there is nothing."""
        self._gate("log.poll")
        if self._chance.random() < 0.8 and self._serve():
            return []
        records = [*self._take_fetched(), *self._fetch()]
        if not records:
            self._advance(timeout_s)
        return records

    # what the client does behind these calls

    def _serve(self) -> bool:
        """Callbacks that are due; True when there were any."""
        if not self._subscribed:
            return False
        if self not in self._group.members:
            self._hand_back()
            self.pending = None
            self._group.join(self)
        elif self._group.rebalancing and not self.ready:
            self._hand_back()
            self.pending = None
            self.ready = True
        else:
            return self._take_over()
        self._group.settle()
        return True

    def _hand_back(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            self._revoked(held)
        self._offsets, self._fetched = {}, []

    def _take_over(self) -> bool:
        self._group.settle()
        pending, self.pending = self.pending, None
        if pending is None:
            return False
        self._offsets, self._fetched = {}, []
        self._held = pending
        self._assigned(list(pending))
        return True

    def _take_fetched(self) -> list[Record]:
        fetched, self._fetched = self._fetched, []
        return fetched

    def _fetch(self) -> list[Record]:
        left = self._chance.randint(1, 12)
        fetched: list[Record] = []
        numbers = sorted(self._offsets.keys() - self._paused)
        self._chance.shuffle(numbers)
        for number in numbers:
            offset = self._offsets[number]
            records = self._topic.records[number][offset : offset + self._chance.randint(0, left)]
            self._offsets[number] += len(records)
            left -= len(records)
            fetched += records
        return fetched


def _nobody(partitions: Sequence[int]) -> None:
    """No callback yet."""
