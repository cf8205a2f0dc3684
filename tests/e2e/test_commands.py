"""The commands as a user types them, on a stack in a folder of its own with ports of its own."""

import fcntl
import json
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from lab.measure.latency import HOPS
from lab.stack.process import free_ports
from twinpath.settings import ROOT

pytestmark = pytest.mark.e2e
TWINPATH = str(Path(sys.executable).with_name("twinpath"))
NO_PROXY_AT_ALL = "http://127.0.0.1:9"  # nobody answers: whatever asks it instead of our services fails


class Shell:
    """Runs commands with the environment of one stack."""

    def __init__(self, home: Path) -> None:
        postgres, kafka, controller, connect, agent, _next = free_ports(6)
        self.environment = {
            **os.environ,
            "TWINPATH_HOME": str(home),
            "PGPORT": str(postgres),
            "KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{kafka}",
            "KAFKA_CONTROLLER_PORT": str(controller),
            "CONNECT_URL": f"http://127.0.0.1:{connect}",
            "AGENT_METRICS_PORT": str(agent),
            "PATH": f"{Path(TWINPATH).parent}{os.pathsep}{os.environ['PATH']}",
        }

    def paste(self, lines: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run lines of the docs as somebody pastes them into a shell in the checkout."""
        return subprocess.run(
            ["bash", "-ec", lines], cwd=ROOT, capture_output=True, text=True, timeout=240,
            env=self.environment | environment, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip

    @contextmanager
    def typed(self, lines: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
        """The same for lines that go on until Ctrl-C, which is pressed at the end; both streams are its stdout."""
        with subprocess.Popen(
            ["bash", "-ec", lines], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
            stderr=subprocess.STDOUT, env=self.environment | environment, start_new_session=True,
        ) as running:  # fmt: skip
            try:
                yield running
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(running.pid, signal.SIGINT)
                running.communicate(timeout=60)

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [TWINPATH, *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=480, env=self.environment | environment, check=False
        )

    def ok(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def exported(self) -> dict[str, str]:
        lines = self.ok("env", "--export").splitlines()
        pairs = (line.removeprefix("export ").split("=", 1) for line in lines)
        return {name: value.strip("'") for name, value in pairs}


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    one = Shell(tmp_path_factory.mktemp("home") / "a stack of Zoë's 中" / ("long" * 20))
    one.environment.pop("HOME", None)
    one.environment |= dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), NO_PROXY_AT_ALL) | {"LC_ALL": "C"}
    done = one.run("up")
    try:
        assert done.returncode == 0, done.stderr
        yield one
    finally:
        one.run("down", "--purge")


def read_some(shell: Shell, *arguments: str, lines: int, end: signal.Signals = signal.SIGINT) -> list[dict[str, Any]]:
    """The first lines of a command that goes on until Ctrl-C, or until another signal."""
    with subprocess.Popen([TWINPATH, *arguments], stdout=subprocess.PIPE, text=True, env=shell.environment) as running:
        assert running.stdout is not None
        found = [json.loads(running.stdout.readline()) for _ in range(lines)]
        running.send_signal(end)
        running.stdout.read()
        assert running.wait(timeout=30) == 130
    return found


def pay(dsn: str, user: int, *amounts: int) -> int:
    """One commit of payments; returns the id of the last one."""
    with closing(psycopg2.connect(dsn)) as session, session, session.cursor() as cursor:
        for amount in amounts:
            cursor.execute("INSERT INTO transactions (user_id, amount) VALUES (%s, %s) RETURNING id", [user, amount])
        (last,) = cursor.fetchone() or (0,)
    return int(last)


def test_up_a_second_time_changes_nothing(shell: Shell) -> None:
    done = shell.run("up")
    assert done.returncode == 0
    assert done.stderr.count("already running (pid") == 5


def test_a_load_leads_to_alerts_and_every_hop_holds(shell: Shell) -> None:
    folder = Path(shell.ok("load", "--rate", "200", "--duration", "10", "--seed", "5", "-q").strip())
    assert (folder / "operations.jsonl").read_text().count('"op":"insert"') > 1900
    deadline = time.monotonic() + 60
    while not (found := [json.loads(line) for line in shell.ok("alerts", "--json").splitlines()]):
        assert time.monotonic() < deadline, "no alert within a minute"
    assert {alert["path"] for alert in found} == {"agent"}
    one = found[0]
    of_user = [json.loads(line) for line in shell.ok("alerts", "--json", "--user", str(one["user_id"])).splitlines()]
    assert one in of_user
    assert {alert["user_id"] for alert in of_user} == {one["user_id"]}
    assert "ok   slot is read" in shell.ok("status")
    assert shell.ok("doctor") == "every hop from the table to the agents holds\n"


def test_changes_and_alerts_are_shown_as_they_come(shell: Shell) -> None:
    exported = shell.exported()
    first = read_some(shell, "changes", "--from-beginning", "--json", lines=3)
    assert {change["op"] for change in first} <= {"INSERT", "UPDATE", "DELETE"}
    with subprocess.Popen(
        [TWINPATH, "alerts", "--follow", "--json"], stdout=subprocess.PIPE, text=True, env=shell.environment
    ) as following:
        assert following.stdout is not None
        pay(exported["WRITER_DSN"], 999001, 10, 10, 10, 7777)
        for line in following.stdout:
            if json.loads(line)["user_id"] == 999001:
                break
        following.send_signal(signal.SIGTERM)
        following.stdout.read()
        assert following.wait(timeout=30) == 130


def test_follow_tells_the_way_of_a_payment_to_its_alert_and_its_fate_elsewhere(shell: Shell) -> None:
    dsn = shell.exported()["WRITER_DSN"]
    tx_id = pay(dsn, 999004, 10, 10, 10, 7777)
    said = shell.ok("follow", str(tx_id))
    assert said.startswith(f"transaction {tx_id}: user 999004, 7777.00, merchant -, created ")
    assert re.search(r"^INSERT 7,777.00: committed .* UTC by transaction id \d+$", said, re.MULTILINE)
    assert re.search(r"^  broker +\S+ m?s after the commit, partition \d, offset \d+$", said, re.MULTILINE)
    assert re.search(r"^agent spending \S+: RAISED, score 7777, \S+ m?s after the commit$", said, re.MULTILINE)
    hops = re.findall(r"^  (.*?) +(\S+) (m?s)(?: #*)?$", said, re.MULTILINE)
    assert [hop for hop, *_ in hops] == list(HOPS)
    assert "\nagent velocity: judged, no alert\nspark_batch: has not run yet\n" in said
    unknown = shell.run("follow", "999999999", "--wait", "0")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "found no transaction 999999999" in unknown.stderr
    with subprocess.Popen(
        [TWINPATH, "follow", "--next", "--json"], stdout=subprocess.PIPE, text=True, env=shell.environment
    ) as waiting:
        paid = {}
        while waiting.poll() is None:  # it hears of alerts from its beginning on
            user = 999100 + len(paid)
            paid[pay(dsn, user, 10, 10, 10, 7777)] = user
            time.sleep(0.3)
        assert waiting.stdout is not None
        followed = json.loads(waiting.stdout.read())
    assert followed["row"]["user_id"] == paid[followed["tx_id"]]
    assert [(one["path"], one["rule"], one["status"]) for one in followed["alerts"]] == [
        ("agent", "spending", "RAISED")
    ]


def test_watch_prints_one_frame_into_a_pipe(shell: Shell) -> None:
    found = shell.run("watch", COLUMNS="80")
    assert (found.returncode, found.stderr) == (0, "")
    assert max(map(len, found.stdout.splitlines())) <= 80
    assert "\x1b" not in found.stdout
    assert "FAIL" not in found.stdout
    assert re.search(r"^slot +twinpath_transactions: active, read by walsender \d+, ", found.stdout, re.MULTILINE)
    (records,) = re.findall(r"^topic +dbserver1.public.transactions: (\S+) records, \S+/s$", found.stdout, re.MULTILINE)
    lanes = re.findall(r"^agent +(\S+) +(\S+) +\S+ +(\S+) ", found.stdout, re.MULTILINE)
    assert lanes == [("spending", records, "0"), ("velocity", records, "0")]


@pytest.mark.parametrize(("key", "status"), [(b"q", 0), (None, 130)])
def test_watch_draws_on_a_terminal_until_q_or_ctrl_c(shell: Shell, key: bytes | None, status: int) -> None:
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    before = termios.tcgetattr(its)
    environment = shell.environment | {"TERM": "xterm-256color", "NO_COLOR": "1"}
    with subprocess.Popen([TWINPATH, "watch"], stdin=its, stdout=its, stderr=its, env=environment) as watching:
        drawn = b""
        while b"its own." not in drawn:  # the end of a frame
            drawn += os.read(ours, 65536)
        if key is None:
            watching.send_signal(signal.SIGINT)
        else:
            os.write(ours, key)
        assert watching.wait(timeout=30) == status
    drawn += os.read(ours, 65536)
    assert b"q leaves" in drawn
    assert re.search(rb"\x1b\[[\d;]*[34]\d[;m]", drawn) is None, "NO_COLOR"
    assert drawn.rstrip().endswith((b"\x1b[?1049l\x1b[?25h", b"\x1b[?25h\x1b[?1049l")), "the screen is given back"
    assert termios.tcgetattr(its) == before
    os.close(ours)
    os.close(its)


def test_the_foreign_producer_of_the_readme_works_as_postgres(shell: Shell) -> None:
    session = psycopg2.connect(shell.exported()["SUPERUSER_DSN"])
    with session, session.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO transactions (user_id, amount, card_type, merchant_id) VALUES (%s, %s, %s, %s)",
            [(999002, 5 + number, "visa", 1) for number in range(1000)],
        )
    session.close()
    found = read_some(shell, "changes", "--from-beginning", "--user", "999002", "--json", lines=1000, end=signal.SIGHUP)
    assert [change["after"]["amount_cents"] for change in found] == [(5 + number) * 100 for number in range(1000)]


def test_temperatures_are_written_and_averaged_on_the_stack(shell: Shell) -> None:
    def run(program: str, *options: str) -> str:
        command = [sys.executable, f"temperature/temperature_data_{program}.py", *options]
        environment = shell.environment | shell.exported()
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("producer", "--interval", "0.05", "--count", "3")
    assert run("consumer", "--once", "--store").startswith("sensor-1: average ")


def left(shell: Shell) -> tuple[str, list[tuple[str]], list[tuple[str]]]:
    """Alerts of the standard names, databases of runs, slots."""
    with closing(psycopg2.connect(shell.exported()["SUPERUSER_DSN"])) as session, session.cursor() as cursor:
        cursor.execute("SELECT datname FROM pg_database WHERE datname ~ '^(mydb|alerts|office_db|airflow)_'")
        databases = cursor.fetchall()
        cursor.execute("SELECT slot_name FROM pg_replication_slots")
        return shell.ok("alerts", "--json"), databases, cursor.fetchall()


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_demo_with_airflow_on_the_running_stack_leaves_it_as_it_was(shell: Shell) -> None:
    before = left(shell)
    done = shell.run("demo", "--rate", "100", "--duration", "8", "--no-kills")
    assert done.returncode == 0, done.stderr
    assert "using the running stack" in done.stderr
    assert left(shell) == before
    assert before[1:] == ([], [("twinpath_transactions",)])


def test_a_reader_that_goes_away_is_no_error_and_stops_no_clean_up(shell: Shell) -> None:
    def pipe(command: str) -> list[str]:
        script = f"{TWINPATH} {command} | head -1 >/dev/null; echo ${{PIPESTATUS[0]}}"
        done = subprocess.run(
            ["bash", "-c", script], capture_output=True, text=True, timeout=180, env=shell.environment, check=False
        )
        return done.stdout.split()

    assert pipe("alerts") == ["0"]
    assert pipe("changes --from-beginning --json") == ["0"]
    before = left(shell)
    assert pipe("demo --no-kills --no-batch --rate 100 --duration 8 2>&1") == ["0"]
    assert left(shell) == before
    assert before[1:] == ([], [("twinpath_transactions",)])


def test_changed_parameters_begin_a_version_beside_the_old_one_which_prune_removes(shell: Shell) -> None:
    def alerts(*options: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in shell.ok("alerts", "--json", *options).splitlines()]

    def spending() -> list[dict[str, Any]]:
        found = [json.loads(line) for line in shell.ok("rules", "--json").splitlines()]
        return [one for one in found if one["rule"] == "spending"]

    before = alerts()
    old = spending()[0]["version"]
    done = shell.run("up", RULE_PARAMETERS='{"spending": {"ratio": 50}}')
    assert done.returncode == 0, done.stderr
    assert f"agent-spending: parameters changed, version {old} -> " in done.stderr
    assert "agent-velocity: already running" in done.stderr
    deadline = time.monotonic() + 60
    while (active := spending()[0])["behind"]:
        assert time.monotonic() < deadline, active
    assert (active["active"], active["running"], active["parameters"]["ratio"]) == (True, True, 50)
    anew = [one for one in alerts() if one["rule"] == "spending"]
    assert {one["rule_version"] for one in anew} == {active["version"]}
    assert 0 < len(anew) < len([one for one in before if one["rule"] == "spending"])
    assert len(alerts("--all-versions")) == len(before) + len(anew)

    assert "going on where that version stood" in shell.run("up").stderr
    assert alerts() == before
    dry = shell.run("prune", "--superseded")
    assert f"would remove superseded version agent spending {active['version']}: {len(anew)} of alert_log" in dry.stdout
    assert "nothing was removed" in dry.stderr
    assert len(alerts("--all-versions")) == len(before) + len(anew)
    assert dry.stdout.replace("would remove", "removed") == shell.ok("prune", "--superseded", "--yes")
    assert alerts("--all-versions") == before
    assert shell.ok("prune", "--older-than", "30d", "--alerts", "--dead-letters").startswith("would remove 0 rows")
    assert alerts() == before


def test_dead_letters_of_rows_that_cannot_be_judged_are_listed(shell: Shell) -> None:
    session = psycopg2.connect(shell.exported()["WRITER_DSN"])
    with session, session.cursor() as cursor:
        cursor.execute("INSERT INTO transactions (user_id, amount) VALUES (999003, 'NaN')")
    session.close()
    deadline = time.monotonic() + 60
    while len(found := shell.ok("dead-letters").splitlines()) < 2:
        assert time.monotonic() < deadline, found
    assert [line.split()[1] for line in found] == ["spending", "velocity"]
    said = shell.ok("dead-letters", "--redrive").splitlines()
    assert [line for line in said if line[0] != " "] == [
        f"{rule}: 1 dead letters, 0 can be read now, 1 cannot: nothing to do" for rule in ("spending", "velocity")
    ]


def test_status_names_a_dead_broker_and_up_mends_it(shell: Shell) -> None:
    saved = Path(shell.environment["TWINPATH_HOME"]) / "processes" / "kafka.json"
    os.kill(json.loads(saved.read_text())["pid"], signal.SIGKILL)
    found = shell.run("status")
    assert found.returncode == 4
    assert "FAIL kafka" in found.stdout
    assert "FAIL topic            cannot be seen: listener does not hold" in found.stdout
    assert "Traceback" not in found.stderr
    shell.ok("up", "-q")
    deadline = time.monotonic() + 60
    while shell.run("doctor").returncode:
        assert time.monotonic() < deadline, shell.run("status").stdout
        time.sleep(1)


def test_down_keeps_everything_and_up_goes_on_where_it_stood(shell: Shell) -> None:
    before = shell.ok("alerts", "--json")
    assert before
    stopped = shell.run("down")
    assert stopped.returncode == 0
    assert stopped.stderr.count("stopped (pid") == 5
    assert "nothing was running" in shell.run("down").stderr
    failing = shell.run("alerts")
    assert (failing.returncode, failing.stdout) == (4, "")
    assert "twinpath up" in failing.stderr
    assert "Traceback" not in failing.stderr
    assert json.loads(shell.run("doctor", "--json").stdout)["name"] == "postgres"
    shell.ok("up", "-q")
    assert shell.ok("alerts", "--json") == before
    assert shell.ok("doctor") == "every hop from the table to the agents holds\n"


def test_env_shows_addresses_and_no_password(shell: Shell) -> None:
    exported = shell.exported()
    shown = shell.ok("env")
    assert exported["PGPASSWORD"]
    assert exported["PGPASSWORD"] not in shown
    assert "passwords.json" in shown


@pytest.mark.parametrize(
    ("arguments", "environment", "status", "words"),
    [
        (("nonsense",), {}, 2, "nonsense"),
        (("load", "--rate", "0"), {}, 2, "RATE"),
        (("status",), {"RATE": "abc"}, 2, "RATE"),
        (("status",), {"PGPORT": "-1"}, 2, "PGPORT"),
        (("load",), {"RULE_PARAMETERS": "{"}, 2, "rule_parameters"),
        (("prune", "--alerts"), {}, 2, "wanted an age such as 30d"),
        (("prune", "--older-than", "30d"), {}, 2, "name what to prune"),
        (("prune", "--older-than", "a month", "--runs"), {}, 2, "found 'a month'"),
        (("rebuild", "speeding"), {}, 2, "'speeding', wanted one of: spending, velocity"),
        (("dead-letters", "--rule", "speeding"), {}, 2, "'speeding'"),
    ],
)
def test_usage_errors_say_what_is_wrong(
    shell: Shell, arguments: tuple[str, ...], environment: dict[str, str], status: int, words: str
) -> None:
    done = shell.run(*arguments, **environment)
    assert done.returncode == status
    assert words.lower() in done.stderr.lower()
    assert "Traceback" not in done.stderr


def test_a_taken_port_stops_up_and_leaves_nothing_running(tmp_path: Path) -> None:
    other = Shell(tmp_path / "stack")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", int(other.environment["AGENT_METRICS_PORT"]) + 1))
        taken.listen()
        done = other.run("up")
    assert done.returncode == 3
    assert f"process {os.getpid()}" in done.stderr
    assert "AGENT_METRICS_PORT" in done.stderr
    assert "postgres: starting" not in done.stderr, "every port is looked at before anything starts"
    assert "nothing was running" in other.run("down", "--purge").stderr


@pytest.mark.parametrize("phase", ["kafka: starting", "connector: starting", "agent-velocity: starting"])
def test_ctrl_c_during_up_stops_what_it_had_started(tmp_path: Path, phase: str) -> None:
    other = Shell(tmp_path / "stack")
    with subprocess.Popen([TWINPATH, "up"], stderr=subprocess.PIPE, text=True, env=other.environment) as starting:
        assert starting.stderr is not None
        for line in starting.stderr:
            if phase in line:
                break
        starting.send_signal(signal.SIGINT)
        starting.stderr.read()
        assert starting.wait(timeout=60) == 130
    assert "nothing was running" in other.run("down", "--purge").stderr
