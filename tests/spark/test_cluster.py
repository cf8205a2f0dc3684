"""The batch job on a real cluster: a standalone master and two workers, as the README starts them."""

import re
from pathlib import Path

import pytest

from tests.conftest import Line
from tests.spark.test_fraud_batch import NOON, alerts, expected, standing
from tests.spark.test_submit import JOB, submit, summary

pytestmark = [pytest.mark.integration, pytest.mark.long]


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
