"""Membership of a consumer group on kafka-python 3.0.12: hand-over of partitions, and two states that it hides.

Everything that looks into the client's private attributes is here.
"""

import threading
from collections.abc import Callable, Iterable

from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.subscription_state import AsyncConsumerRebalanceListener
from kafka.errors import FencedInstanceIdError
from kafka.future import Future

Told = Callable[[Iterable[TopicPartition]], None]


class Handover(AsyncConsumerRebalanceListener):  # type: ignore[misc]
    """Called on kafka-python's own thread, which also sends the heartbeats: what takes time runs beside it.

    The agent's thread waits in `poll` or `close` meanwhile, so that its objects are used by one at a time.
    """

    def __init__(self, consumer: KafkaConsumer, given: Told, taken: Told) -> None:
        self._loop = consumer._net
        self._given = given
        self._taken = taken

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """The whole of what we have now."""
        self._given(assigned)

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """The whole of what we had; nobody else is given it before this returns."""
        if not revoked:
            return
        done = Future()

        def take() -> None:
            self._taken(revoked)
            self._loop.call_soon_threadsafe(lambda: done.success(None))

        threading.Thread(target=take, name="revoked").start()
        await done


def mind_the_membership(consumer: KafkaConsumer) -> None:
    """Leave two states that the client does not leave by itself, and does not speak of.

    It drops the answer to a join that a change of metadata led to and that was under way when a poll ended;
    it then neither reads nor sends heartbeats: join once more. And it goes on reading without heartbeats
    when another process has taken its name: raises FencedInstanceIdError.
    """
    coordinator = consumer._coordinator
    if coordinator.need_rejoin():
        return
    join = coordinator._join_task
    if join is not None and join.is_done:
        coordinator.request_rejoin()
    elif coordinator.stable() and not coordinator._heartbeat_enabled:
        raise FencedInstanceIdError
