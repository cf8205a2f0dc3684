"""One payment on every path: where its alert was at each moment after the commit."""

from lab.measure.latency import HOPS, Sample
from lab.measure.verdict import PATH as AGENT
from lab.report.html.blocks import Chart
from lab.report.html.hop_charts import Stack, stacked
from lab.report.saved import Saved
from lab.report.words import duration, listed

WAIT = "waiting for a run, and the run"


def one_payment(saved: Saved) -> Chart | None:
    """Of the payments that most paths raised an alert for, the one whose alert by the agent took the median time."""
    found = chosen(saved)
    if found is None:
        return None
    first = found[AGENT]
    stacks: list[Stack] = [(f"{path}, {one.rule}", parts(one)) for path, one in found.items()]
    late = listed([f"{path} {duration(one.latency_ms)}" for path, one in found.items()])
    said = (
        f"Payment {first.tx_id} was committed at {first.changed_at:%H:%M:%S} UTC; its {first.rule} alert was committed "
        f"after: {late}. The axis goes by powers of ten: a part ends at its time, its length means nothing."
    )
    return stacked("one-payment", f"One payment on every path: {first.tx_id}", said, stacks, log=True)


def chosen(saved: Saved) -> dict[str, Sample] | None:
    """Its sample by path, the agent's first; None when no agent has one with every hop."""
    by_payment: dict[tuple[int, str], dict[str, Sample]] = {}
    for path, samples in saved.samples.items():
        for one in samples:
            if one.tx_id and one.latency_ms > 0 and all(ms is None or ms >= 0 for ms in one.hops_ms):
                by_payment.setdefault((one.tx_id, one.rule), {})[path] = one
    whole = [one for one in by_payment.values() if AGENT in one and None not in one[AGENT].hops_ms]
    if not whole:
        return None
    most = max(map(len, whole))
    ranked = sorted((one for one in whole if len(one) == most), key=lambda one: one[AGENT].latency_ms)
    middle = ranked[len(ranked) // 2]
    return {AGENT: middle[AGENT], **middle}


def parts(one: Sample) -> dict[str, float]:
    """Milliseconds by hop; of a path that leaves no stamps, the whole as one."""
    known = {hop: ms for hop, ms in zip(HOPS, one.hops_ms, strict=True) if ms is not None}
    return known if len(known) == len(HOPS) else {WAIT: one.latency_ms}
