"""What it costs to wait: CPU of Connect on a quiet table, by poll.interval.ms (the price of latency in P4)."""

import time
from collections.abc import Mapping

from lab.bench import connectors
from lab.bench.bed import Bed
from lab.bench.cpu import Usage
from lab.bench.result import Result
from lab.bench.rounds import in_turn

PART = "idle"
SETTLE_S = 2.0
INTERVALS_MS = ("5", "10", "20", "500")
NO_CONNECTOR = "no connector"


def measure(bed: Bed, result: Result, seconds: float, rounds: int) -> None:
    """Each interval, and a worker without any connector."""
    variants: dict[str, Mapping[str, str]] = {f"poll.interval.ms {ms}": {"poll.interval.ms": ms} for ms in INTERVALS_MS}
    for number, name in in_turn([NO_CONNECTOR, *variants], rounds):
        if name == NO_CONNECTOR:
            usage = _quiet(bed, seconds)
        else:
            with bed.segment() as segment:
                segment.start_connector(connectors.turned(variants[name])(bed.stack.home, segment.settings))
                usage = _quiet(bed, seconds)
        figures = {
            f"{part}_percent_of_a_core": round(100 * used / usage.wall_s, 2) for part, used in usage.cpu_s.items()
        }
        result.add(PART, name, number, figures, usage)
        bed.progress.say(
            f"{PART}, round {number}, {name}: Connect {figures.get('connect_percent_of_a_core')} % of a core"
        )


def _quiet(bed: Bed, seconds: float) -> Usage:
    time.sleep(SETTLE_S)
    with bed.metered() as usage:
        time.sleep(seconds)
    return usage
