"""One Spark session for all tests of the jobs, and a cluster of processes."""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from lab.stack import process
from lab.stack.spark import foreign
from lab.stack.stack import Stack
from spark_jobs.session import open_session
from tests.spark.test_submit import BIN
from twinpath.settings import LOOPBACK

START_TIMEOUT_S = 60.0


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    session = open_session("tests")
    yield session
    session.stop()


@pytest.fixture
def cluster(stack: Stack, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Address and log of a master with two workers of one core each."""
    (port,) = process.free_ports(1)
    address, names = f"spark://{LOOPBACK}:{port}", []
    environment = {**foreign(), "PATH": f"{BIN}:{os.environ['PATH']}", "SPARK_LOCAL_IP": LOOPBACK}

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
