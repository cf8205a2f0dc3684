"""The doctor when whole services are gone, when only a fresh start mends, and when Spark and Airflow run beside."""

import json
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import httpx
import psutil
import psycopg2
import pytest

from lab.stack import connect, kafka, process
from lab.stack.home import Home
from lab.stack.java import java_command
from tests.breaking import Book, Break, Patient, impostor, try_break
from tests.conftest import wait_for
from twinpath.settings import ROOT, load_settings

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(600)]
START = (  # by a process that ends, as `twinpath up` is: a child of ours would stay as a zombie when others stop it
    "import json, sys; from pathlib import Path; from lab.stack import process; from lab.stack.home import Home; "
    "process.start(Home(Path(sys.argv[1])), 'kafka', json.loads(sys.argv[2]))"
)
BAD_DAG = ROOT / "dags" / "zz_broken_by_a_test.py"


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Patient]:
    """A stack in a folder and on ports of its own, as `twinpath up` makes it."""
    postgres, broker, controller, worker, airflow, agents, _, stream, ui = process.free_ports(9)
    settings = load_settings(
        run_id="",
        pghost="127.0.0.1",
        pgport=postgres,
        kafka_bootstrap_servers=f"127.0.0.1:{broker}",
        kafka_controller_port=controller,
        connect_url=f"http://127.0.0.1:{worker}",
        airflow_port=airflow,
        agent_metrics_port=agents,
        stream_metrics_port=stream,
        stream_ui_port=ui,
        alerts_dsn="",
    )
    one = Patient(Home(tmp_path_factory.mktemp("home") / "stack"), settings)
    done = one.shell("twinpath up")
    try:
        assert done.returncode == 0, done.stderr
        one.insert()
        yield one
    finally:
        one.shell("twinpath down --purge")


def kill(name: str, patient: Patient) -> None:
    found = process.running(patient.home, name)
    assert found is not None
    ours = [found, *found.children(recursive=True)]
    for one in ours:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    psutil.wait_procs(ours, timeout=20)


def halt(name: str) -> Callable[[Patient], None]:
    def do(patient: Patient) -> None:
        found = process.running(patient.home, name)
        assert found is not None
        found.send_signal(signal.SIGSTOP)

    return do


def take_port(name: str, port: Callable[[Patient], int], held: ExitStack, patient: Patient) -> None:
    """Kill a service, and let another program have its port."""
    kill(name, patient)
    child = impostor(port(patient))

    def end() -> None:
        child.kill()
        child.communicate()

    held.callback(end)


def advertise_elsewhere(patient: Patient) -> None:
    """The broker sends its clients to a port on which nobody listens."""
    process.stop(patient.home, kafka.NAME, timeout_s=30)
    (nowhere,) = process.free_ports(1)
    properties = patient.home.path / "kafka" / "server.properties"
    port = patient.stack.kafka.port
    text = properties.read_text().splitlines()
    lines = [one.replace(f":{port},", f":{nowhere},") if one.startswith("advertised") else one for one in text]
    properties.write_text("\n".join(lines) + "\n")
    log, started = process.log_of(patient.home, kafka.NAME), "Kafka Server started"
    before = log.read_text().count(started)
    command = java_command("broker", kafka.HEAP_MB, "kafka.Kafka", str(properties))
    done = patient.shell(shlex.join([sys.executable, "-c", START, str(patient.home.path), json.dumps(command)]))
    assert done.returncode == 0, done.stderr
    wait_for(lambda: log.read_text().count(started) > before, "a started broker")


def drop_the_slot(patient: Patient) -> None:
    connect.stop_connector(patient.settings)
    wait_for(lambda: _dropped(patient), "a slot that nobody reads")
    connect.resume_connector(patient.settings)
    wait_for(lambda: "FAILED" in patient.states(), "a FAILED task")


def remake_the_slot(patient: Patient) -> None:
    connect.stop_connector(patient.settings)
    wait_for(lambda: _dropped(patient), "a slot that nobody reads")
    patient.sql(f"SELECT pg_create_logical_replication_slot('{patient.settings.slot}', 'test_decoding')")


def _dropped(patient: Patient) -> bool:
    """False while a task that is ending still reads it, or takes it once more."""
    try:
        patient.sql(f"SELECT pg_drop_replication_slot('{patient.settings.slot}')")
    except psycopg2.errors.ObjectInUse:
        return False
    return True


def delete_the_topic(patient: Patient) -> None:
    with kafka.admin(patient.settings) as client:
        client.delete_topics([patient.settings.topic])
        wait_for(lambda: patient.settings.topic not in client.list_topics(), "a topic that is gone")


def remake_the_topic(patient: Patient) -> None:
    """As Connect does by itself when the next change comes after somebody deleted the topic."""
    delete_the_topic(patient)
    patient.stack.scope().create_topic()
    patient.insert()


def drop_table(patient: Patient) -> None:
    patient.sql("DROP TABLE transactions CASCADE")


def postgres_port(patient: Patient) -> int:
    return patient.settings.pgport


def kafka_port(patient: Patient) -> int:
    return patient.stack.kafka.port


def connect_port(patient: Patient) -> int:
    return httpx.URL(patient.settings.connect_url).port or 0


held = ExitStack()


def freed(_: Patient) -> None:
    held.close()


BREAKS: dict[str, Break] = {
    "PostgreSQL killed": Break("postgres", "its process is gone", partial(kill, "postgres")),
    "PostgreSQL halted (SIGSTOP)": Break("postgres", "halted", halt("postgres")),
    "PostgreSQL's port taken by another program": Break(
        "postgres", "is taken by process", partial(take_port, "postgres", postgres_port, held), by_hand=freed
    ),
    "Kafka killed": Break("kafka", "its process is gone", partial(kill, "kafka")),
    "Kafka halted (SIGSTOP)": Break("kafka", "halted", halt("kafka")),
    "Kafka's port taken by another program": Break(
        "kafka", "is taken by process", partial(take_port, "kafka", kafka_port, held), by_hand=freed
    ),
    "advertised listener where nobody answers": Break("listener", "advertised.listeners", advertise_elsewhere),
    "Connect killed": Break("connect", "its process is gone", partial(kill, "connect")),
    "Connect halted (SIGSTOP)": Break("connect", "halted", halt("connect")),
    "Connect's port taken by another program": Break(
        "connect", "is taken by process", partial(take_port, "connect", connect_port, held), by_hand=freed
    ),
    "slot dropped": Break("slot", "no replication slot", drop_the_slot),
    "slot made anew by hand with another plugin": Break("slot", "test_decoding", remake_the_slot),
    "topic deleted": Break("topic", "found no topic", delete_the_topic),
    "topic deleted and made anew": Break("alert store", "made anew", remake_the_topic),
    "table dropped": Break("table", "no public.transactions", drop_table),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_service_is_named_and_the_doctors_line_mends_it(patient: Patient, book: Book, name: str) -> None:
    with held:
        try_break(patient, name, BREAKS[name], book)


def test_missing_jars_are_named_before_a_start_fails(patient: Patient, tmp_path: Path) -> None:
    assert patient.shell("twinpath down").returncode == 0
    done = patient.shell("twinpath doctor --json", JARS_DIR=str(tmp_path))
    assert patient.shell("twinpath up").returncode == 0
    assert done.returncode == 4
    found = json.loads(done.stdout)
    assert (found["name"], found["mend"]) == ("set-up", "make setup")
    assert str(tmp_path) in found["evidence"]


def bad_dag(held: ExitStack, patient: Patient) -> None:
    BAD_DAG.write_text(
        '"""Written by a test."""\n\nimport there_is_no_such_module  # noqa: F401\n\nDAG = "dag airflow"\n'
    )
    held.callback(lambda: BAD_DAG.unlink(missing_ok=True))
    wait_for(patient.stack.airflow.api.import_errors, "an import error", 120)


BESIDE: dict[str, Break] = {
    "Spark stream killed": Break("spark stream", "its process is gone", partial(kill, "spark-stream")),
    "Airflow's scheduler killed": Break("airflow-scheduler", "its process is gone", partial(kill, "airflow-scheduler")),
    "Airflow's DAG processor halted (SIGSTOP)": Break("airflow-dag-processor", "halted", halt("airflow-dag-processor")),
    "a DAG that cannot be imported": Break("airflow DAGs", "there_is_no_such_module", partial(bad_dag, held), freed),
}


@pytest.fixture(scope="module")
def with_all(patient: Patient) -> Patient:
    done = patient.shell("twinpath up --with airflow,spark-stream")
    assert done.returncode == 0, done.stderr
    return patient


@pytest.mark.parametrize("name", BESIDE)
def test_what_runs_beside_is_named_too(with_all: Patient, book: Book, name: str) -> None:
    with held:
        try_break(with_all, name, BESIDE[name], book)
