"""The streaming job as people run it: plain spark-submit, killed, on a cluster of processes, seen from outside."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from lab.measure import fence
from lab.measure.agreement import compare_log
from lab.scrape import scrape
from lab.stack import process
from lab.stack.spark_stream import SparkStream
from tests.conftest import Line, wait_for
from tests.integration.publishing import publish, usual_payments
from tests.spark.streams import counters, replays, settings_of, stored
from tests.spark.test_submit import submit
from twinpath.detection.rules import RULES
from twinpath.settings import ROOT

pytestmark = pytest.mark.integration
JOB = str(ROOT / "spark_jobs" / "fraud_stream.py")
USERS = 12
CLUSTER = "local-cluster[2,1,1024]"


def pay(line: Line, first_id: int) -> None:
    """Thirty payments of each user, every tenth unusual."""
    for user in range(USERS):
        amounts = ["12.00"] * 9 + ["5000.00"]
        payments = usual_payments(user, first_id + 1000 * user, amounts * 3)
        publish(line.settings, payments, user % line.settings.topic_partitions)


@pytest.fixture
def stream(topic_line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SparkStream]:
    monkeypatch.setenv("SPARK_HOME", "/nowhere")  # another Spark's, which is none of ours
    one = topic_line.stack.spark_stream(settings_of(topic_line, tmp_path, stream_max_records=150))
    yield one
    one.stop()


def wait_until_judged(line: Line, stream: SparkStream) -> None:
    stream.wait_until_judged(line.scope.topic_id(), fence.end_offsets(line.settings), 90)


def agrees(line: Line) -> bool:
    expected = replays(line)
    return all(compare_log(stored(line, rule), expected[rule.name].alerts).equal for rule in RULES.values())


@pytest.mark.timeout(600)
def test_three_kills_of_the_driver_lose_nothing_and_store_nothing_twice_and_a_cluster_takes_over(
    topic_line: Line, stream: SparkStream
) -> None:
    """Killed before, during and after its write; then a cluster of processes goes on with the same checkpoint."""
    line = topic_line
    for number, point in enumerate(("before_write:2", "during_write:3", "after_write:2")):
        pay(line, 1 + 100 * number)
        stream.start(TWINPATH_FAIL_AT=point)
        name = stream.name
        wait_for(lambda: not stream.running(), f"the job killed itself at {point}", 120)
        assert process.running(line.stack.home, name) is None
        stream.kill()
    stream.start(master=CLUSTER)
    stream.wait()
    wait_until_judged(line, stream)
    assert agrees(line)
    records = 3 * 30 * USERS
    found = counters(line, "spending")
    assert found["judged"] == records == sum(fence.end_offsets(line.settings).values())
    assert found["alerts"] == len(stored(line, RULES["spending"])) > 100
    assert found["alerts_refused"] > 0, "the micro-batch that was stored ran again"
    seen_from_outside(stream, line)
    stopped = psutil.Process(process.running(line.stack.home, stream.name).pid)  # type: ignore[union-attr]
    assert stream.stop()
    assert not stopped.is_running()
    assert '"event": "stopped"' in process.log_of(line.stack.home, stream.name).read_text(), "it ended by itself"


def seen_from_outside(stream: SparkStream, line: Line) -> None:
    """Figures at /metrics, a line for each micro-batch, and nothing that listens beyond loopback."""
    (query,) = [one["query"] for one in stream.progress()]
    behind = f'twinpath_stream_lag_records{{query="{query}"}}'

    def caught_up() -> dict[str, float] | None:
        page = scrape(f"{stream.url()}/metrics")
        return page if page.get(behind) == 0 else None

    found = wait_for(caught_up, "the listener was told of the last micro-batch")
    assert found[f'twinpath_stream_records_total{{query="{query}"}}'] >= 150
    assert found[f'twinpath_stream_state_rows{{query="{query}"}}'] == 4
    assert found[f'twinpath_stream_batch_seconds{{phase="addBatch",query="{query}"}}'] > 0
    log = process.log_of(line.stack.home, stream.name).read_text()
    assert re.search(r'"lag_records": \d+, .*"event": "micro-batch"', log)
    assert httpx.get(f"{stream.url()}/nothing").status_code == 404
    listening = [
        one.laddr.ip
        for member in process.members(line.stack.home, stream.name)
        for one in member.net_connections(kind="tcp")
        if one.status == psutil.CONN_LISTEN
    ]
    assert len(listening) >= 3
    assert {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}
    assert not re.search(r"5,?000\.00|this user's usual", log), "a log carries no amounts and no reasons"


@pytest.mark.long
@pytest.mark.timeout(400)
def test_a_standalone_master_with_two_workers_finds_the_same_alerts_and_takes_the_checkpoint_over(
    topic_line: Line, stream: SparkStream, cluster: tuple[str, Path]
) -> None:
    line, (master, _) = topic_line, cluster
    pay(line, 1)
    stream.start()
    stream.wait()
    wait_until_judged(line, stream)
    stream.stop()
    pay(line, 101)
    stream.start(master=master)
    stream.wait()
    wait_until_judged(line, stream)
    assert agrees(line)
    assert counters(line, "spending")["judged"] == 60 * USERS
    assert stream.stop()


def test_without_a_connection_the_job_names_the_setting() -> None:
    done = submit(None, JOB)
    assert done.returncode == 2
    assert "ALERTS_DSN is empty, wanted a DSN. `twinpath env --export` prints one" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
