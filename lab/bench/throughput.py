"""How fast agents drain a full topic (P5), beside the bare loops over the same topic (reading.py)."""

import subprocess
import sys
from typing import NamedTuple

import msgspec

from lab.bench.bed import Bed, Segment
from lab.bench.drain import Running, rates, reset, stalls
from lab.bench.envelopes import Stream, publish
from lab.bench.result import Figure, Result
from lab.bench.rounds import in_turn
from twinpath.errors import ServiceFault
from twinpath.settings import ROOT

PART = "speed"
RULE = "spending"
LOOPS = ("fetch", "typed", "decode")
AGENTS = {"agent": 1, "two agents": 2}
PARTITIONS = 2
SLOW_SHARE = 0.25
"""kafka-python reads this share of the topic: it takes as long for it."""
WARM_SHARE = 0.1


class Variant(NamedTuple):
    """One way to read the topic."""

    client: str
    what: str

    @property
    def name(self) -> str:
        """As in the tables."""
        return f"{self.what}, {self.client}"


def compare(bed: Bed, result: Result, stream: Stream, clients: tuple[str, ...], rounds: int) -> None:
    """P5's rounds, all over one topic."""
    variants = [Variant(client, what) for client in clients for what in (*LOOPS, *AGENTS)]
    with bed.segment(topic_partitions=PARTITIONS) as segment:
        with bed.progress.step(f"{stream.events} envelopes") as step:
            bytes_each = publish(stream, segment.settings)
            step.done, step.detail = "written", f"{bytes_each:.0f} bytes each"
        result.limits["envelope_bytes"] = round(bytes_each, 1)
        _loop(segment, Variant(clients[0], "fetch"), stream.events)  # the broker compiles; dropped
        for number, variant in in_turn(variants, rounds):
            events = stream.events if variant.client == "confluent" else int(stream.events * SLOW_SHARE)
            with bed.metered() as usage:
                if variant.what in LOOPS:
                    figures = _loop(segment, variant, events)
                else:
                    figures = _agents(segment, variant, events, whole=variant.client == "confluent")
            result.add(PART, variant.name, number, figures, usage)
            mark = " (disturbed)" if usage.disturbed else ""
            bed.progress.say(f"{PART}, round {number}, {variant.name}: {figures['events_per_s']} events/s{mark}")
    result.warm_up["the bench"] = "one reading of the whole topic before the first round"
    result.warm_up["each drain"] = f"the first {WARM_SHARE:.0%} of its events"


def _loop(segment: Segment, variant: Variant, events: int) -> dict[str, Figure]:
    command = [sys.executable, "-m", "lab.bench.reading", "--client", variant.client, "--what", variant.what]
    command += ["--events", str(events), "--skip", str(int(events * WARM_SHARE))]
    environment = {**segment.settings.environment(), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ServiceFault(f"{' '.join(command[2:])} failed: {done.stderr.strip()[-500:]}")
    found = msgspec.json.decode(done.stdout, type=dict[str, float])
    return {
        "events": found["events"],
        "events_per_s": round(found["events"] / found["wall_s"]),
        "events_per_cpu_s": round(found["events"] / found["cpu_s"]),
        "cpu_us_per_event": round(found["cpu_s"] * 1e6 / found["events"], 3),
    }


def _agents(segment: Segment, variant: Variant, events: int, *, whole: bool) -> dict[str, Figure]:
    """Agents from an empty store to `events`; when they read the whole topic, every event is accounted for."""
    reset(segment)
    chosen = Segment(segment.stack, segment.settings.model_copy(update={"kafka_client": variant.client}))
    running = Running(chosen, RULE, AGENTS[variant.what])
    try:
        running.start()
        looks = running.drain(events, int(events * WARM_SHARE))
        metrics = running.metrics()
    finally:
        running.stop()
    judged, alerts = segment.rows(
        "SELECT coalesce(sum(value) FILTER (WHERE name = 'judged'), 0)::bigint, "
        "coalesce(sum(value) FILTER (WHERE name = 'alerts'), 0)::bigint FROM counters"
    )[0]
    if whole and judged != events:
        raise ServiceFault(f"the agents judged {judged} of {events} events: a figure of a wrong result is none")
    return rates(looks) | stalls(metrics) | {"judged": judged, "alerts": alerts}
