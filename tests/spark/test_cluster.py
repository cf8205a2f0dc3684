"""The batch job on a real cluster: a standalone master and two workers, as the README starts them."""

import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.stack import process
from lab.stack.stack import Stack
from tests.conftest import Line
from tests.spark.test_fraud_batch import NOON, alerts, expected, standing
from tests.spark.test_submit import BIN, JOB, submit, summary
from twinpath.settings import LOOPBACK

pytestmark = [pytest.mark.integration, pytest.mark.long]
START_TIMEOUT_S = 60.0


@pytest.fixture
def cluster(stack: Stack, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Address and log of a master with two workers of one core each."""
    (port,) = process.free_ports(1)
    address, names = f"spark://{LOOPBACK}:{port}", []
    clean = {name: "" for name in os.environ if name.startswith("SPARK_")}
    environment = clean | {"PATH": f"{BIN}:{os.environ['PATH']}", "SPARK_LOCAL_IP": LOOPBACK}

    def start(name: str, kind: str, *options: str, ready: str) -> None:
        name = f"spark-{name}-{secrets.token_hex(2)}"
        command = ["spark-class", f"org.apache.spark.deploy.{kind}", "--host", LOOPBACK, "--webui-port", "0", *options]
        names.append(name)
        process.start(stack.home, name, [str(BIN / command[0]), *command[1:]], environment)
        log = process.log_of(stack.home, name)
        process.wait_until(stack.home, name, lambda: ready in log.read_text(), START_TIMEOUT_S, f"it said: {ready}")

    try:
        start("master", "master.Master", "--port", str(port), ready="I have been elected leader")
        for number in (1, 2):
            folder = tmp_path / f"worker-{number}"
            options = ["--cores", "1", "--memory", "1g", "--work-dir", str(folder), address]
            start(f"worker-{number}", "worker.Worker", *options, ready="Successfully registered with master")
        yield address, process.log_of(stack.home, names[0])
    finally:
        for name in reversed(names):
            process.stop(stack.home, name)


@pytest.mark.timeout(400)
def test_a_standalone_cluster_of_two_workers_finds_the_alerts_of_one_process(
    store_line: Line, cluster: tuple[str, Path]
) -> None:
    line, (address, log) = store_line, cluster
    users = range(-6, 30)
    for number in range(30):
        line.insert([(user, f"{10 + (number * 37 + user) % 90}.00", NOON) for user in users])
    line.insert([(user, "4800.00", NOON) for user in users])
    found = summary(submit(line, "--master", address, JOB))
    assert (found["rows_read"], found["merged"]) == (31 * len(users), True)
    launched = set(re.findall(r"Launching executor \S+ on worker (\S+)", log.read_text()))
    assert len(launched) == 2, "both workers took part"
    assert standing(line, "spark_batch") == expected(line)
    assert {rule for rule, *_ in alerts(line)} == {"spending", "velocity"}
    local = summary(submit(line, JOB, "--mode", "full"))
    assert (local["rows_read"], local["alerts_written"]) == (found["rows_read"], found["alerts_written"])
    assert alerts(line, "spark_batch_full") == alerts(line, "spark_batch")
    again = summary(submit(line, "--master", address, JOB))
    assert (again["rows_read"], again["alerts_written"]) == (0, 0)
