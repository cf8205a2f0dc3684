"""Folders of runs as the demo leaves them, with made-up figures, for the tests of the report."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from lab.measure.latency import HOPS, Sample, percentiles, write_samples
from lab.measure.money import Payment, money

BEGAN = datetime(2026, 11, 23, 12, tzinfo=UTC)
MEDIANS_MS = {"agent": 20.0, "spark_stream": 900.0, "spark_batch": 45_000.0, "spark_batch_naive_id": 70_000.0}
LOG_FED = ("agent", "spark_stream")
ROWS = 3_000


def samples_of(path: str, count: int = 60) -> list[Sample]:
    """Latencies spread around the path's median, one a second."""
    random = Random(path)
    hops = (2.0, 3.0, 4.0, 1.0, 5.0) if path in LOG_FED else (None,) * len(HOPS)
    return [
        Sample(
            "velocity" if number % 6 == 0 else "spending",
            BEGAN + timedelta(seconds=number + 0.25),
            round(MEDIANS_MS[path] * random.uniform(0.5, 1.6), 3),
            hops,
        )
        for number in range(count)
    ]


def latency(samples: list[Sample]) -> dict[str, Any]:
    found = percentiles([one.latency_ms for one in samples])
    return {"n": found.n, "p50": found.p50, "p90": found.p90, "p99": found.p99, "max": found.max}


def path_figures(path: str, samples: list[Sample]) -> dict[str, Any]:
    rule = {"version": "1-x", "alerts": len(samples), "missing": 0, "extra": 0, "dead_letters": 0}
    found = {
        "rows_seen": ROWS, "alerts": len(samples), "missing": 0, "extra": 0, "explained": 0, "unexplained": 0,
        "duplicates_suppressed": 4, "dead_letters": 0, "cpu_s": 12.5, "peak_rss_mb": 171.0,
        "latency_ms": latency(samples), "rules": {"spending": rule, "velocity": rule},
    }  # fmt: skip
    if path in LOG_FED:
        calm = [one for one in samples if 10 <= (one.changed_at - BEGAN).total_seconds() < 20]
        found |= {
            "latency_ms_calm": latency(calm),
            "hops_ms_p50": dict(zip(HOPS, (2.0, 3.0, 4.0, 1.0, 5.0), strict=True)),
        }
    return found


def airflow_run(path: str, kind: str, due_s: float) -> dict[str, Any]:
    return {
        "dag_run_id": f"{kind}__{due_s}", "kind": kind, "run_after": (BEGAN + timedelta(seconds=due_s)).isoformat(),
        "tries": 1, "path": path, "merged": True, "rows_read": 900, "rows_visible": 900, "alerts_written": 30,
        "cpu_s": 26.0, "peak_rss_mb": 912.0,
        "seconds": {"schedule": 2.0, "queue": 0.5, "submit": 8.0, "session": 7.0, "prepare": 0.1, "read": 8.0,
                    "fold": 1.3, "stage": 0.4, "count": 0.1, "merge": 0.1, "check": 1.5},
    }  # fmt: skip


def money_of(paths: Iterable[str]) -> dict[str, Any] | None:
    """A burst whose payments are seconds apart, a drift whose payments are hours apart, and honest payments.

    Every path alerts the sixth payment of the one, the first of the other, and an honest one.
    """
    burst = [Payment(number, 7, 200_000, 4_000_000 * number, "stolen_card_burst", 1) for number in range(1, 9)]
    drift = [Payment(10 + number, 8, 60_000, 21_600_000_000 * number, "takeover_drift", 2) for number in range(4)]
    honest = [Payment(100 + number, 9, 1_000, 3_600_000_000 * number, "ordinary", 0) for number in range(48)]
    alerts = {
        path: [
            Sample("spending", BEGAN, MEDIANS_MS.get(path, 1.0), (None,) * len(HOPS), tx_id) for tx_id in (6, 10, 100)
        ]
        for path in paths
    }
    found: dict[str, Any] | None = msgspec.to_builtins(money([*burst, *drift, *honest], alerts, 60.0))
    return found


def summary(samples: dict[str, list[Sample]], **changes: Any) -> dict[str, Any]:
    """A summary that passes, with these paths."""
    goal = {"id": "log", "kind": "correctness", "text": "alerts equal replay()", "target": 0, "measured": {"agent": 0}}
    pair = {"a": "agent spending", "b": "replay of the operation log", "only_a": [], "only_b": [], "unexplained": 0}
    batch = any(path.startswith("spark_batch") for path in samples)
    runs = [airflow_run("spark_batch", "scheduled", 30.0), airflow_run("spark_batch_naive_id", "manual", 62.0)]
    window = {"start": BEGAN.isoformat(), "end": (BEGAN + timedelta(minutes=10)).isoformat(), "sensor_id": "office-1"}
    whole: dict[str, Any] = {
        "schema_version": 1,
        "run_id": "abc123",
        "began": BEGAN.isoformat(),
        "finished": (BEGAN + timedelta(seconds=80)).isoformat(),
        "seed": 7,
        "verdict": "pass",
        "goals": [goal | {"ok": True}],
        "workload": {
            "profile": "labelled", "rate": 50.0, "achieved_rate": 49.8, "duration_s": 60.0, "rows_inserted": ROWS,
            "rows_updated": 5, "rows_deleted": 4, "rows_rolled_back": 3, "records_in_topic": 3_010,
        },
        "calm_s": [10.0, 20.0],
        "faults": [
            {"killed": "agent spending", "at": (BEGAN + timedelta(seconds=21)).isoformat()},
            {"killed": "connect", "at": (BEGAN + timedelta(seconds=27)).isoformat()},
        ],
        "paths": {path: path_figures(path, found) for path, found in samples.items()},
        "agreement": {"reference_alerts": 60, "pairs": [pair]},
        "losses": {
            "insert": {"done": ROWS, "seen": dict.fromkeys(samples, ROWS)},
            "update": {"done": 5, "seen": dict.fromkeys(samples, 5), "note": "Of values."},
            "delete": {"done": 4, "seen": {path: 4 if path in LOG_FED else 0 for path in samples}},
        },
        "money": money_of(samples),
        "environment": {"commit": "abcdef0", "cores": 2, "load_average": [1.0, 2.0], "packages": {"msgspec": "0.22"}},
    }  # fmt: skip
    if batch:
        whole |= {
            "airflow_runs": runs,
            "batch_interval_s": 60.0,
            "temperature": {"windows": [window | {"readings": 0, "average": None}]},
        }
    return whole | changes


def write_run(folder: Path, samples: dict[str, list[Sample]] | None = None, **changes: Any) -> Path:
    """A folder with summary.json and latencies.csv; `changes` are keys of the summary."""
    found = {path: samples_of(path) for path in MEDIANS_MS} if samples is None else samples
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text(json.dumps(summary(found, **changes)))
    write_samples(found, folder / "latencies.csv")
    return folder
