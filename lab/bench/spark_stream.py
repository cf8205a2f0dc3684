"""`twinpath bench spark-stream`: drain against the stream's own limit, commit -> alert at a rate, growth of the state.

Goal P9.
"""

from pathlib import Path
from typing import Any

from lab.bench import stream_drain, stream_latency
from lab.bench.bed import Bed
from lab.bench.envelopes import Stream
from lab.bench.goals import judged
from lab.bench.pace import Pace
from lab.bench.result import WARM_EVENTS, Result
from lab.stack.stack import Stack

PARTS = ("drain", "forms", "latency", "triggers", "growth")
ALERT_SHARE = 0.002


def measure(
    stack: Stack,
    *,
    rounds: int,
    pace: Pace,
    events: int,
    users: int,
    many: int,
    per_batch: int,
    parts: tuple[str, ...],
    command: str,
) -> tuple[Result, str, Path]:
    """Run the bench; returns the result, its Markdown and the path of its JSON."""
    bed = Bed(stack)
    options: dict[str, Any] = {"rounds": rounds, "events": events, "users": users, "many": many}
    options |= {
        "per_batch": per_batch,
        "parts": parts,
        "rate": pace.rate,
        "seconds": pace.seconds,
        "settle_s": pace.settle_s,
    }
    result = Result("spark-stream", bed.run_id, command, pace.seed, {**options, "alert_share": ALERT_SHARE})
    drains = [part for part in parts if part in stream_drain.FORMS_OF]
    if drains:
        stream = Stream(events, users, in_turn=False, alert_share=ALERT_SHARE, seed=pace.seed)
        stream_drain.compare(bed, result, stream, rounds, per_batch, drains)
    if "latency" in parts or "triggers" in parts:
        stream_latency.compare(bed, result, pace, rounds, triggers="triggers" in parts)
        result.warm_up["each latency round"] = f"{pace.settle_s:.0f} s of its load"
    if "growth" in parts:
        stream_drain.grow(bed, result, many, rounds, per_batch, pace.seed)
    judge(result)
    path = result.finish(bed.folder, private=bed.private, warm=events >= WARM_EVENTS)
    return result, result.markdown(tables(result)), path


def judge(result: Result) -> None:
    """P9, as far as it was measured."""
    part, whole, limit = stream_drain.PART, stream_drain.WHOLE, stream_drain.LIMIT
    for form in (whole, stream_drain.ONE_RULE):
        found = result.ratio(part, "events_per_s", form, limit)
        if found is not None and form == whole:
            result.goals.append(judged("P9", "the stream / read and envelope decode", "at least", 0.60, "", found))
    for above, below in ((whole, "from_json"), ("state", "transform"), ("state", "users")):
        result.ratio(part, "events_per_s", above, below)
    found = result.estimated(part, whole, "events_per_s")
    if found is not None:
        result.goals.append(judged("P9", "drain of the stream", "at least", 70_000, "events/s", found))
    for figure, most_ms in (("alert_ms_p50", 1_000), ("alert_ms_p99", 2_000)):
        found = result.estimated(stream_latency.PART, stream_latency.AT_ONCE, figure)
        if found is not None:
            result.goals.append(judged("P9", f"commit -> alert, {figure[9:]}", "at most", most_ms, "ms", found))


def tables(result: Result) -> list[str]:
    """The tables of each part."""
    drain = {"events/s": "events_per_s", "events": "events", "state MB": "state_mb"}
    latency = {
        "p50 ms": "alert_ms_p50",
        "p99 ms": "alert_ms_p99",
        "max ms": "alert_ms_max",
        "alerts": "rows_written",
        "micro-batches": "micro_batches",
    }
    growth = {
        "users": "users",
        "early batch s": "first_batch_s",
        "last batch s": "last_batch_s",
        "state MB": "state_mb",
    }
    return [
        *result.table(stream_drain.PART, drain),
        *result.table(stream_latency.PART, latency),
        *result.table(stream_drain.GROWTH, growth),
    ]
