"""Has the line recovered? When what is committed now reaches the topic within a second, and every agent with it."""

import time

import httpx
from confluent_kafka import Consumer, KafkaException, TopicPartition

from lab.drills.line import Line
from lab.scrape import scrape
from lab.stack import process
from twinpath.detection.envelope import EnvelopeDecoder
from twinpath.detection.model import Skipped
from twinpath.errors import DecodeError, ServiceFault

FRESH_S = 1.0
EVERY_S = 0.2
CALL_TIMEOUT_S = 2.0


class Freshness:
    """Looks at one line from outside; of one thread. The writers have to go on meanwhile."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._decoder = EnvelopeDecoder(line.settings.envelope())
        self._last: dict[str, tuple[float, float | None]] = {}  # rule: newest stamp of a record; when it changed, by us
        servers = line.settings.kafka_bootstrap_servers
        self._consumer = Consumer({"bootstrap.servers": servers, "group.id": "twinpath-freshness", "log_level": 0})

    def close(self) -> None:
        """End the session."""
        self._consumer.close()

    def wait(self, since_s: float, timeout_s: float) -> None:
        """Wait until the line is fresh, with something in it that was committed after `since_s` (1970 = 0)."""
        deadline = time.monotonic() + timeout_s
        while (stale := self.stale(since_s)) is not None:
            if time.monotonic() > deadline:
                raise ServiceFault(f"the line has not recovered after {timeout_s:.0f} s: {stale}")
            time.sleep(EVERY_S)

    def stale(self, since_s: float) -> str | None:
        """What is behind, None when nothing is."""
        for rule in self._line.rules:
            behind = self._agent_behind(rule.name)
            if behind is not None:
                return f"agent {rule.name}: {behind}"
        newest_s = self.newest_commit_s()
        if newest_s is None or newest_s < max(since_s, time.time() - FRESH_S):
            age = "unknown" if newest_s is None else f"{time.time() - newest_s:.1f} s old"
            return f"the newest commit in the topic is {age}"
        return None

    def _agent_behind(self, rule: str) -> str | None:
        found = figures(self._line, rule)
        settings = self._line.settings
        if found is None:
            name, home = self._line.agents.name(rule), self._line.stack.home
            return (
                "does not answer" if self._line.agents.running(rule) else f"is not running; {process.tail(home, name)}"
            )
        if found["partitions"] != settings.topic_partitions:
            return f"owns {found['partitions']:.0f} of {settings.topic_partitions} partitions"
        if found["lag_records"] > settings.rate * FRESH_S:
            return f"{found['lag_records']:.0f} records behind"
        return self._silent(rule, found["last_record_timestamp_seconds"])

    def _silent(self, rule: str, stamp: float) -> str | None:
        """That an agent reads nothing, by our clock: its own may be wrong."""
        now = time.monotonic()
        former, changed = self._last.get(rule, (None, None))
        if stamp != former:
            changed = None if former is None else now
            self._last[rule] = (stamp, changed)
        if changed is None:
            return "read nothing since the first look"
        return f"read nothing for {now - changed:.1f} s" if now - changed > FRESH_S else None

    def records(self) -> int:
        """Records in the topic; 0 when that cannot be seen."""
        settings = self._line.settings
        places = [TopicPartition(settings.topic, number) for number in range(settings.topic_partitions)]
        try:
            return sum(self._consumer.get_watermark_offsets(one, timeout=CALL_TIMEOUT_S)[1] for one in places)
        except KafkaException:
            return 0

    def newest_commit_s(self) -> float | None:
        """Commit time of the newest change in the topic, in seconds since 1970; None when that cannot be seen."""
        settings = self._line.settings
        try:
            last = []
            for number in range(settings.topic_partitions):
                low, high = self._consumer.get_watermark_offsets(
                    TopicPartition(settings.topic, number), timeout=CALL_TIMEOUT_S
                )
                if high > low:
                    last.append(TopicPartition(settings.topic, number, high - 1))
            self._consumer.assign(last)
            stamps = []
            for message in self._consumer.consume(len(last), CALL_TIMEOUT_S):
                decoded = self._decoder.decode(message.key(), message.value()) if message.error() is None else ()
                if not isinstance(decoded, Skipped):
                    stamps += [one.committed_us for one in decoded if one.committed_us is not None]
        except (KafkaException, DecodeError):
            return None
        return max(stamps, default=0) / 1_000_000 if stamps else None


def figures(line: Line, rule: str) -> dict[str, float] | None:
    """An agent's own figures by their short names; None when it does not answer or has none yet."""
    try:
        found = scrape(f"{line.agents.url(rule)}/metrics", CALL_TIMEOUT_S)
    except httpx.HTTPError:
        return None
    ours = "twinpath_agent_"
    return {name.removeprefix(ours): value for name, value in found.items() if name.startswith(ours)}
