"""What a soak leaves beside what every drill does: its fences, and the memory of each agent over its time."""

import csv
import statistics
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec
import psutil

from lab.bench.statistics import slope
from lab.drills.equality import Found

EVERY_S = 10.0
COUNTS_FROM = 0.2  # of the time that was watched: what comes before is warm-up
HOUR_S = 3_600.0
MB = 1_000_000


class Fence(msgspec.Struct):
    """One fence: when it began in seconds of the load, how long it took, and what was found up to it.

    Counts are those of the whole run; `wrong` is empty when everything held. `stored_twice` counts alerts beyond the
    first at one key; `wal_bytes` is the size of pg_wal, `kept_bytes` what the slot keeps of it.
    """

    number: int
    at_s: float
    took_s: float = 0.0
    rows: int = 0
    delivered: int = 0
    delivered_twice: int = 0
    alerts: dict[str, int] = {}
    lost: int = 0
    extra: int = 0
    stored_twice: int = 0
    kept_bytes: int = 0
    wal_bytes: int = 0
    wal_bound_bytes: int = 0
    wrong: list[str] = []


class Sample(NamedTuple):
    """Resident memory of one process at one moment."""

    at_s: float
    pid: int
    rss_mb: float


class AgentMemory(msgspec.Struct):
    """One agent's memory; `slope_mb_per_hour` is that of the last 80 % of the time, its restarts included; None for
    fewer than two samples. `lives` counts its processes."""

    rule: str
    samples: int
    seconds: float
    lives: int
    median_mb: float
    peak_mb: float
    slope_mb_per_hour: float | None


def memory_of(rule: str, samples: Sequence[Sample]) -> AgentMemory:
    """What the samples of one agent come to."""
    sizes = [one.rss_mb for one in samples] or [0.0]
    return AgentMemory(
        rule,
        samples=len(samples),
        seconds=round(samples[-1].at_s - samples[0].at_s, 1) if samples else 0.0,
        lives=len({one.pid for one in samples}),
        median_mb=round(statistics.median(sizes), 1),
        peak_mb=max(sizes),
        slope_mb_per_hour=slope_per_hour(samples),
    )


def slope_per_hour(samples: Sequence[Sample]) -> float | None:
    """What the memory grew by in an hour, MB: least squares over the last 80 % of the time; None for too few."""
    if not samples:
        return None
    first_s, last_s = samples[0].at_s, samples[-1].at_s
    late = [one for one in samples if one.at_s >= first_s + COUNTS_FROM * (last_s - first_s)]
    if len({one.at_s for one in late}) < 2:  # noqa: PLR2004  a line through fewer is none
        return None
    return round(HOUR_S * slope([one.at_s for one in late], [one.rss_mb for one in late]), 2)


@contextmanager
def watched(
    agents: Mapping[str, Callable[[], psutil.Process | None]], now_s: Callable[[], float], every_s: float = EVERY_S
) -> Iterator[dict[str, list[Sample]]]:
    """Samples of each agent by its rule while the block runs; one that is down leaves none."""
    over = threading.Event()
    found: dict[str, list[Sample]] = {rule: [] for rule in agents}

    def watch() -> None:
        while not over.wait(every_s):
            for rule, process in agents.items():
                try:
                    one = process()
                    if one is not None:
                        found[rule].append(Sample(round(now_s(), 1), one.pid, round(one.memory_info().rss / MB, 1)))
                except psutil.NoSuchProcess:
                    continue  # it ended between the look at its id and the look at its memory

    thread = threading.Thread(target=watch, name="memory", daemon=True)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def write(found: Mapping[str, Sequence[Sample]], file: Path) -> None:
    """One line for each sample."""
    with file.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["rule", *Sample._fields])
        writer.writerows([rule, *one] for rule, samples in found.items() for one in samples)


def wrong_at(found: Found | None, unjudged: str, stored_twice: int) -> list[str]:
    """What does not hold at a fence; empty when everything does."""
    wrong = [f"never judged: {unjudged}"] if found is None else found.unequal()
    return wrong + ([f"{stored_twice} alerts are stored twice"] if stored_twice else [])
