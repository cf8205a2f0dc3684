"""The doctor on one real stack: each hop is broken on purpose, named, and mended by the doctor's own line."""

import json
import signal
import stat
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from confluent_kafka import Consumer

from lab.console import Progress
from lab.doctor import checks
from lab.stack import connect, kafka, process
from lab.stack.scope import drop_database, drop_slot
from lab.stack.stack import Stack
from tests.breaking import Book, Break, Patient, reading_the_slot, try_break
from tests.conftest import wait_for
from tests.integration.publishing import key, publish
from twinpath.detection.rules import RULES
from twinpath.settings import run_settings

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]
USERS = range(1, 41)


@pytest.fixture(scope="module")
def patient(stack: Stack) -> Iterator[Patient]:
    """The standard names on the tests' stack; no other test uses them."""
    (port,) = process.free_ports(1)
    one = Patient(stack.home, stack.settings.model_copy(update={"agent_metrics_port": port}))
    try:
        done = one.shell("twinpath up")
        assert done.returncode == 0, done.stderr
        one.insert(USERS)
        yield one
    finally:
        for rule in RULES:
            one.stack.agents().stop_all(rule)
        remove(one)


def remove(patient: Patient) -> None:
    """All that `twinpath up` made, as the superuser who made it."""
    settings = patient.settings
    connect.delete_connector(settings)
    with closing(patient.stack.postgres.connect("postgres")) as session:
        drop_slot(session, settings.slot)
        for name in (settings.source_database, settings.alerts_database, settings.temperature_database):
            drop_database(session, name)
    kafka.delete_topics(settings, settings.prefix)


def sql(*statements: str, database: str | None = None) -> Callable[[Patient], None]:
    return lambda patient: patient.sql(*statements, database=database)


def pause(patient: Patient) -> None:
    url = f"{patient.settings.connect_url}/connectors/{patient.settings.connector}/pause"
    httpx.put(url).raise_for_status()
    wait_for(lambda: patient.states() == ["PAUSED", "PAUSED"], "a paused connector")


def fail(patient: Patient) -> None:
    patient.reconfigure(publication_name="missing")
    wait_for(lambda: "FAILED" in patient.states(), "a FAILED task")


def written(**config: str) -> Callable[[Patient], None]:
    """A connector that is told otherwise, and a row that it writes so."""

    def do(patient: Patient) -> None:
        patient.reconfigure(**config)
        connect.wait_for_tasks(patient.settings)
        patient.stack.scope().wait_for_slot()
        patient.insert()

    return do


def told(**config: str) -> Callable[[Patient], None]:
    return lambda patient: patient.reconfigure(**config)


def spoil(patient: Patient) -> None:
    publish(patient.settings, [(key(1), b'{"amount": 12.34}')] * 3)


def stop_reading(patient: Patient) -> None:
    connect.stop_connector(patient.settings)
    query = "SELECT 1 FROM pg_replication_slots WHERE slot_name = %s AND NOT active"
    with closing(patient.stack.postgres.connect("postgres")) as session, session.cursor() as cursor:
        wait_for(lambda: cursor.execute(query, [patient.settings.slot]) or cursor.fetchone(), "a free slot")


def steal_the_slot(held: ExitStack, patient: Patient) -> None:
    stop_reading(patient)
    held.enter_context(reading_the_slot(patient))


def move_the_slot_on(patient: Patient) -> None:
    stop_reading(patient)
    advance = f"SELECT pg_replication_slot_advance('{patient.settings.slot}', pg_current_wal_flush_lsn())"
    patient.sql("INSERT INTO transactions (user_id, amount) VALUES (1, 12.34)", advance)


def forget_a_slot(patient: Patient) -> None:
    patient.sql("SELECT pg_create_logical_replication_slot('forgotten', 'pgoutput')")
    patient.sql(*["SELECT pg_logical_emit_message(false, '', ''), pg_switch_wal()"] * 18)


def lose_alerts(patient: Patient) -> None:
    patient.sql("DROP TABLE alert_log CASCADE", database=patient.settings.alerts_database)


def steal_partitions(held: ExitStack, patient: Patient) -> None:
    group = patient.settings.group("spending")
    thief = Consumer({"bootstrap.servers": patient.settings.kafka_bootstrap_servers, "group.id": group})
    held.callback(thief.close)
    thief.subscribe([patient.settings.topic])
    wait_for(lambda: thief.poll(0.2) or thief.assignment(), "some partitions for the thief", 60)
    patient.insert(USERS)


def halt_agent(patient: Patient) -> None:
    process.running(patient.home, "agent-velocity").send_signal(signal.SIGSTOP)


ALERTS_PASSWORD = "ALTER ROLE twinpath_alerts PASSWORD 'another'"
CDC_PASSWORD = "ALTER ROLE twinpath_cdc PASSWORD 'another'"
UNWRAP = {"transforms": "unwrap", "transforms_unwrap_type": "io.debezium.transforms.ExtractNewRecordState"}
STRINGS = "org.apache.kafka.connect.storage.StringConverter"
held = ExitStack()
BREAKS: dict[str, Break] = {
    "replica identity default: deletes and updates carry the key only": Break(
        "table", "replica identity: default", sql("ALTER TABLE transactions REPLICA IDENTITY DEFAULT")
    ),
    "the connector's role without REPLICATION": Break(
        "roles", "LOGIN; wanted LOGIN, REPLICATION", sql("ALTER ROLE twinpath_cdc NOREPLICATION")
    ),
    "the connector's role may not read the table": Break(
        "roles", "wanted .*SELECT", sql("REVOKE SELECT ON transactions FROM twinpath_cdc")
    ),
    "the password of the connector's role was changed": Break("roles", "password authentication", sql(CDC_PASSWORD)),
    "publication dropped": Break("publication", "no publication", sql("DROP PUBLICATION transactions")),
    "publication without the table": Break(
        "publication", "not of this table", sql("ALTER PUBLICATION transactions DROP TABLE transactions")
    ),
    "deletes are not published": Break(
        "publication", "insert, update of", sql("ALTER PUBLICATION transactions SET (publish = 'insert, update')")
    ),
    "slot read by another program": Break("slot", "read by another program", partial(steal_the_slot, held)),
    "slot moved on past a row that nobody read": Break("slot", "begins at .* wanted it at or before", move_the_slot_on),
    "a forgotten slot keeps WAL": Break("other slots", "slot forgotten.* MB", forget_a_slot),
    "connector paused": Break("connector", "PAUSED", pause),
    "connector RUNNING, its task FAILED": Break("connector", "RUNNING, tasks: FAILED: .*ublication", fail),
    "connector deleted": Break("connector", "knows no connector", lambda p: connect.delete_connector(p.settings)),
    "NUMERIC as base64 without AMOUNT_SCALE": Break(
        "records", "precise: amounts are base64", written(decimal_handling_mode="precise")
    ),
    "records flattened without FLATTENED": Break("records", "flattened", written(**UNWRAP)),
    "records as text, not JSON": Break("records", "StringConverter", told(value_converter=STRINGS)),
    "topic keyed by id": Break("records", "message.key.columns", told(message_key_columns="public.transactions:id")),
    "records of another writer in a shape that nobody reads": Break(
        "records", "none of the newest 3 .* op: found", spoil, by_hand=Patient.insert
    ),
    "the password of the alert store's role was changed": Break(
        "alert store", "password authentication", sql(ALERTS_PASSWORD)
    ),
    "a table of the alert store dropped": Break("alert store", "no alert_log, alerts_current", lose_alerts),
    "agent killed": Break("agent velocity", "does not run", lambda p: p.stack.agents().kill("velocity")),
    "agent halted (SIGSTOP)": Break("agent velocity", "halted", halt_agent),
    "another program in an agent's group": Break(
        "group spending", "which judges none", partial(steal_partitions, held), by_hand=lambda patient: held.close()
    ),
}


TAKE_LONG = {  # each takes 5 to 13 s; those left break most hops once in the normal suite
    "the connector's role may not read the table",
    "the password of the connector's role was changed",
    "publication dropped",
    "deletes are not published",
    "slot read by another program",
    "a forgotten slot keeps WAL",
    "records of another writer in a shape that nobody reads",
    "records flattened without FLATTENED",
    "records as text, not JSON",
    "topic keyed by id",
    "another program in an agent's group",
}


def _marked(name: str) -> Any:
    return pytest.param(name, marks=pytest.mark.long) if name in TAKE_LONG else name


def test_every_break_that_takes_long_is_a_break() -> None:
    assert BREAKS.keys() >= TAKE_LONG


@pytest.mark.parametrize("name", [_marked(name) for name in BREAKS])
def test_a_broken_hop_is_named_and_the_doctors_line_mends_it(patient: Patient, book: Book, name: str) -> None:
    with held:
        try_break(patient, name, BREAKS[name], book)


@pytest.mark.long
def test_records_with_their_schema_are_no_break(patient: Patient) -> None:
    written(value_converter="org.apache.kafka.connect.json.JsonConverter", value_converter_schemas_enable="true")(
        patient
    )
    try:
        assert patient.diagnosis() is None
    finally:
        assert patient.shell("twinpath up").returncode == 0


def test_the_command_says_it_as_text_and_as_json_by_stable_keys(patient: Patient) -> None:
    healthy = patient.shell("twinpath doctor")
    assert (healthy.returncode, healthy.stdout) == (0, "every hop from the table to the agents holds\n")
    away = {"ALERTS_DSN": f"host=127.0.0.1 port={patient.settings.pgport} dbname=alerts user=nobody password=hid%den"}
    done = patient.shell("twinpath doctor --json", **away)
    found = json.loads(done.stdout)
    assert done.returncode == 4
    assert list(found) == ["schema_version", "name", "ok", "evidence", "mend", "note", "hops"]
    assert (found["name"], found["ok"], found["mend"]) == ("alert store", False, "twinpath up")
    assert "ALERTS_DSN" in found["note"]
    assert [hop["name"] for hop in found["hops"]][-1] == "alert store", "it stops at the first"
    assert "hid%den" not in done.stdout + done.stderr


def test_the_bundle_has_every_part_and_no_password(patient: Patient, tmp_path: Path) -> None:
    target = tmp_path / "bundle.zip"
    secrets = json.loads((patient.home.secrets / "passwords.json").read_text())
    log = process.log_of(patient.home, "planted")
    log.write_text(f"first line\n{'x' * 50}\n" * 150 + f"FATAL {secrets['twinpath_cdc']} password=unknown1 in it\n")
    dsn = f"host=127.0.0.1 port={patient.settings.pgport} dbname=alerts user=twinpath_alerts password=hid%den"
    try:
        done = patient.shell(f"twinpath doctor --bundle {target}", ALERTS_DSN=dsn)
    finally:
        log.unlink()
    assert done.returncode == 4
    assert str(target) in done.stderr
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    with zipfile.ZipFile(target) as bundle:
        parts = {name: bundle.read(name).decode() for name in bundle.namelist()}
    services = {f"logs/{name}.log" for name in ("postgres", "kafka", "connect", "agent-spending", "agent-velocity")}
    documents = {"doctor.json", "versions.json", "settings.json", "connector.json", "processes.json"}
    assert services | documents | {"logs/planted.log"} <= set(parts)
    whole = "\n".join(parts.values())
    assert [name for name, secret in secrets.items() if secret in whole] == []
    assert "hid%den" not in whole
    assert "unknown1" not in whole
    assert len(parts["logs/planted.log"].splitlines()) == 200
    assert parts["logs/planted.log"].endswith("FATAL *** password=*** in it\n")
    walked = [hop["name"] for hop in json.loads(parts["doctor.json"])["hops"]]
    assert walked[-1] == "group velocity", "a bundle has every hop"
    assert " password=*** " in json.loads(parts["settings.json"])["ALERTS_DSN"]
    assert json.loads(parts["connector.json"])["state"] == "RUNNING"
    versions: dict[str, Any] = json.loads(parts["versions.json"])
    assert versions["jars"].keys() == {"broker", "connect", "debezium"}
    again = patient.shell(f"twinpath doctor --bundle {target}")
    assert again.returncode == 2
    assert "exists" in again.stderr


def test_a_server_without_logical_decoding_is_named(server: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    one = Stack(server.home, run_settings(server.settings, "w"), Progress(quiet=True))

    def restarted() -> str:
        server.postgres.stop()
        server.postgres.start()
        server.postgres.wait()
        broken = checks.first_broken(checks.walk(one, stop_at_first=True))
        assert broken is not None
        return f"{broken.name}: {broken.evidence}"

    one.scope().create_databases(one.scope().open_as_lab)
    monkeypatch.setitem(server.postgres.options, "wal_level", "replica")
    try:
        assert restarted() == "wal_level: wal_level: replica; wanted logical"
    finally:
        monkeypatch.undo()
        assert restarted() == "kafka: was never started"
        one.scope().drop_databases()
