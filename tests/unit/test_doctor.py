"""The doctor's list, its words, what it says of records, and what a bundle hides."""

import json
from pathlib import Path

import pytest

from lab.console import Progress
from lab.doctor.bundle import known_secrets, last_lines, masked
from lab.doctor.checks import CHECKS, first_broken, walk
from lab.doctor.hop import Hop
from lab.doctor.readme import README, made
from lab.doctor.records import KEY, Newest, config_fault, unreadable
from lab.doctor.show import diagnosis
from lab.stack import connect
from lab.stack.home import Home
from lab.stack.stack import Stack
from tests.integration.publishing import envelope, key, row
from twinpath.settings import load_settings

OURS = {"decimal.handling.mode": "string", "message.key.columns": KEY}
UNWRAP = {"transforms": "flat", "transforms.flat.type": "io.debezium.transforms.ExtractNewRecordState"}
FIELDS = {"transforms.flat.add.fields": "op, source.sequence"}


def test_the_readmes_table_is_made_of_the_checks() -> None:
    text = README.read_text()
    assert made(text) == text, "make docs"
    for check in CHECKS:
        assert f"| {check.breaks} | {check.mend} |" in text
    with pytest.raises(ValueError, match="wanted both"):
        made("# A page without the marks")


def test_every_check_has_a_name_of_its_own_and_stands_after_what_it_needs() -> None:
    seen: list[str] = []
    for check in CHECKS:
        assert set(check.needs) <= set(seen), f"{check.name} needs {check.needs}, which come later"
        assert check.name not in seen
        assert check.breaks
        assert check.mend
        seen.append(check.name)


@pytest.fixture
def nothing_runs(tmp_path: Path) -> Stack:
    return Stack(Home(tmp_path / "stack"), load_settings(run_id="", pgport=1), Progress(quiet=True))


def test_the_first_broken_hop_ends_the_walk_and_what_needs_it_is_not_looked_at(nothing_runs: Stack) -> None:
    found = walk(nothing_runs, stop_at_first=True)
    assert [(hop.name, hop.ok) for hop in found][-1] == ("postgres", False)
    assert found[-1].evidence == "was never started"
    assert found[-1].mend == "twinpath up"
    whole = {hop.name: hop for hop in walk(nothing_runs)}
    assert first_broken(list(whole.values())) == whole["postgres"]
    for name, service in (("table", "postgres"), ("listener", "kafka"), ("topic", "listener"), ("roles", "table")):
        assert whole[name].evidence == f"cannot be seen: {service} does not hold"
    assert "spark stream" not in whole, "it was not asked for"


def test_a_service_whose_process_is_gone_says_its_last_words(nothing_runs: Stack) -> None:
    (nothing_runs.home.logs / "postgres.log").write_text("first\nFATAL: could not write\n")
    broken = first_broken(walk(nothing_runs, stop_at_first=True))
    assert broken is not None
    assert broken.evidence == "its process is gone; its log ends: FATAL: could not write"


def test_the_diagnosis_has_the_same_keys_whether_or_not_a_hop_is_broken() -> None:
    good, bad = Hop("postgres", True, "pid 1"), Hop("table", False, "none", "twinpath up", "note")
    healthy, sick = diagnosis([good]), diagnosis([good, bad])
    assert list(healthy) == list(sick) == ["schema_version", "name", "ok", "evidence", "mend", "note", "hops"]
    assert healthy == {
        **{"schema_version": 1, "name": None, "ok": True, "evidence": None, "mend": None, "note": None},
        "hops": [{"name": "postgres", "ok": True, "evidence": "pid 1", "mend": "", "note": ""}],
    }
    assert (sick["name"], sick["ok"], sick["mend"], len(sick["hops"])) == ("table", False, "twinpath up", 2)


@pytest.mark.parametrize(
    ("config", "settings", "words"),
    [
        ({}, {}, ""),
        ({"decimal.handling.mode": "precise"}, {}, "precise: amounts are base64"),
        ({"decimal.handling.mode": "precise"}, {"amount_scale": 2}, ""),
        ({"decimal.handling.mode": "precise", "value.converter.schemas.enable": "true"}, {}, ""),
        ({"decimal.handling.mode": "double"}, {}, "lose cents"),
        (UNWRAP | FIELDS, {}, "flattened by ExtractNewRecordState"),
        (UNWRAP | FIELDS, {"flattened": True}, ""),
        (UNWRAP, {"flattened": True}, "lack op, source.sequence: transforms.flat.add.fields"),
        ({"value.converter": "io.confluent.connect.avro.AvroConverter"}, {}, "value.converter is io.confluent"),
        ({"key.converter": "org.apache.kafka.connect.storage.StringConverter"}, {}, "key.converter is"),
        ({"message.key.columns": "public.transactions:id"}, {}, "message.key.columns is public.transactions:id"),
    ],
)
def test_a_connector_that_writes_what_nobody_reads_is_named(
    config: dict[str, str], settings: dict[str, object], words: str
) -> None:
    fault = config_fault(OURS | config, load_settings(run_id="", **settings))
    assert (fault is None) == (words == "")
    assert words in (fault.evidence if fault else "")


def test_the_connector_that_we_put_has_no_fault() -> None:
    config = json.loads(connect.CONNECTOR_FILE.read_text())
    assert config_fault(config, load_settings(run_id="")) is None


@pytest.mark.parametrize(
    ("record_key", "value", "words"),
    [
        (key(7), envelope("c", 1, after=row(1, 7, "12.34")), ""),
        (key(7), b'{"schema": null, "payload": ' + envelope("c", 1, after=row(1, 7, "12.34")) + b"}", ""),
        (key(7), envelope("c", 1, after=row(1, 7, "BNI=")), "base64"),
        (key(7), json.dumps(row(1, 7, "12.34")).encode(), "op: found"),
        (b'{"id": 1}', envelope("c", 1, after=row(1, 7, "12.34")), "user_id"),
        (key(7), b"Struct{after=Struct{id=1}}", "one JSON document"),
        (key(7), envelope("c", 1, after=row(1, 7, "12.34", created_at=1_795_413_600_000)), "created_at"),
    ],
)
def test_a_record_that_nobody_reads_says_why(record_key: bytes, value: bytes, words: str) -> None:
    settings = load_settings(run_id="", pgdatabase="mydb")
    value = value.replace(b"the database of the test", settings.source_database.encode())
    said = unreadable(Newest(0, 1, 5, record_key, value), settings)
    assert (said is None) == (words == "")
    if said is not None:
        assert said.startswith("partition 1 offset 5: ")
        assert words in said


def test_the_innermost_cause_of_a_trace_is_kept() -> None:
    lines = [
        "a.ConnectException: failed",
        "\tat x.y(Z.java:1)",
        "Caused by: b.Sql: outer",
        "\tat x",
        "Caused by: c.E: gone",
    ]
    trace = "\n".join(lines)
    assert connect._trace(trace) == "a.ConnectException: failed (caused by: c.E: gone)"
    assert connect._trace("one line") == "one line"
    assert connect._trace("") == ""


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("role says s3cret/word and s3cret%2Fword", "role says *** and ***"),
        ("host=db password=unknown user=x", "host=db password=*** user=x"),
        ("postgresql://user:unknown@db:5432/x", "postgresql://user:***@db:5432/x"),  # pragma: allowlist secret
        ('{"ssl.key.password": "unknown", "a": 1}', '{"ssl.key.password": "***", "a": 1}'),  # pragma: allowlist secret
        ("sasl.jaas.config=x password='unknown'", "sasl.jaas.config=x password='***'"),  # pragma: allowlist secret
        (
            "database.password = ${file:/s/cdc.properties:password}",
            "database.password = ${file:/s/cdc.properties:password}",
        ),
        ("nothing to hide: http://127.0.0.1:8083/connectors", "nothing to hide: http://127.0.0.1:8083/connectors"),
    ],
)
def test_a_bundle_hides_passwords_that_we_know_and_those_that_look_so(text: str, wanted: str) -> None:
    assert masked(text, {"s3cret/word", "s3cret%2Fword"}) == wanted


def test_every_password_that_a_stack_keeps_or_was_given_is_known(tmp_path: Path) -> None:
    given = load_settings(run_id="", postgres_password="sup/er", alerts_dsn="host=h user=u password='of dsn'")
    stack = Stack(Home(tmp_path / "stack"), given, Progress(quiet=True))
    known = known_secrets(stack.home, given)
    assert {"sup/er", "sup%2Fer", "of dsn", "of%20dsn"} <= known
    assert stack.credentials.password("twinpath_cdc") in known
    assert "" not in known


def test_the_end_of_a_log_is_two_hundred_lines(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_text("".join(f"line {number}\n" for number in range(100_000)))
    found = last_lines(path).splitlines()
    assert (len(found), found[0], found[-1]) == (200, "line 99800", "line 99999")
    path.write_text("one")
    assert last_lines(path) == "one"
