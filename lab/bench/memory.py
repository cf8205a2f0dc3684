"""What an agent keeps (P12): resident memory, bytes of a user, bytes of a checkpoint, stalls of its loop."""

from lab.bench.bed import Bed, Segment
from lab.bench.drain import Running, histogram, memory_mb, stalls
from lab.bench.envelopes import Stream, publish
from lab.bench.result import Figure, Result
from lab.bench.rounds import in_turn
from lab.bench.throughput import RULE
from lab.scrape import Metrics
from twinpath.detection.rules import RULES

PART = "memory"
FULL, MANY = "full histories", "many users"
EACH = {FULL: 55, MANY: 5}
"""Payments of each user; the rule spending remembers 50."""
TIMEOUT_S = 1200.0
SAVED = "twinpath_agent_checkpointed_bytes_total"


def measure(bed: Bed, result: Result, users: int, many: int, alert_share: float, rounds: int) -> None:
    """One agent from nothing to a stored end, with full histories of some users and with short ones of many."""
    counts = {FULL: users, MANY: many}
    for number, name in in_turn((FULL, MANY), rounds):
        stream = Stream(counts[name] * EACH[name], counts[name], True, alert_share, result.seed)
        with bed.segment() as segment:
            running = Running(segment, RULE, 1)
            running.start()
            running.wait()
            (agent,) = running.processes()
            empty = memory_mb(agent)
            with bed.metered() as usage:
                publish(stream, segment.settings)
                segment.wait_until_judged([RULES[RULE]], TIMEOUT_S)
            metrics = _counted(segment, running)
            figures = {"users": stream.users, "payments_each": EACH[name], **memory_mb(agent)}
            figures |= _kept(segment, figures, empty, metrics)
            result.limits[f"{PART}, {name}: stall histogram, s: turns at or below"] = histogram(metrics)
            running.stop()
        result.add(PART, name, number, figures, usage)
        bed.progress.say(f"{PART}, round {number}, {name}: {figures['rss_mb']:.0f} MB for {stream.users} users")


def _counted(segment: Segment, running: Running) -> Metrics:
    """The agent's metrics, when it has counted its checkpoint: a turn after that is stored."""

    def metrics() -> Metrics | None:
        (found,) = running.metrics()
        return found if found.get(SAVED, 0) > 0 else None

    counted: Metrics = segment.wait(metrics, "the agent had counted its checkpoint")
    return counted


def _kept(segment: Segment, now: dict[str, Figure], empty: dict[str, Figure], metrics: Metrics) -> dict[str, Figure]:
    """What a user takes in memory, and a checkpoint in the store."""
    grown_mb = float(now["rss_mb"] or 0) - float(empty["rss_mb"] or 0)
    checkpoints = metrics.get("twinpath_agent_checkpoints_total", 0)
    ((stored,),) = segment.rows("SELECT coalesce(sum(length(state)), 0)::bigint FROM state_buckets")
    return {
        "empty_rss_mb": empty["rss_mb"],
        "bytes_per_user": round(grown_mb * 2**20 / float(now["users"] or 1)),
        "live_users": metrics.get("twinpath_agent_live_users"),
        "checkpoints": checkpoints,
        "bytes_per_checkpoint": round(metrics.get(SAVED, 0) / max(checkpoints, 1)),
        "stored_state_bytes": stored,
        **stalls([metrics]),
    }
