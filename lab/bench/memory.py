"""What an agent keeps (P12): resident memory, bytes of a user, bytes of a checkpoint, stalls of its loop."""

from lab.bench.bed import Bed
from lab.bench.drain import Running, histogram, memory_mb, stalls
from lab.bench.envelopes import Stream, publish
from lab.bench.result import Figure, Result
from lab.bench.throughput import RULE

PART = "memory"
FULL, MANY = "full histories", "many users"
FULL_EVENTS = 55
"""Payments of each user: more than the 50 that the rule spending remembers."""
MANY_EVENTS = 5
TIMEOUT_S = 300.0


def measure(bed: Bed, result: Result, users: int, many: int, seed: int, alert_share: float) -> None:
    """One agent from nothing, with full histories of some users and with short ones of many."""
    for name, count, each in ((FULL, users, FULL_EVENTS), (MANY, many, MANY_EVENTS)):
        stream = Stream(count * each, count, in_turn=True, alert_share=alert_share, seed=seed)
        with bed.segment() as segment:
            running = Running(segment, RULE, 1)
            running.start()
            running.wait()
            (agent,) = running.processes()
            empty = memory_mb(agent)
            with bed.metered() as usage:
                publish(stream, segment.settings)

                def settled(running: Running = running, events: int = stream.events) -> bool:
                    (found,) = running.metrics()
                    folded = found.get("twinpath_agent_records_total", 0)
                    return folded >= events and found.get("twinpath_agent_checkpoint_age_seconds", 0) == 0

                segment.wait(settled, "the agent had folded and stored everything", TIMEOUT_S)
            (metrics,) = running.metrics()
            figures: dict[str, Figure] = {"users": count, "payments_each": each, **memory_mb(agent)}
            figures["empty_rss_mb"] = empty["rss_mb"]
            grown = float(figures["rss_mb"] or 0) - float(empty["rss_mb"] or 0)
            figures["bytes_per_user"] = round(grown * 2**20 / count)
            figures["live_users"] = metrics.get("twinpath_agent_live_users")
            figures["checkpoints"] = metrics.get("twinpath_agent_checkpoints_total")
            written = metrics.get("twinpath_agent_checkpointed_bytes_total", 0)
            figures["bytes_per_checkpoint"] = round(written / max(float(figures["checkpoints"] or 0), 1))
            ((stored,),) = segment.rows("SELECT coalesce(sum(length(state)), 0)::bigint FROM state_buckets")
            figures["stored_state_bytes"] = stored
            figures |= stalls([metrics])
            result.limits[f"{PART}: {name}, stall histogram (s: turns at or below)"] = histogram(metrics)
            running.stop()
        result.add(PART, name, 1, figures, usage)
        bed.progress.say(f"{PART}, {name}: {figures['rss_mb']:.0f} MB for {count} users")
