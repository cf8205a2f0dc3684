"""The commands of the docs as they stand there, pasted into a shell beside one stack."""

import json
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from subprocess import Popen
from typing import Any

import psutil
import psycopg2
import pytest

from lab.stack.process import free_ports
from tests.conftest import wait_for
from tests.documented import commands_of
from tests.e2e.test_commands import Shell
from twinpath.settings import ROOT

pytestmark = pytest.mark.e2e
FOLLOWED, MINE = 1042, 999_001  # users


class Documented(Shell):
    """A stack whose DSNs were asked for once."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "stack")
        self._dsn = ""
        (ui,) = free_ports(1)
        self.environment |= {"STREAM_UI_PORT": str(ui), "STREAM_CHECKPOINTS": str(folder / "checkpoints")}

    def start(self) -> None:
        self.ok("up", "-q")
        self._dsn = self.exported()["SUPERUSER_DSN"]

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        with closing(psycopg2.connect(self._dsn)) as session, session, session.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def pay(self, user: int, *amounts: str) -> None:
        """Payments, each in a commit of its own."""
        for amount in amounts:
            self.sql(f"INSERT INTO transactions (user_id, amount) VALUES ({user}, {amount})")

    def alerts(self, *options: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.ok("alerts", "--json", *options).splitlines()]

    def pasted(self, lines: str) -> str:
        """What lines print that end well."""
        done = self.paste(lines)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Documented]:
    one = Documented(tmp_path_factory.mktemp("home"))
    try:
        one.start()
        yield one
    finally:
        one.run("down", "--purge")


def until(running: Popen[str], words: str) -> str:
    """The next line that holds these words."""
    assert running.stdout is not None
    said = []
    for line in running.stdout:
        said.append(line)
        if words in line:
            return line
    pytest.fail(f"it ended without saying {words}: {''.join(said)}")


def test_the_payment_that_is_followed_raises_the_alert_that_its_page_shows(shell: Documented) -> None:
    shell.pay(FOLLOWED, "120.00", "160.50", "176.10")
    shell.sql(commands_of("payment"))
    (found,) = wait_for(lambda: shell.alerts("--user", str(FOLLOWED)), "the alert")
    assert f'{found["status"]}, score {found["score"]}, "{found["reason"]}"' in (ROOT / "docs" / "flow.md").read_text()
    lines = commands_of("follow").replace("13329", str(found["tx_id"]))
    assert shell.pasted(lines).startswith(
        f"transaction {found['tx_id']}: user {FOLLOWED}, 640.00, merchant 77, created "
    )


def test_the_payments_of_the_lab_sheet_raise_an_alert_and_its_correction_retracts_it(shell: Documented) -> None:
    with shell.typed(commands_of("lab-up")) as following:
        until(following, f" user {FOLLOWED} ")
        shell.pay(MINE, "100", "120", "110", "900")
        assert " spending RAISED " in until(following, f" user {MINE} ")
        shell.sql(commands_of("lab-correction"))
        assert " spending RETRACTED " in until(following, f" user {MINE} ")
    assert following.returncode == 130


def test_a_second_instance_of_an_agent_is_given_partitions_and_leaves_at_ctrl_c(shell: Documented) -> None:
    with shell.typed(commands_of("second-instance")) as agent:
        until(agent, '"event": "owns"')
    assert agent.returncode == 0


def test_the_readmes_producer_commits_its_rows_and_one_frame_of_watch_shows_them(shell: Documented) -> None:
    ((before,),) = shell.sql("SELECT count(*) FROM transactions")
    assert shell.pasted(commands_of("own-producer")) == ""
    assert shell.sql("SELECT count(*) FROM transactions") == [(before + 1000,)]

    def frame() -> str | None:
        """A frame in which both agents are done with all of it."""
        found = shell.pasted(commands_of("watch-once"))
        return found if len(re.findall(r"^agent +\S+ +\S+ +\S+ +0 ", found, re.MULTILINE)) == 2 else None

    found = wait_for(frame, "the agents judged everything")
    assert re.search(r"^topic +dbserver1\.public\.transactions: 1,0\d\d records, ", found, re.MULTILINE)


def test_both_spark_jobs_by_hand_judge_all_rows(shell: Documented) -> None:
    by_hand = commands_of("stream-by-hand")
    shell.pasted(by_hand.replace("--rules", "--until-empty --rules"))
    found = {
        path: sorted((one["rule"], one["tx_id"], one["status"]) for one in shell.alerts() if one["path"] == path)
        for path in ("agent", "spark_stream")
    }
    assert found["spark_stream"] == found["agent"]
    assert len(found["agent"]) >= 3
    summary = json.loads(shell.pasted(commands_of("batch-by-hand")).splitlines()[-1])
    ((rows,),) = shell.sql("SELECT count(*) FROM transactions")
    assert (summary["rows_read"], summary["merged"]) == (rows, True)


def test_a_rule_that_is_rebuilt_has_the_same_alerts_under_a_version_of_its_own(shell: Documented) -> None:
    def spending() -> list[tuple[Any, ...]]:
        found = [one for one in shell.alerts() if (one["path"], one["rule"]) == ("agent", "spending")]
        return sorted((one["tx_id"], one["status"], one["reason"]) for one in found)

    def judged() -> bool:
        versions = [json.loads(line) for line in shell.ok("rules", "--json").splitlines()]
        return any(one["version"].endswith(".2") and one["active"] and one["behind"] == 0 for one in versions)

    before = spending()
    assert shell.ok("rebuild", "spending").startswith("spending: judged anew as version 1-")
    wait_for(judged, "the whole log was judged anew")
    assert spending() == before


def test_temperatures_are_written_and_averaged_until_ctrl_c(shell: Documented) -> None:
    producer, consumer = commands_of("temperatures").splitlines()
    with shell.typed(producer) as producing:
        until(producing, '"event": "wrote"')
    with shell.typed(consumer) as averaging:
        until(averaging, "sensor-1: average ")
    assert (producing.returncode, averaging.returncode) == (130, 130)


@pytest.mark.long
@pytest.mark.timeout(400)
def test_the_readmes_cluster_runs_the_batch_job_and_is_gone_after_it(shell: Documented, tmp_path: Path) -> None:
    master, page = map(str, free_ports(2))
    shell.pay(MINE, "10")
    lines = commands_of("cluster").replace("7077", master).replace("8090", page)
    lines = re.sub(r"--work-dir \S*/", f"--work-dir {tmp_path}/", lines)
    found = [json.loads(line) for line in shell.pasted(lines).splitlines() if line.startswith("{")]
    assert found[-1]["merged"]
    assert found[-1]["rows_read"] > 0
    running = [str(one.info["cmdline"]) for one in psutil.process_iter(["cmdline"])]
    assert [one for one in running if tmp_path.name in one or f"'{master}'" in one] == []


def test_down_of_the_lab_sheet_stops_what_its_up_started(shell: Documented) -> None:
    assert shell.paste(commands_of("lab-down")).stderr.count("stopped (pid") == 5
