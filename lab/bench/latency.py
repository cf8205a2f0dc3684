"""`twinpath bench latency`: commit -> topic, commit -> alert committed, and what each setting does to it.

One-row commits at a set rate, open loop; each part in rounds A B B A over fresh names. Goals P1 and P2.
"""

from pathlib import Path

from lab.bench import alerts, connectors, topic
from lab.bench.bed import Bed
from lab.bench.goals import judged
from lab.bench.pace import CLIENTS, Pace
from lab.bench.result import WARM_S, Result
from lab.measure.latency import HOPS
from lab.stack.stack import Stack

PARTS = ("topic", "alerts", "ablation", "heap")


def measure(
    stack: Stack,
    *,
    rounds: int,
    pace: Pace,
    warm_up_s: float,
    parts: tuple[str, ...],
    command: str,
) -> tuple[Result, str, Path]:
    """Run the bench; returns the result, its Markdown and the path of its JSON."""
    bed = Bed(stack)
    options = {"rounds": rounds, **pace._asdict(), "warm_up_s": warm_up_s, "parts": parts, "connections": CLIENTS}
    result = Result("latency", bed.run_id, command, pace.seed, options)
    if warm_up_s:
        with stack.progress.step("warm-up") as step:
            step.done = "done"
            for configured in (connectors.ours, connectors.stock):
                topic.run_through(bed, pace._replace(seconds=warm_up_s / 2, settle_s=0), configured)
    result.warm_up["the bench"] = f"{warm_up_s:g} s of commits before the first round, half through each connector"
    result.warm_up["each round"] = f"its first {pace.settle_s:g} s"
    if "topic" in parts:
        topic.compare(bed, result, pace, rounds)
    if "alerts" in parts:
        alerts.compare(bed, result, pace, rounds)
    if "ablation" in parts:
        topic.turn_knobs(bed, result, pace, rounds)
    if "heap" in parts:
        topic.turn_heap(bed, result, pace, rounds)
    judge(result, pace.rate)
    path = result.finish(bed.folder, private=bed.private, warm=warm_up_s >= WARM_S)
    return result, result.markdown(tables(result)), path


def judge(result: Result, rate: int) -> None:
    """P1 and P2, as far as they were measured with samples enough."""
    for percentile, times, most_ms in (("p50", 20, 15), ("p99", 10, 50)):
        figure = f"consumer_ms_{percentile}"
        found = result.ratio("topic", figure, "stock", "ours")
        if found is not None:
            result.goals.append(
                judged("P1", f"commit -> topic {percentile}: stock / ours", "at least", times, "x", found)
            )
        found = result.estimated("topic", "ours", figure)
        if found is not None:
            result.goals.append(
                judged("P1", f"commit -> topic {percentile} at {rate}/s", "at most", most_ms, "ms", found)
            )
    for percentile, most_ms in (("p50", 15), ("p99", 45)):
        figure, text = f"alert_ms_{percentile}", f"commit -> alert committed {percentile}"
        found = result.estimated("alerts", alerts.AGENT, figure)
        if found is not None:
            result.goals.append(judged("P2", f"{text} at {rate}/s", "at most", most_ms, "ms", found))
        found = result.ratio("alerts", figure, alerts.AGENT, alerts.CHAIN)
        if found is not None:
            result.goals.append(judged("P2", f"{text}: agent / {alerts.CHAIN}", "at most", 1.5, "x", found))


def tables(result: Result) -> list[str]:
    """The tables of each part."""
    spread = ("p50", "p90", "p99", "p99.9", "max")
    consumer = {f"commit -> consumer {key} ms": f"consumer_ms_{key}" for key in spread}
    append = {f"-> append {key} ms": f"append_ms_{key}" for key in ("p50", "p99")}
    alert = {f"commit -> row committed {key} ms": f"alert_ms_{key}" for key in spread}
    cost = {f"{part} CPU us/event": f"{part}_cpu_us_per_event" for part in ("connect", "kafka", "walsender")}
    rate = {"commits/s": "commits_per_s"}
    return [
        *result.table("topic", {**consumer, **append, **rate, **cost}),
        *result.table("alerts", {**alert, "rows": "rows_written", **rate}),
        *result.table("alerts", {f"slowest 1 %: {hop}, ms": f"slowest_ms {hop}" for hop in HOPS}),
        *result.table("ablation", {**consumer, **rate, **cost}),
    ]
