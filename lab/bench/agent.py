"""`twinpath bench agent`: how fast an agent drains the topic, against its limits; and what it keeps in memory.

Goals P5 and P12.
"""

from pathlib import Path

from lab.bench import memory, throughput
from lab.bench.bed import Bed
from lab.bench.envelopes import Stream
from lab.bench.goals import judged
from lab.bench.result import WARM_EVENTS, Result
from lab.stack.stack import Stack

PARTS = ("speed", "memory")
CLIENTS = ("confluent", "kafka-python")
ALERT_SHARE = 0.002


def measure(
    stack: Stack,
    *,
    rounds: int,
    events: int,
    users: int,
    many: int,
    clients: tuple[str, ...],
    parts: tuple[str, ...],
    seed: int,
    command: str,
) -> tuple[Result, str, Path]:
    """Run the bench; returns the result, its Markdown and the path of its JSON."""
    bed = Bed(stack)
    options = {"rounds": rounds, "events": events, "users": users, "many": many, "clients": clients, "parts": parts}
    result = Result("agent", bed.run_id, command, seed, {**options, "alert_share": ALERT_SHARE})
    stream = Stream(events, users, in_turn=False, alert_share=ALERT_SHARE, seed=seed)
    if "speed" in parts:
        throughput.compare(bed, result, stream, clients, rounds)
    if "memory" in parts:
        memory.measure(bed, result, users, many, ALERT_SHARE, rounds)
    judge(result, clients)
    path = result.finish(bed.folder, private=bed.private, warm=events >= WARM_EVENTS)
    return result, result.markdown(tables(result)), path


def judge(result: Result, clients: tuple[str, ...]) -> None:
    """P5 and P12, as far as they were measured."""
    for client in clients:
        for figure in ("events_per_s", "events_per_cpu_s"):
            for limit in throughput.LOOPS:
                found = result.ratio("speed", figure, f"agent, {client}", f"{limit}, {client}")
                if found is not None and client == "confluent" and limit != "fetch" and figure == "events_per_s":
                    text = f"one agent / fetch and {limit}"
                    result.goals.append(judged("P5", text, "at least", 0.60, "", found))
    found = result.estimated("speed", "two agents, confluent", "events_per_s")
    if found is not None:
        result.goals.append(judged("P5", "two agents on two partitions", "at least", 200_000, "events/s", found))
    for name, most_mb in ((memory.FULL, 150), (memory.MANY, 1024)):
        found = result.estimated("memory", name, "peak_mb")
        if found is not None:
            users = result.values("memory", name, "users")[0]  # the same in each round
            text = f"peak memory of an agent, {users:,.0f} users, {name}"
            result.goals.append(judged("P12", text, "at most", most_mb, "MB", found))


def tables(result: Result) -> list[str]:
    """The tables of each part."""
    speed = {
        "events/s": "events_per_s",
        "events per CPU second": "events_per_cpu_s",
        "CPU us/event": "cpu_us_per_event",
        "alerts": "alerts",
        "stalls > 5 ms": "stalls_over_5_ms",
    }
    kept = {
        "users": "users",
        "RSS MB": "rss_mb",
        "peak MB": "peak_mb",
        "PSS MB": "pss_mb",
        "empty MB": "empty_rss_mb",
        "bytes/user": "bytes_per_user",
        "users as objects": "live_users",
        "checkpoints": "checkpoints",
        "bytes/checkpoint": "bytes_per_checkpoint",
        "state stored, bytes": "stored_state_bytes",
        "stalls > 5 ms": "stalls_over_5_ms",
    }
    return [*result.table("speed", speed), *result.table("memory", kept)]
