"""Each bench in a tiny form on the shared stack: the result is whole, and ratios come from the rounds.

The figures themselves mean nothing at this length, and nothing here depends on them.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from lab.bench import agent, batch, capture, latency, outage, spark_stream
from lab.bench.pace import Pace
from lab.bench.result import Result
from lab.stack import kafka, process
from lab.stack.stack import Stack
from twinpath.settings import ROOT

pytestmark = pytest.mark.e2e
TWINPATH = Path(sys.executable).with_name("twinpath")
COMMON = {"command": "a test"}


@pytest.fixture
def left_nothing(stack: Stack) -> Iterator[None]:
    """No topic, no slot, no database and no process of a bench outlives it."""
    before = names_of(stack)
    yield
    assert names_of(stack) == before


def names_of(stack: Stack) -> set[str]:
    found = {f"process {name}" for name in process.names(stack.home) if name.startswith(("bench-", "agent-"))}
    with kafka.admin(stack.settings) as client:
        found |= {f"topic {name}" for name in client.list_topics()}
    session = psycopg2.connect(stack.credentials.dsn("twinpath_lab", "postgres"))
    with session.cursor() as cursor:
        for query in ("SELECT datname FROM pg_database", "SELECT slot_name FROM pg_replication_slots"):
            cursor.execute(query)
            found |= {f"in PostgreSQL {name}" for (name,) in cursor.fetchall()}
    session.close()
    return found


def written(result: Result, page: str, path: Path) -> dict[str, Any]:
    """The JSON of a bench, whole, with what every bench must tell; its folder is removed."""
    found = json.loads(path.read_text())
    shutil.rmtree(path.parent)
    assert found["bench"] == result.bench
    assert found["seed"] == 3
    assert found["machine"].keys() >= {"processor", "cores", "java", "commit", "packages", "jars"}
    for moment in ("began", "ended"):
        assert found[moment].keys() == {"at", "load_average", "steal_s", "available_gb"}
    assert found["not_publishable"]
    for one in found["rounds"]:
        assert one["usage"]["wall_s"] > 0
        assert one["disturbed"] == (one["usage"]["foreign"] > 0.05)
    for name, one in found["estimates"].items():
        if " / " in name:
            part, _, ratio = name.partition(": ")
            names, _, figure = ratio.rpartition(", ")
            above, _, below = names.partition(" / ")
            over, under = (figures(found, part, variant)[figure] for variant in (above, below))
            assert one["rounds"] == [pytest.approx(over / under, rel=1e-5)], name
        assert one["low"] <= one["median"] <= one["high"]
    for goal in found["goals"]:
        assert goal["worse_end"] in (goal["measured"]["low"], goal["measured"]["high"])
        assert f"{goal['id']} {goal['text']}" in page
    return found


def figures(found: dict[str, Any], part: str, variant: str) -> dict[str, Any]:
    """The figures of the only round of a variant."""
    (one,) = [one["figures"] for one in found["rounds"] if (one["part"], one["variant"]) == (part, variant)]
    return one


@pytest.mark.long
@pytest.mark.usefixtures("left_nothing")
def test_latency_measures_every_commit_of_ours_of_stock_and_of_the_bare_log(stack: Stack) -> None:
    pace = Pace(rate=400, seconds=2, settle_s=1, seed=3)
    parts = ("topic", "alerts")
    found = written(*latency.measure(stack, rounds=1, pace=pace, warm_up_s=0, parts=parts, **COMMON))
    for variant in ("ours", "stock", "bare"):
        one = figures(found, "topic", variant)
        assert 0 < one["consumer_ms_n"] < pace.commits, "the settling time is left out"
        assert 0 < one["consumer_ms_p50"] <= one["consumer_ms_max"]
        assert one["consumer_ms_p99"] is None, "fewer than 1,000 samples"
        assert one["failed_commits"] == 0
    assert found["variants"]["topic: stock"] == {}
    assert found["variants"]["topic: ours"]["poll.interval.ms"] == "5"
    for variant in ("agent", "chain without logic"):
        one = figures(found, "alerts", variant)
        assert one["alert_ms_p50"] > 0
    assert figures(found, "alerts", "chain without logic")["rows_written"] == pace.commits // 2
    assert pace.commits * 0.1 < figures(found, "alerts", "agent")["rows_written"] < pace.commits * 0.6
    assert "topic: stock / ours, consumer_ms_p50" in found["estimates"]
    assert "alerts: agent / chain without logic, alert_ms_p50" in found["estimates"]
    assert {goal["id"] for goal in found["goals"]} == {"P1", "P2"}


@pytest.mark.usefixtures("left_nothing")
def test_agents_judge_every_event_of_the_topic_that_the_bare_loops_read(stack: Stack) -> None:
    options = {"rounds": 1, "events": 20_000, "users": 100, "many": 2_000, "clients": ("confluent",), "seed": 3}
    found = written(*agent.measure(stack, parts=("speed", "memory"), **options, **COMMON))
    for loop in ("fetch", "typed", "decode"):
        one = figures(found, "speed", f"{loop}, confluent")
        assert one["events_per_s"] > 0
        assert 10_000 < one["events"] <= 20_000
    alerts = []
    for name in ("agent", "two agents"):
        one = figures(found, "speed", f"{name}, confluent")
        assert one["judged"] == 20_000
        alerts.append(one["alerts"])
    assert alerts[0] == alerts[1] > 10, "the same events, the same alerts"
    full = figures(found, "memory", "full histories")
    assert (full["users"], full["payments_each"]) == (100, 55)
    assert full["peak_mb"] >= full["rss_mb"] > full["pss_mb"] > 0
    assert full["stored_state_bytes"] > 100 * 50 * 40
    assert full["checkpoints"] >= 1
    assert {goal["id"] for goal in found["goals"]} == {"P5", "P12"}


@pytest.mark.long
@pytest.mark.usefixtures("left_nothing")
def test_capture_drains_the_whole_backlog_by_connectors_and_by_the_bare_reader(stack: Stack) -> None:
    options = {"rounds": 1, "rows": 5_000, "seconds": 1, "warm_events": 0, "seed": 3}
    found = written(*capture.measure(stack, parts=("drain",), **options, **COMMON))
    for variant in ("ours", "stock", "pg_recvlogical", "ours, one-row commits", "pg_recvlogical, one-row commits"):
        one = figures(found, "drain", variant)
        assert 0 < one["events"] <= 5_000
        assert "walsender_cpu_us_per_event" in one
    assert {goal["id"] for goal in found["goals"]} <= {"P4"}


@pytest.mark.usefixtures("left_nothing")
def test_batch_judges_every_row_by_both_ways_of_reading_and_finds_the_same_alerts(stack: Stack) -> None:
    options = {"rounds": 1, "rows": 4_000, "users": 50, "partitions": 2, "warm_ups": 0, "seed": 3}
    found = written(*batch.measure(stack, parts=("warm", "cold", "read"), **options, **COMMON))
    alerts = set()
    for part in ("warm", "cold"):
        for variant, statements in (("plain", 2), ("partitioned", 3)):  # one asks for the columns
            one = figures(found, part, variant)
            assert (one["rows_sent"], one["statements"]) == (4_000, statements)
            assert one["blocks"] > 10
            assert one["peak_mb"] > 300
            parts = ("prepare_s", "read_s", "fold_s", "stage_s", "merge_s", "postgres_cpu_s", "spark_cpu_s")
            assert all(one[name] >= 0 for name in parts)
            assert one["whole_s"] > sum(one[name] for name in parts[:5])
            alerts.add(one["alerts"])
    assert len(alerts) == 1
    assert alerts.pop() > 0
    assert 0 < figures(found, "cold", "plain")["start_s"] < figures(found, "cold", "plain")["whole_s"]
    assert figures(found, "read", "partitioned")["rows_sent"] == 4_000
    assert [goal["id"] for goal in found["goals"]] == ["P10"], "6 s are wanted of 1,000,000 rows only"


@pytest.mark.long
@pytest.mark.usefixtures("left_nothing")
@pytest.mark.timeout(900)
def test_every_form_of_the_spark_stream_reads_the_same_topic_and_the_whole_job_judges_it(stack: Stack) -> None:
    pace = Pace(rate=200, seconds=4, settle_s=4, seed=3)
    options = {"rounds": 1, "events": 6_000, "users": 100, "many": 3_000, "per_batch": 1_000}
    found = written(
        *spark_stream.measure(stack, pace=pace, parts=("drain", "forms", "latency", "growth"), **options, **COMMON)
    )
    for form in (
        "read",
        "decode",
        "state",
        "state and sink",
        "state and sink, one rule",
        "from_json",
        "transform",
        "users",
    ):
        one = figures(found, "drain", form)
        assert one["events_per_s"] > 0
        assert 1_000 < one["events"] < 6_000, "the first micro-batches are left out"
    one = figures(found, "latency", "at once")
    assert 0 < one["alert_ms_p50"] <= one["alert_ms_max"]
    assert one["micro_batches"] > 1
    for buckets in (64, 1024):
        assert figures(found, "growth", f"{buckets} buckets")["users"] == 3_000
    assert {goal["id"] for goal in found["goals"]} == {"P9"}


@pytest.mark.long
@pytest.mark.usefixtures("left_nothing")
def test_writers_are_measured_with_and_without_a_reader(stack: Stack) -> None:
    options = {"rounds": 1, "rows": 5_000, "seconds": 2, "warm_events": 0, "seed": 3}
    found = written(*capture.measure(stack, parts=("idle", "writers"), **options, **COMMON))
    for variant in ("nobody", "bare reader", "pipeline, store apart", "pipeline"):
        one = figures(found, "writers", variant)
        assert one["failed_commits"] == 0
        assert one["closed_per_s"] > 0
        assert one["open_postgres_cpu_us_per_commit"] > 0
    assert "connect_percent_of_a_core" in figures(found, "idle", "poll.interval.ms 5")


@pytest.mark.long
@pytest.mark.usefixtures("left_nothing")
def test_commits_go_on_while_every_consumer_is_dead_and_all_of_them_are_judged_afterwards(stack: Stack) -> None:
    pace = Pace(rate=300, seconds=5, settle_s=0, seed=3)
    found = written(*outage.measure(stack, rounds=1, pace=pace, warm_up_s=1, parts=("outage",), **COMMON))
    base, dead = (figures(found, "outage", variant) for variant in outage.VARIANTS)
    for one in (base, dead):
        assert one["failed_commits"] == 0
        assert one["commit_ms_p99"] > 0
    assert dead["wal_kept_bytes"] > 1_500 * 100, "the slot keeps the log of all that was committed"
    assert dead["rows_drained"] == 1_501
    assert dead["connect_up_s"] <= dead["captured_s"] <= dead["drained_s"]
    assert {goal["id"] for goal in found["goals"]} == {"I6"}


@pytest.mark.long
@pytest.mark.usefixtures("left_nothing")
def test_every_setting_is_turned_once_and_connect_restarted_for_its_heap(stack: Stack) -> None:
    pace = Pace(rate=150, seconds=1, settle_s=0, seed=3)
    parts = ("ablation", "heap")
    found = written(*latency.measure(stack, rounds=1, pace=pace, warm_up_s=0.1, parts=parts, **COMMON))
    assert len({one["variant"] for one in found["rounds"]}) == 9
    capture_options = {"rounds": 1, "rows": 2_000, "seconds": 1, "warm_events": 0, "seed": 3}
    cold = written(*capture.measure(stack, parts=("knobs", "cold"), **capture_options, **COMMON))
    assert {one["part"] for one in cold["rounds"]} == {"knobs", "cold"}


@pytest.mark.long
def test_the_command_prints_its_tables_and_the_path_of_its_json() -> None:
    command = [str(TWINPATH), "bench", "latency", "--only", "topic", "--rounds", "1", "--rate", "100", "--seconds", "1"]
    command += ["--settle", "0", "--warm-up", "0.1", "--seed", "3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env={**os.environ}, check=False)
    assert done.returncode == 0, done.stderr
    path = Path(done.stdout.splitlines()[-1])
    assert path.is_relative_to(ROOT / "runs")
    assert json.loads(path.read_text())["command"].startswith("twinpath bench latency --only topic")
    assert "| ours | 1 |" in done.stdout
    shutil.rmtree(path.parent)
