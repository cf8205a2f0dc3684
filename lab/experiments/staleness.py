"""`twinpath experiment staleness`: how late alerts are, by agents, by the Spark stream, by a batch job at intervals.

Goal P3. One run for each side, in which it has the machine to itself beside the agents, judges the same payments as
they do and is proved equal; a round is a stretch of that run, so that both sides of a ratio had the same payments in
the same seconds.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lab.batch_loop import batch_loop
from lab.batch_side import INTERVAL_S, SCHEDULED, BatchRun, run_seconds
from lab.bench.bed import Bed
from lab.bench.cpu import Usage
from lab.bench.goals import judged
from lab.bench.result import Figure, Result, flat
from lab.bench.statistics import Estimate, percentiles
from lab.beside import OpenSides, batch_only
from lab.measure.evidence import Evidence
from lab.measure.latency import Sample, between, read_samples, write_samples
from lab.measure.verdict import PATH as AGENT
from lab.proof import Proof
from lab.report.summary import write_summary
from lab.stack.spark_stream import PATH as STREAM
from lab.stack.stack import Stack
from twinpath.errors import ServiceFault
from twinpath.settings import run_settings

PART = "staleness"
PARTS = ("stream", "loop", "airflow")
AIRFLOW = "batch, Airflow every minute"
OFTEN = {"spending": {"minimum_cents": 1_000, "ratio": 1}}
"""Rule parameters under which a quarter of the payments raises an alert: a p99 takes 1,000 of them."""
SAMPLES = "staleness.csv"
WARM_UP_S, STREAM_WARM_UP_S = 20.0, 90.0
A_RUN_S = 15.0  # that a run under way takes at the most, while the load goes on
TUNED_S = 1.0  # the interval of P3's poll loop; its other one is Airflow's
P50, P99 = "latency_ms_p50", "latency_ms_p99"
HALF = 2
SHARES = 201  # quantiles that are kept of each side's latencies, from the least to the greatest


class Side(NamedTuple):
    """What runs beside the agents: the Spark stream (no interval), or the batch job, opened by `open`, with the seconds
    between two runs; then the seconds of the warm-up and of each round's stretch."""

    name: str
    interval_s: float | None
    warm_up_s: float
    round_s: float
    open: OpenSides | None

    @property
    def tail_s(self) -> float:
        """Load after the rounds, so that no payment of theirs is left to the run at the end, which does not wait for
        a schedule: an interval and a run."""
        return 0.0 if self.interval_s is None else self.interval_s + A_RUN_S


class Found(NamedTuple):
    """A run of one side: when its warm-up was over, samples by variant, its scheduled runs, and what it took."""

    warm: datetime
    samples: dict[str, list[Sample]]
    runs: list[BatchRun]
    usage: Usage


def measure(
    stack: Stack,
    *,
    rounds: int,
    rate: int,
    seconds: float,
    intervals: Sequence[float],
    parts: tuple[str, ...],
    seed: int,
    command: str,
    run: tuple[str, Path] | None = None,
) -> tuple[Result, str, Path]:
    """Run the experiment, in the folder of `run` (id, folder) if one is given; the result, Markdown, JSON's path."""
    bed = Bed(stack, run)
    options = {"rate": rate, "seconds": seconds, "intervals_s": list(intervals), "rounds": rounds, "parts": parts}
    result = Result("staleness", bed.run_id, command, seed, options, kind="experiment")
    kept: dict[str, list[Sample]] = {}
    for number, side in enumerate(_sides(parts, intervals, seconds), 1):
        found = _run(bed, side, f"{bed.run_id}s{number}", rounds, rate, seed)
        _add(result, side, found, rounds)
        kept |= found.samples
    write_samples(kept, bed.folder / SAMPLES)
    _describe(result)
    judge(result)
    path = result.finish(bed.folder, private=bed.private, warm=True)
    return result, result.markdown(tables(result)), path


def _sides(parts: Sequence[str], intervals: Sequence[float], seconds: float) -> list[Side]:
    sides = []
    if "stream" in parts:
        sides.append(Side(STREAM, None, STREAM_WARM_UP_S, seconds, None))
    if "loop" in parts:
        for interval_s in intervals:
            opened = partial(batch_loop, interval_s=interval_s, every_time=(SCHEDULED,), at_the_end=(SCHEDULED,))
            warm_up_s, round_s = max(WARM_UP_S, interval_s), max(seconds, HALF * interval_s)
            sides.append(Side(loop_of(interval_s), interval_s, warm_up_s, round_s, opened))
    if "airflow" in parts:
        sides.append(Side(AIRFLOW, INTERVAL_S, INTERVAL_S, INTERVAL_S, batch_only))
    return sides


def loop_of(interval_s: float) -> str:
    """The name of the kept session's variant."""
    return f"batch, kept session every {interval_s:g} s"


def beside(name: str) -> str:
    """The name of the agents' variant in the run of a side."""
    return f"{AGENT}, beside {name}"


def _run(bed: Bed, side: Side, run_id: str, rounds: int, rate: int, seed: int) -> Found:
    """One run, proved equal: warm-up, the rounds, the tail."""
    duration = side.warm_up_s + rounds * side.round_s + side.tail_s
    settings = run_settings(bed.stack.settings, run_id).model_copy(
        update={"rate": rate, "duration": duration, "seed": seed, "rule_parameters": OFTEN}
    )
    folder = bed.folder / PART / run_id
    folder.mkdir(parents=True)
    bed.progress.say(f"{PART}: {side.name}, {duration:.0f} s of load")
    stream = side.open is None
    one = Proof(bed.stack, settings, folder, kills=False, stream=stream, warm_up_s=side.warm_up_s)
    try:
        with bed.metered() as usage:
            evidence = one.run(side.open)
        if not write_summary(evidence, folder):
            raise ServiceFault(f"{side.name}: the paths did not agree, so they have no latencies; see {folder}")
        samples = {beside(side.name): read_samples(evidence.alerts_dsn, AGENT), side.name: _samples(side, evidence)}
    finally:
        one.clean_up()
    runs = [each for each in evidence.beside.runs if each.kind == "scheduled"] if evidence.beside else []
    return Found(evidence.began + timedelta(seconds=side.warm_up_s), samples, runs, usage)


def _samples(side: Side, evidence: Evidence) -> list[Sample]:
    if side.open is None:
        return read_samples(evidence.alerts_dsn, STREAM)
    return next(found.samples for found in evidence.compared.batch if found.path == "spark_batch")


def _add(result: Result, side: Side, found: Found, rounds: int) -> None:
    length = timedelta(seconds=side.round_s)
    computed = {side.name: _computed(side, found.runs)}
    for name, samples in found.samples.items():
        for number in range(1, rounds + 1):
            begin = found.warm + (number - 1) * length
            late = [one.latency_ms for one in between(samples, begin, begin + length)]
            if not late:
                raise ServiceFault(f"{name}, round {number}: found no alert, wanted some; use a longer --seconds")
            ours = flat("latency_ms", percentiles(late)) | computed.get(name, {})
            result.add(PART, name, number, ours, found.usage)
        whole = [one.latency_ms for one in between(samples, found.warm, found.warm + rounds * length)]
        quantiles = np.percentile(whole, np.linspace(0, 100, SHARES))
        result.variants[name] = {"quantiles_ms": [round(float(one), 3) for one in quantiles]}
    result.variants[side.name] |= {
        "beside": beside(side.name),
        "interval_s": side.interval_s,
        "runs_s": [round(run_seconds(each.seconds), 3) for each in found.runs],
    }
    result.warm_up[side.name] = f"the first {side.warm_up_s:.0f} s of the load"


def _computed(side: Side, runs: Sequence[BatchRun]) -> dict[str, Figure]:
    """What an interval and the runs' own length make of a payment that comes at any time."""
    if side.interval_s is None:
        return {}
    if not runs:
        raise ServiceFault(f"{side.name}: found no run by schedule, wanted one at least; use a longer --seconds")
    run_s = float(np.median([run_seconds(each.seconds) for each in runs]))
    computed_ms = 1000 * (max(side.interval_s, run_s) / HALF + run_s)
    return {"run_s_p50": round(run_s, 3), "computed_ms_p50": round(computed_ms, 1)}


def _describe(result: Result) -> None:
    result.notes += [
        f"rule parameters {OFTEN}: a quarter of the payments raises an alert, so that a round has enough of them",
        "a round is a stretch of one run: both sides had the same payments in the same seconds, beside each other",
        "a kept session looks as often as it can when a run takes longer than the interval",
        "computed: half the interval (or a run, if that is longer), and what a run takes at the median",
    ]


def sides_of(result: Result) -> list[str]:
    """The variants that ran beside the agents, in their order."""
    return [name for name, one in result.variants.items() if "beside" in one]


def times_as_late(result: Result, name: str) -> Estimate | None:
    """The p50 of a side as a multiple of the agents' in the same run; None where it was not measured."""
    return result.estimates.get(f"{PART}: {name} / {beside(name)}, {P50}")


def judge(result: Result) -> None:
    """P3, as far as it was measured; the other ratios in any case."""
    wanted = {AIRFLOW: 2_000.0, loop_of(TUNED_S): 30.0}
    for name in sides_of(result):
        slower = result.ratio(PART, P50, name, beside(name))
        if slower is not None and name in wanted:
            text = f"p50 of '{name}' / p50 of the agents in the same run"
            result.goals.append(judged("P3", text, "at least", wanted[name], "x", slower))
        ahead = result.ratio(PART, P99, name, beside(name))
        if ahead is not None and name in wanted:
            text = f"p99 of '{name}' / p99 of the agents in the same run"
            result.goals.append(judged("P3", text, "at least", 1.0, "x", ahead))


def tables(result: Result) -> list[str]:
    """Percentiles of each side, ms."""
    columns = {name: f"latency_ms_{name}" for name in ("n", "p50", "p90", "p99", "max")}
    return result.table(PART, {**columns, "computed p50": "computed_ms_p50", "s a run": "run_s_p50"})
