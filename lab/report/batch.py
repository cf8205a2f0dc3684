"""The parts of a summary that tell of the batch path and of the temperatures."""

from collections import Counter
from datetime import datetime
from typing import Any

import msgspec

from lab.batch_side import BatchRun
from lab.beside import BesideFound
from lab.measure.batch import BatchPath, BatchRule
from lab.measure.causes import Explained
from lab.measure.latency import Sample, between, percentiles
from lab.temperature_side import Average


def path_sections(
    paths: list[BatchPath], beside: BesideFound, calm: tuple[datetime, datetime]
) -> dict[str, dict[str, Any]]:
    """`paths.<name>` of every batch mode; calm is a figure of theirs only where their runs began with the load."""
    found = {one.path: _path(one, [run for run in beside.runs if run.summary.path == one.path]) for one in paths}
    if beside.scheduler == "loop":
        for one in paths:
            found[one.path]["latency_ms_calm"] = _latency(between(one.samples, *calm))
    return found


def _latency(samples: list[Sample]) -> dict[str, Any]:
    return msgspec.structs.asdict(percentiles([sample.latency_ms for sample in samples]))


def _path(one: BatchPath, runs: list[BatchRun]) -> dict[str, Any]:
    explained = [each for rule in one.rules for each in rule.explained]
    unexplained = sum(each.cause is None for each in explained)
    return {
        "rows_seen": min((len(rule.judged) for rule in one.rules), default=0),
        "rows_missed": max((len(rule.missed) for rule in one.rules), default=0),
        "alerts": sum(rule.alerts for rule in one.rules),
        "missing": sum(len(rule.difference.missing) for rule in one.rules),
        "extra": sum(len(rule.difference.extra) for rule in one.rules),
        "explained": len(explained) - unexplained,
        "unexplained": unexplained,
        "causes": dict(sorted(Counter(each.cause or "none" for each in explained).items())),
        "duplicates_suppressed": 0,  # a run is merged whole or not at all: nothing is delivered twice
        "dead_letters": sum(rule.dead_letters for rule in one.rules),
        "cpu_s": round(sum(run.summary.cpu_s for run in runs), 1),
        "peak_rss_mb": max((run.summary.peak_rss_mb for run in runs), default=0.0),
        "latency_ms": _latency(one.samples),
        "runs": len(runs),
        "rules": {rule.rule: _rule(rule) for rule in one.rules},
    }


def _rule(rule: BatchRule) -> dict[str, Any]:
    return {
        "version": rule.version,
        "alerts": rule.alerts,
        "missing": len(rule.difference.missing),
        "extra": len(rule.difference.extra),
        "unexplained": len(rule.unexplained),
        "dead_letters": rule.dead_letters,
        "counters": dict(sorted(rule.counters.items())),
    }


def pairs(paths: list[BatchPath]) -> list[dict[str, Any]]:
    """`agreement.pairs` of every batch mode and rule, each difference with its cause and its evidence."""
    return [
        {
            "a": f"{one.path} {rule.rule}",
            "b": "replay of the operation log",
            "only_a": rule.difference.extra,
            "only_b": rule.difference.missing,
            "unexplained": len(rule.unexplained),
            "explained": [_explained(each) for each in rule.explained],
        }
        for one in paths
        for rule in one.rules
    ]


def _explained(one: Explained) -> dict[str, Any]:
    return msgspec.structs.asdict(one)


def beside_sections(beside: BesideFound) -> dict[str, Any]:
    """The runs of the batch job, who started them how often, and what Airflow made of the temperatures."""
    return {
        **({} if beside.windows is None else {"temperature": _temperature(beside.windows)}),
        "airflow_runs": _airflow_runs(beside),
        "batch_scheduler": beside.scheduler,
        "batch_interval_s": beside.interval_s,
    }


def _airflow_runs(beside: BesideFound) -> list[dict[str, Any]]:
    """Every run of the batch job, the oldest first, with its seconds by part; the key is of before the loop."""
    return [
        {
            "dag_run_id": run.run_id,
            "kind": run.kind,
            "run_after": run.run_after.isoformat(timespec="seconds"),
            "tries": run.tries,
            "path": run.summary.path,
            "merged": run.summary.merged,
            "rows_read": run.summary.rows_read,
            "rows_visible": run.summary.rows_visible,
            "alerts_written": run.summary.alerts_written,
            "cpu_s": run.summary.cpu_s,
            "peak_rss_mb": run.summary.peak_rss_mb,
            "seconds": run.seconds,
        }
        for run in beside.runs
    ]


def _temperature(averages: list[Average]) -> dict[str, Any]:
    """The windows as Airflow stored them."""
    windows = [
        {
            "start": one.start.isoformat(),
            "end": one.end.isoformat(),
            "sensor_id": one.sensor_id,
            "readings": one.readings,
            "average": one.average,
        }
        for one in averages
    ]
    return {"windows": windows}
