"""How late the alerts were: the share that had come after a time, and the percentiles."""

from collections.abc import Sequence
from datetime import timedelta

import numpy as np

from lab.batch_side import run_seconds
from lab.measure.latency import P99_LEAST, between
from lab.report.html.blocks import Chart, Table
from lab.report.html.lines import Axis, Look, Series, line_chart, look
from lab.report.html.svg import Point, around
from lab.report.model import Summary
from lab.report.saved import Saved
from lab.report.words import duration, listed, tick, times, whole

SPOTS = 400  # points of a line at the most
MARKED = (10.0, 50.0, 90.0)
CALM, COMPUTED = "calm", "computed"
LEAST = {95.0: 200, 99.0: P99_LEAST, 99.9: 10_000}  # samples below which a percentile is not given
SPECTRUM = (1.0, 5.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9)


def scheduled_runs(summary: Summary) -> list[float]:
    """Seconds of each scheduled run from its task being queued until its alerts were committed."""
    return [run_seconds(one.seconds) for one in summary.airflow_runs if one.kind == "scheduled"]


def computed_share(at_ms: float, interval_s: float, runs_s: Sequence[float]) -> float:
    """Percent of alerts within `at_ms` when the wait is uniform over the interval and a run takes any of `runs_s`."""
    shares = [min(1.0, max(0.0, (at_ms / 1000 - run) / interval_s)) for run in runs_s]
    return 100 * sum(shares) / len(shares)


def calm_latencies(saved: Saved, path: str) -> list[float]:
    """Those of rows committed after the warm-up and before the first kill or batch run."""
    if not saved.summary.calm_s:
        return []
    begin, end = (saved.summary.began + timedelta(seconds=at_s) for at_s in saved.summary.calm_s)
    return [one.latency_ms for one in between(saved.samples[path], begin, end)]


def staleness(saved: Saved) -> Chart | None:
    """Share of alerts that had come, by time since the commit; all paths on one logarithmic axis."""
    found = {path: sorted(one.latency_ms for one in samples) for path, samples in saved.samples.items() if samples}
    if not found:
        return None
    lines = [
        Series(f"{path}, p50 {duration(_p(values, 50))}", look(path), _share(values), _marks(values))
        for path, values in found.items()
    ]
    log_fed = [path for path, one in saved.summary.paths.items() if one.latency_ms_calm and path in found]
    calm = {path: sorted(calm_latencies(saved, path)) for path in log_fed}
    lines += [
        Series(f"{path}, calm (n = {len(values)}), p50 {duration(_p(values, 50))}", _calm(path), _share(values))
        for path, values in calm.items()
        if values
    ]
    low, high = around([value for values in [*found.values(), *calm.values()] for value in values])
    interval_s, runs_s = saved.summary.batch_interval_s, scheduled_runs(saved.summary)
    if interval_s and runs_s:
        high = max(high, around([1000 * (interval_s + max(runs_s))])[1])
        name = f"computed: a run every {interval_s:.0f} s that takes {np.median(runs_s):.0f} s"
        lines.append(Series(name, Look(COMPUTED, "circle"), computed_line(low, high, interval_s, runs_s)))
    said = _staleness_said(found)
    title = "How long after its commit a payment had its alert"
    x = Axis("from commit of payment to commit of alert", low, high, tick, log=True)
    y = Axis("% of the alerts", 0, 100, whole)
    wide, narrow = line_chart("staleness", title, said, lines, x, y)
    rows = [[path, *_row(values)] for path, values in found.items()]
    rows += [[f"{path}, calm", *_row(values)] for path, values in calm.items() if values]
    columns = ["path", "n", *(f"p{q:g}" for q in MARKED), "max"]
    return Chart("staleness", title, said, wide, narrow, Table("Latency of the alerts", columns, rows))


def _calm(path: str) -> Look:
    return Look(f"{look(path).kind} {CALM}", look(path).mark)


def _row(values: Sequence[float]) -> list[str]:
    return [whole(len(values)), *(duration(_p(values, q)) for q in MARKED), duration(max(values))]


def _staleness_said(found: dict[str, list[float]]) -> str:
    medians = {path: _p(values, 50) for path, values in found.items()}
    said = listed([f"{duration(value)} ({path})" for path, value in medians.items()])
    fastest, slowest = min(medians, key=medians.__getitem__), max(medians, key=medians.__getitem__)
    beside = ""
    if medians[fastest] > 0 and fastest != slowest:
        beside = f"; the median of {slowest} is {times(medians[slowest] / medians[fastest])} that of {fastest}"
    return f"Half of the alerts had come within {said}{beside}."


def _share(values: Sequence[float]) -> list[Point]:
    """Steps of the share, thinned out."""
    n = len(values)
    places = sorted({round(place) for place in np.linspace(0, n - 1, min(n, SPOTS))})
    points: list[Point] = [(values[0], 0.0)]
    for place in places:
        points += [(values[place], points[-1][1]), (values[place], 100 * (place + 1) / n)]
    return points


def _marks(values: Sequence[float]) -> list[Point]:
    return [(_p(values, q), q) for q in MARKED]


def computed_line(low: float, high: float, interval_s: float, runs_s: Sequence[float]) -> list[Point]:
    """`computed_share` at points of a logarithmic axis from low to high ms."""
    spots = [float(at) for at in np.geomspace(max(low, 1.0), high, SPOTS)]
    points = [(at, computed_share(at, interval_s, runs_s)) for at in spots]
    return [(at, share) for at, share in points if share > 0]


def _p(values: Sequence[float], q: float) -> float:
    return float(np.percentile(values, q))


def given(n: int) -> list[float]:
    """The percentiles that so many samples allow."""
    return [q for q in SPECTRUM if n >= LEAST.get(q, 1)]


def spectrum(saved: Saved) -> Chart | None:
    """Percentiles against time: each further nine takes as much room as the one before."""
    found = {path: [one.latency_ms for one in samples] for path, samples in saved.samples.items() if len(samples) > 1}
    if not found:
        return None
    lines, rows = [], []
    for path, values in found.items():
        points = [(_nines(q), _p(values, q)) for q in given(len(values)) if q >= SPECTRUM[3]]
        lines.append(Series(path, look(path), points, points))
        figures = {q: duration(_p(values, q)) for q in given(len(values))}
        rows.append([path, whole(len(values)), *(figures.get(q, "-") for q in SPECTRUM), duration(max(values))])
    low, high = around([value for one in lines for _, value in one.points])
    said = f"{_tail_said(found)} A p95 is given from 200 samples on, a p99 from 1,000, a p99.9 from 10,000."
    title = "Percentiles of the latency"
    ticks = [(_nines(q), f"p{q:g}") for q in SPECTRUM if q in (25.0, 50.0, 90.0, 99.0, 99.9)]
    most = max(x for one in lines for x, _ in one.points)
    x = Axis("percentile", _nines(SPECTRUM[3]), most, str, ticks=[one for one in ticks if one[0] <= most])
    y = Axis("latency", low, high, tick, log=True)
    wide, narrow = line_chart("percentiles", title, said, lines, x, y)
    columns = ["path", "n", *(f"p{q:g}" for q in SPECTRUM), "max"]
    return Chart("percentiles", title, said, wide, narrow, Table(title, columns, rows))


def _nines(q: float) -> float:
    return -float(np.log10(1 - q / 100))


def _tail_said(found: dict[str, list[float]]) -> str:
    said = [f"{path} {duration(_p(values, 90))}" for path, values in found.items()]
    return f"Nine of ten alerts had come within: {', '.join(said)}."
