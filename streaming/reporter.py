"""What can be seen of an agent from outside: its lag, its unsaved state, and why it hears nothing."""

import time
from collections.abc import Mapping
from typing import Any

from streaming.change_log import ChangeLog
from streaming.hops import why_nothing_arrives
from streaming.metrics import Metrics
from streaming.partition import Partition, offsets_of
from twinpath.settings import Settings

EVERY_S = 0.5


class Reporter:
    """Sets the gauges, and warns when nothing arrived for a while."""

    def __init__(self, log: ChangeLog, rule: str, settings: Settings, metrics: Metrics, logger: Any) -> None:
        self._log = log
        self._rule = rule
        self._settings = settings
        self._metrics = metrics
        self._logger = logger
        self._heard = time.monotonic()
        self._warned = self._heard
        self._reported = 0.0

    def heard(self) -> None:
        """Records arrived now."""
        self._heard = time.monotonic()

    def idle_s(self) -> float:
        """Seconds since records last arrived."""
        return time.monotonic() - self._heard

    def report(self, partitions: Mapping[int, Partition]) -> None:
        """The loop turned: set the gauges, twice a second at the most."""
        now = time.monotonic()
        self._metrics.turned()
        if now - self._reported < EVERY_S:
            return
        self._reported = now
        ends = {number: self._log.known_end(number) for number in partitions}
        lag = sum(max(0, end - partitions[number].next_offset) for number, end in ends.items() if end is not None)
        self._metrics.position(lag, [one.age_s() for one in partitions.values() if one.moved])
        self._metrics.partitions.set(len(partitions))
        self._metrics.users.set(sum(one.states.users for one in partitions.values()))
        self._metrics.live_users.set(sum(one.states.live for one in partitions.values()))
        if now - max(self._heard, self._warned) >= self._settings.idle_warning_s:
            self._warned = now
            self._warn(offsets_of(partitions), ends)

    def _warn(self, offsets: Mapping[int, int], ends: Mapping[int, int | None]) -> None:
        self._logger.warning(
            "no records",
            seconds=round(self.idle_s()),
            topic=self._settings.topic,
            group=self._settings.group(self._rule),
            offsets=offsets,
            ends=ends,
            reason=why_nothing_arrives(self._settings, offsets, ends),
        )
