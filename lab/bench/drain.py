"""Real agent processes on a topic that is full: how fast they come to its end, and what that costs."""

import re
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import msgspec
import psutil

from lab.bench.bed import Segment
from lab.bench.cpu import own
from lab.bench.result import Figure
from lab.scrape import Metrics, scrape
from lab.stack import process
from twinpath.errors import ServiceFault

EVERY_S = 0.2  # a look at /metrics costs the agent about 2 ms
START_S = 60.0
TIMEOUT_S = 300.0
STALL = "twinpath_agent_checkpoint_stall_seconds"
STALL_LIMIT_S = "0.005"


class Look(msgspec.Struct):
    """What was seen of all agents together at one moment."""

    at: float
    records: float
    cpu_s: float
    partitions: list[float]


class Running:
    """Some agents of one rule on one segment."""

    def __init__(self, segment: Segment, rule: str, count: int) -> None:
        self._home = segment.stack.home
        self._agents = segment.agents
        self._rule = rule
        self._instances = range(1, count + 1)

    def start(self) -> None:
        """Start them all at once, and wait until each answers."""
        for one in self._instances:
            self._agents.start(self._rule, instance=one)
        for one in self._instances:
            port = self._agents.port(self._rule, one)
            name = self._agents.name(self._rule, one)
            process.wait_until(self._home, name, partial(process.listens, port), START_S)

    def wait(self) -> None:
        """Wait until each owns partitions."""
        for one in self._instances:
            self._agents.wait(self._rule, one)

    def processes(self) -> list[psutil.Process]:
        """Their processes; ServiceFault with the end of its log when one has ended."""
        names = [self._agents.name(self._rule, one) for one in self._instances]
        found = [process.running(self._home, name) for name in names]
        for name, running in zip(names, found, strict=True):
            if running is None:
                raise ServiceFault(f"{name} has ended; {process.tail(self._home, name)}")
        return [running for running in found if running is not None]

    def metrics(self) -> list[Metrics]:
        """/metrics of each: name with labels but without the rule -> value."""
        return [scrape(f"{self._agents.url(self._rule, one)}/metrics") for one in self._instances]

    def look(self) -> Look:
        """One look at all of them."""
        found = self.metrics()
        return Look(
            at=time.monotonic(),
            records=sum(one.get("twinpath_agent_records_total", 0) for one in found),
            cpu_s=sum(own(one) for one in self.processes()),
            partitions=[one.get("twinpath_agent_partitions", 0) for one in found],
        )

    def drain(self, events: int, skip: int) -> list[Look]:
        """Look until they have folded `events`; ServiceFault when that takes too long."""
        looks: list[Look] = []
        deadline = time.monotonic() + TIMEOUT_S
        while not looks or looks[-1].records < events:
            looks.append(self.look())
            if looks[-1].at > deadline:
                raise ServiceFault(
                    f"the agents stand at {looks[-1].records:.0f} of {events} records after {TIMEOUT_S:.0f} s"
                )
            time.sleep(EVERY_S)
        return counted(looks, skip)

    def stop(self) -> None:
        """SIGTERM: each writes a last checkpoint."""
        for one in self._instances:
            self._agents.stop(self._rule, one)


def counted(looks: Sequence[Look], skip: int) -> list[Look]:
    """The looks that count: after `skip` records, and when each agent owns as many partitions as the others.

    A drain that is over sooner counts whole, joining the group included: too low rather than too high.
    """
    last = looks[-1]
    for number, one in enumerate(looks[:-1]):
        if one.records >= skip and one.partitions[0] > 0 and len(set(one.partitions)) == 1:
            return [*looks[number:-1], last]
    before = [one for one in looks if one.records == 0] or looks[:1]
    return [before[-1], last]


def rates(looks: Sequence[Look]) -> dict[str, Figure]:
    """Events per second of clock and of CPU, between the first and the last look."""
    first, last = looks[0], looks[-1]
    events, wall_s, cpu_s = last.records - first.records, last.at - first.at, last.cpu_s - first.cpu_s
    if events <= 0 or wall_s <= 0 or cpu_s <= 0:
        return {"events": events, "events_per_s": None, "events_per_cpu_s": None, "cpu_us_per_event": None}
    return {
        "events": events,
        "events_per_s": round(events / wall_s),
        "events_per_cpu_s": round(events / cpu_s),
        "cpu_us_per_event": round(cpu_s * 1e6 / events, 3),
    }


def stalls(metrics: Sequence[Metrics]) -> dict[str, Figure]:
    """Turns of the loop that a checkpoint took time from, and those of them that took more than 5 ms."""
    turns = sum(one.get(f"{STALL}_count", 0) for one in metrics)
    short = sum(one.get(f'{STALL}_bucket{{le="{STALL_LIMIT_S}"}}', 0) for one in metrics)
    return {"stalled_turns": turns, "stalls_over_5_ms": turns - short}


def histogram(metrics: Metrics) -> dict[str, float]:
    """The stall histogram: upper end in seconds -> turns at or below it."""
    ends = {re.fullmatch(rf'{STALL}_bucket{{le="(.*)"}}', name): value for name, value in metrics.items()}
    return {found[1]: value for found, value in ends.items() if found is not None}


def memory_mb(one: psutil.Process) -> dict[str, Figure]:
    """Resident memory now and at its peak, and the proportional share (PSS), in MiB."""
    status = Path(f"/proc/{one.pid}/status").read_text()
    rollup = Path(f"/proc/{one.pid}/smaps_rollup").read_text()
    return {
        "rss_mb": _kb(status, "VmRSS") / 1024,
        "peak_mb": _kb(status, "VmHWM") / 1024,
        "pss_mb": _kb(rollup, "Pss") / 1024,
    }


def _kb(text: str, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    if found is None:
        raise ServiceFault(f"found no {name} under /proc: the bench's memory part needs Linux")
    return int(found[1])


def reset(segment: Segment) -> None:
    """Empty the alert store but for its sources: the next agents begin where the first did."""
    ((tables,),) = segment.rows(
        "SELECT string_agg(quote_ident(tablename), ', ') FROM pg_tables "
        "WHERE schemaname = 'public' AND tablename <> 'sources'"
    )
    segment.rows(f"TRUNCATE {tables}")
    segment.checkpoint()
