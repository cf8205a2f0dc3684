"""`twinpath up --with spark-stream` as a user types it: started, seen, missed when it is gone, stopped."""

import json
import re
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from lab.stack import process
from lab.stack.home import Home
from tests import exposure
from tests.conftest import wait_for
from tests.documented import commands_of
from tests.e2e.test_commands import Shell

pytestmark = pytest.mark.e2e
NAME = "spark-stream"


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    one = Shell(tmp_path / "stack")
    metrics, ui = process.free_ports(2)
    one.environment |= {"STREAM_METRICS_PORT": str(metrics), "STREAM_UI_PORT": str(ui)}
    try:
        yield one
    finally:
        one.run("down", "--purge")


@pytest.mark.timeout(400)
def test_the_stream_is_started_shown_missed_and_stopped(shell: Shell, tmp_path: Path) -> None:
    home = Home(tmp_path / "stack")
    done = shell.run("up", "--with", "nonsense")
    assert done.returncode == 2
    assert "found nonsense, wanted airflow or spark-stream" in done.stderr
    up = shell.paste(commands_of("up-with-stream"))
    assert up.returncode == 0, up.stderr
    exposure.plant(shell.exported()["WRITER_DSN"])
    shell.ok("load", "--rate", "200", "--duration", "5", "--seed", "3")

    def shown() -> str | None:
        line = re.search(r"^ok   spark stream +(.*)$", shell.ok("status"), re.MULTILINE)
        return line[1] if line and line[1].endswith(" 0 records behind") else None

    text = wait_for(shown, "the stream judged everything", 90)
    assert re.match(r"spending-\S+\.velocity-\S+: micro-batch \d+ of \d+ records", text)
    found = [json.loads(line) for line in shell.ok("alerts", "--json").splitlines()]
    by_path = {
        path: sorted((one["rule"], one["tx_id"], one["status"], one["reason"]) for one in found if one["path"] == path)
        for path in ("agent", "spark_stream")
    }
    assert by_path["agent"] == by_path["spark_stream"]
    assert [one for one in exposure.listeners(home) if not exposure.is_loopback(one[0])] == []
    assert {name for *_, name in exposure.listeners(home)} >= {NAME, "postgres", "kafka", "connect"}
    secrets = exposure.passwords(home)
    assert exposure.in_files(exposure.logs(home), exposure.planted_words() | secrets) == []
    assert exposure.in_files(exposure.open_files(home), secrets) == []
    assert exposure.in_arguments(secrets) == []
    lanes = {(one["path"], one["rules"]): one for one in json.loads(shell.ok("watch", "--json"))["lanes"]}
    stream, agents = lanes.pop(("spark_stream", "all")), lanes.values()
    assert (stream["behind"], stream["lag_s"]) == (0, 0)
    assert stream["alerts"] == sum(one["alerts"] for one in agents) == len(by_path["agent"]) > 0
    rule, tx_id, *_ = by_path["agent"][0]
    said = shell.ok("follow", str(tx_id))
    assert re.findall(rf"^(\S+) {rule} \S+: RAISED", said, re.MULTILINE) == ["agent", "spark_stream"]
    assert f"{NAME}: already running" in shell.run("up", "--with", NAME).stderr
    other = shell.run("up", "--with", NAME, RULE_PARAMETERS='{"spending": {"ratio": 5}}')
    assert f"{NAME}: spending changed, starting it anew" in other.stderr
    assert f"{NAME}: healthy" in other.stderr
    killed = process.members(home, NAME)
    assert process.running(home, NAME) in killed
    for one in killed:
        with suppress(psutil.NoSuchProcess):
            one.send_signal(signal.SIGKILL)
    wait_for(lambda: process.running(home, NAME) is None, "it was gone")
    status = shell.run("status")
    assert status.returncode == 4
    assert re.search(r"^FAIL spark stream +its process is gone", status.stdout, re.MULTILINE)
    assert "mend: twinpath up --with spark-stream" in status.stdout
    down = shell.run("down")
    assert down.returncode == 0, down.stderr
    assert process.members(home, NAME) == []
