"""Commit -> topic: ours against stock Debezium, a bare reader as the limit; and ours with one knob turned.

Measured from PostgreSQL's commit time (source.ts_us) to the arrival at a consumer beside the topic, in us;
the broker's append time is cut to whole ms, so that it is up to 1 ms too early, and is given beside it.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lab.bench import connectors
from lab.bench.bed import Bed
from lab.bench.connectors import Configured
from lab.bench.pace import SLACK_S, Pace, keep
from lab.bench.result import Figure, Result, flat
from lab.bench.rounds import in_turn
from lab.bench.statistics import percentiles
from lab.stack.connect import HEAP_MB

VARIANTS: dict[str, Configured | None] = {"ours": connectors.ours, "stock": connectors.stock, "bare": None}
BARE = "bare: a reader of logical decoding without Connect and Kafka, the limit of any capture"
KNOBS: dict[str, Mapping[str, str]] = {
    "ours": {},
    "poll.interval.ms 10": {"poll.interval.ms": "10"},
    "poll.interval.ms 20": {"poll.interval.ms": "20"},
    "poll.interval.ms 500 (default)": {"poll.interval.ms": "500"},
    "context headers on (default)": {"extended.headers.enabled": "true"},
    "batch and queue 2048/8192 (default)": {"max.batch.size": "2048", "max.queue.size": "8192"},
    "producer at its defaults": connectors.PRODUCER_DEFAULTS,
}
HEAPS_MB = (256, 1536)


def compare(bed: Bed, result: Result, pace: Pace, rounds: int) -> None:
    """P1's rounds."""
    for number, name in in_turn(list(VARIANTS), rounds):
        measure(bed, result, pace, ("topic", name, number), VARIANTS[name])
    result.notes.append(BARE)


def turn_knobs(bed: Bed, result: Result, pace: Pace, rounds: int) -> None:
    """The ablation, one setting at a time."""
    for number, name in in_turn(list(KNOBS), rounds):
        measure(bed, result, pace, ("ablation", name, number), connectors.turned(KNOBS[name]))


def turn_heap(bed: Bed, result: Result, pace: Pace, rounds: int) -> None:
    """The ablation of Connect's heap, which takes a restart each time: on a stack of our own only."""
    if not bed.private:
        result.notes.append("Connect's heap was left alone: this stack serves others")
        return
    for number, heap_mb in in_turn(HEAPS_MB, rounds):
        bed.restart_connect(heap_mb)
        run_through(bed, pace, connectors.ours)  # a restarted worker is cold
        measure(bed, result, pace, ("ablation", f"heap {heap_mb} MB (ours {HEAP_MB})", number), connectors.ours)
    bed.restart_connect()


def run_through(bed: Bed, pace: Pace, configured: Configured) -> None:
    """A round that is dropped: the Java machines compile."""
    with bed.segment() as segment:
        segment.start_connector(configured(bed.stack.home, segment.settings))
        pace.write(bed, segment)


def measure(bed: Bed, result: Result, pace: Pace, place: tuple[str, str, int], configured: Configured | None) -> None:
    """One round; without a connector the bare reader takes its place."""
    with bed.segment() as segment:
        out = bed.folder / f"arrivals{segment.settings.suffix}.npy"
        ready = out.with_name(f"{out.name}.ready")
        until = ["--count", str(pace.commits), "--seconds", str(pace.seconds + SLACK_S), "--out", str(out)]
        if configured is None:
            dsn, secret = segment.open_dsn(segment.settings.source_database, "twinpath_cdc")
            names = ["--dsn", dsn, "--slot", segment.settings.slot, "--publication", segment.settings.publication]
            program = segment.start("rawlog", "lab.bench.rawlog", [*names, *until], secret)
        else:
            config = configured(bed.stack.home, segment.settings)
            result.variants.setdefault(f"{place[0]}: {place[1]}", connectors.differing(config))
            segment.start_connector(config)
            program = segment.start("arrivals", "lab.bench.arrivals", until)
        segment.wait_file(program, ready)
        with bed.metered({"walsender": segment.walsender()}) as usage:
            commits = pace.write(bed, segment)
            segment.wait_file(program, out, pace.seconds + SLACK_S)
        figures = _figures(np.load(out), pace, bare=configured is None)
        out.unlink()
        ready.unlink()
    keep(bed, result, place, figures, usage, commits)


def _figures(table: np.ndarray[Any, Any], pace: Pace, *, bare: bool) -> dict[str, Figure]:
    """Percentiles of what was committed after the settling time."""
    counted = table[table[:, 0] >= pace.counts_from(int(table[:, 0].min()))]
    found = flat("consumer_ms", percentiles(list((counted[:, 2] - counted[:, 0]) / 1000)))
    if not bare:
        found |= flat("append_ms", percentiles(list(counted[:, 1] - counted[:, 0] / 1000)))
    return {"consumer_ms_p50": found["consumer_ms_p50"]} | found
