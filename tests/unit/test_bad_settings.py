"""Bad inputs of the command line and of the configuration, cases 101 to 145: where each is tested, and the quick ones.

Each is refused with a message that says what was found, what was wanted and what to do (H), or taken as it is meant
(A); none gives a traceback, and none repeats a password.
"""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from lab import bootstrap
from lab.stack import java, ports
from lab.stack.credentials import Credentials
from lab.stack.home import Home
from twinpath import env_typos, failpoints
from twinpath.dsn import checked
from twinpath.errors import ConfigurationError, EnvironmentFault
from twinpath.settings import ROOT, Settings, load_settings

HERE = "unit/test_bad_settings.py"
REAL = "integration/test_bad_surroundings.py"
COMMANDS = "e2e/test_commands.py"
PARTS = "unit/test_programs.py"
SOURCE = "unit/test_check_source.py"
STORE = "integration/test_alert_store.py"
DOCTOR = "integration/test_doctor.py"
STACK = "integration/test_stack.py"
LOG = "integration/test_change_log.py"
CASES = {
    "101 empty DSN": f"{STORE}::test_what_trying_again_cannot_mend_is_said_at_once",
    "102 malformed DSN": f"{HERE}::test_a_dsn_that_is_read_otherwise_than_meant_is_refused_and_not_repeated",
    "103 wrong password": f"{REAL}::test_what_no_waiting_mends_ends_a_program_at_once",
    "104 unknown database": f"{REAL}::test_what_no_waiting_mends_ends_a_program_at_once",
    "105 role without REPLICATION": f"{SOURCE}::test_one_lack_is_named_with_its_mend",
    "106 role without SELECT": f"{SOURCE}::test_one_lack_is_named_with_its_mend",
    "107 wal_level=replica": f"{SOURCE}::test_one_lack_is_named_with_its_mend",
    "108 slots or walsenders exhausted": f"{SOURCE}::test_one_lack_is_named_with_its_mend",
    "109 publication missing": f"{DOCTOR}::test_a_broken_hop_is_named_and_the_doctors_line_mends_it",
    "110 publication without our table": f"{DOCTOR}::test_a_broken_hop_is_named_and_the_doctors_line_mends_it",
    "111 unreachable broker": f"{REAL}::test_a_broker_that_is_none_is_given_up_with_its_address",
    "112 broker port speaks HTTP": f"{REAL}::test_a_broker_that_is_none_is_given_up_with_its_address",
    "113 unknown topic": "integration/test_agent.py::test_an_unknown_topic_is_named_and_not_created",
    "114 partition count changed": f"{STORE}::test_a_checkpoint_of_another_layout_is_refused",
    "115 port in use": f"{HERE}::test_a_taken_port_of_any_part_is_named_with_its_setting",
    "116 stale pid file": f"{STACK}::test_a_saved_process_id_that_was_given_to_another_process_is_not_signalled",
    "117 stale lock of the data folder": f"{REAL}::test_a_killed_server_starts_again_over_its_stale_lock",
    "118 second copy": f"{COMMANDS}::test_up_a_second_time_changes_nothing",
    "119 no Java": f"{PARTS}::test_without_java_one_command_is_named",
    "120 Java 8 or 11": f"{HERE}::test_an_old_java_and_a_java_home_that_is_none_are_passed_over",
    "121 JAVA_HOME is a file": f"{HERE}::test_an_old_java_and_a_java_home_that_is_none_are_passed_over",
    "122 missing jars": f"{PARTS}::test_a_corrupt_or_missing_jar_is_found_by_its_digest",
    "123 corrupt jars": f"{PARTS}::test_a_corrupt_or_missing_jar_is_found_by_its_digest",
    "124 jars of other versions": f"{HERE}::test_jars_of_another_spark_are_not_taken_for_ours",
    "125 jar download blocked": f"{HERE}::test_a_download_that_fails_shows_the_end_of_its_log",
    "126 disk full": f"{REAL}::test_a_full_and_a_read_only_disk_are_named",
    "127 read-only work folder": f"{REAL}::test_a_full_and_a_read_only_disk_are_named",
    "128 odd paths": f"{COMMANDS}::test_up_a_second_time_changes_nothing",
    "128 paths that Kafka would cut": f"{HERE}::test_a_folder_whose_name_kafka_would_cut_is_refused",
    "128 other alphabets in a properties file": f"{HERE}::test_a_properties_file_holds_any_path",
    "129 HOME unset": f"{COMMANDS}::test_up_a_second_time_changes_nothing",
    "130 run as root": f"{REAL}::test_postgres_never_runs_as_root",
    "131 LANG=C, TZ=Asia/Kolkata": "e2e/test_demo.py::test_the_demo_proves_every_path_equal_to_the_oracles_"
    "although_two_processes_are_killed",
    "132 odd numbers and booleans": f"{HERE}::test_a_number_that_is_none_is_refused_by_name",
    "133 unknown option": f"{HERE}::test_an_unknown_option_is_refused_and_a_near_miss_of_a_setting_is_said",
    "133 unknown name in the environment": f"{HERE}::test_a_name_that_is_almost_a_setting_is_told_and_others_are_not",
    "134 --rate 0": f"{COMMANDS}::test_usage_errors_say_what_is_wrong",
    "135 Ctrl-C at each phase": f"{COMMANDS}::test_ctrl_c_during_up_stops_what_it_had_started",
    "136 SIGTERM, SIGHUP": f"{COMMANDS}::test_the_foreign_producer_of_the_readme_works_as_postgres",
    "137 stdout closed": f"{COMMANDS}::test_a_reader_that_goes_away_is_no_error_and_stops_no_clean_up",
    "138 low ulimit -n": f"{REAL}::test_too_few_file_handles_are_named",
    "139 localhost is IPv6 only": f"{HERE}::test_no_default_asks_what_localhost_is",
    "140 proxies in the environment": f"{COMMANDS}::test_up_a_second_time_changes_nothing",
    "141 checkpoint of another version": "unit/test_buckets.py::test_bytes_of_another_format_are_refused",
    "142 unknown rule": f"{COMMANDS}::test_usage_errors_say_what_is_wrong",
    "143 table name with SQL in it": f"{REAL}::test_sql_in_a_name_stays_a_name",
    "144 topic ../x": f"{HERE}::test_names_that_no_service_takes_are_refused",
    "145 slot with capitals or a dash": f"{HERE}::test_names_that_no_service_takes_are_refused",
}
OURS = {name.upper() for name in Settings.model_fields}
CLEAN = {name: value for name, value in os.environ.items() if name not in OURS}


def twinpath(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lab.cli", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env=CLEAN | environment, cwd=ROOT
    )


def test_every_case_has_a_test() -> None:
    assert {int(name.split()[0]) for name in CASES} == set(range(101, 146))
    for place in CASES.values():
        file, _, test = place.partition("::")
        assert re.search(rf"^def {test}\(", (ROOT / "tests" / file).read_text(), re.MULTILINE), place


@pytest.mark.parametrize(
    "dsn",
    [
        "hunter2",
        "host=db hunter2",
        "host=db password='hunter2",
        "postgresql://role:hunter2@db:5432:1/alerts",
        "postgresql://role:hun@hunter2@db/alerts",
        "postgresql://role:hun:ter2@hunter2:x@db/alerts",
        "postgresql://role@db/alerts?hunter2=1",
        "host=db port=hunter2",
        "host=db port=99999 password=hunter2",
    ],
)
def test_a_dsn_that_is_read_otherwise_than_meant_is_refused_and_not_repeated(dsn: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="^ALERTS_DSN is .*not repeated") as refused:
        checked("ALERTS_DSN", dsn)
    assert "hunter2" not in str(refused.value)
    home = Home(tmp_path)
    home.make()
    with pytest.raises(ConfigurationError, match="ALERTS_DSN"):
        settings = load_settings(alerts_dsn=dsn)
        Credentials(home, settings).alerts_dsn(settings)


@pytest.mark.parametrize(
    "dsn",
    ["", "host=db dbname=x", "host=a,b port=5432,5433 user=x", "postgresql://role:p%40ss@[::1]:5432/x", "service=mine"],
)
def test_a_dsn_that_libpq_reads_is_taken_as_it_is(dsn: str) -> None:
    assert checked("ALERTS_DSN", dsn) == dsn


def test_a_taken_port_of_any_part_is_named_with_its_setting(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.make()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        settings = load_settings(
            pgport=port,
            kafka_bootstrap_servers=f"127.0.0.1:{port}",
            kafka_controller_port=port,
            connect_url=f"http://127.0.0.1:{port}",
            agent_metrics_port=port,
            stream_metrics_port=port,
            stream_ui_port=port,
        )
        wanted = ports.of_services(settings, port) + ports.of_agents(settings, ["agent-spending"])
        wanted += ports.of_spark_stream(settings, "spark-stream")
        assert len(wanted) == 7
        for one in wanted:
            with pytest.raises(
                EnvironmentFault, match=f"port {port}, wanted by {one[0]}, is taken by .*with {one[2]}$"
            ):
                ports.check(home, [one])


def test_an_old_java_and_a_java_home_that_is_none_are_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "java"
    old.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("JAVA_HOME", str(old))
    found, passed = bootstrap.find_java()
    assert passed[:2] == [f"{old}/bin/java (not a working java)", f"{old} (Java 11)"]
    assert found is not None
    assert found != old


def test_jars_of_another_spark_are_not_taken_for_ours(tmp_path: Path) -> None:
    (tmp_path / "spark").mkdir()
    (tmp_path / "spark" / "spark-sql-kafka-0-10_2.12-3.5.0.jar").write_bytes(b"another Scala")
    wrong = bootstrap.wrong_jars(tmp_path)
    assert len(wrong) == len(bootstrap.locked_jars())
    assert [one for one in wrong if one.startswith("spark/spark-sql-kafka-0-10_2.13") and "missing in" in one]


def test_a_download_that_fails_shows_the_end_of_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "java"
    blocked.write_text("#!/bin/sh\necho 'SERVER ERROR: Connection refused'\nexit 1\n")
    blocked.chmod(0o755)
    monkeypatch.setattr(bootstrap, "STATE", tmp_path)
    with pytest.raises(bootstrap.Missing, match=r"(?s)jars by Ivy failed with status 1.*Connection refused"):
        bootstrap.retrieve(blocked, tmp_path / "jars")


@pytest.mark.parametrize("name", ["a,b", "a:b", "a}b", "a\nb"])
def test_a_folder_whose_name_kafka_would_cut_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(EnvironmentFault, match="choose another folder for TWINPATH_HOME"):
        Home(tmp_path / name).make()
    assert list(tmp_path.iterdir()) == []


def test_a_properties_file_holds_any_path() -> None:
    text = java.properties({"log.dirs": "/data/Zoë's \\ 中 \U0001f40c", "node.id": 1})
    assert text == "log.dirs=/data/Zo\\u00eb's \\\\ \\u4e2d \\ud83d\\udc0c\nnode.id=1\n"


NUMBERS = {name: field for name, field in Settings.model_fields.items() if field.annotation in (int, float)}


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_that_is_none_is_refused_by_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ["1.5", "1e9", "0x10", "1,000"] if NUMBERS[name].annotation is int else ["1,5"]
    for wrong in ("abc", "", " ", "NaN", "inf", "-1", "9" * 30, *whole):
        monkeypatch.setenv(name.upper(), wrong)
        with pytest.raises(
            ConfigurationError, match=f"^{name.upper()}: found .*, wanted {re.escape(NUMBERS[name].description)}"
        ):
            load_settings()
    monkeypatch.setenv(name.upper(), f" {NUMBERS[name].default}\n")
    assert getattr(load_settings(), name) == NUMBERS[name].default


def test_a_boolean_is_read_as_people_write_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for text, wanted in {"False": False, "0": False, "no": False, "off": False, "TRUE": True, "1": True}.items():
        monkeypatch.setenv("FLATTENED", text)
        assert load_settings().flattened is wanted
    monkeypatch.setenv("FLATTENED", "perhaps")
    with pytest.raises(ConfigurationError, match="^FLATTENED: found 'perhaps'"):
        load_settings()


@pytest.mark.parametrize("text", ["{", "spending", "[]", '{"spending": 4}'])
def test_rule_parameters_that_are_no_tables_are_refused_by_name(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RULE_PARAMETERS", text)
    with pytest.raises(ConfigurationError, match="^RULE_PARAMETERS.*: found .*, wanted rule parameters"):
        load_settings()


def test_a_secret_that_is_wrong_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load_settings(postgres_password=["hunter2"])
    assert str(refused.value).startswith("POSTGRES_PASSWORD: ")
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "values"),
    {
        "TOPIC_PREFIX": ["../x", "a b", "x" * 201, ""],
        "RUN_ID": ["My-Run", "a_b", "x" * 15],
        "PGDATABASE": ["", " ", "x" * 49, "ë" * 25],
        "KAFKA_BOOTSTRAP_SERVERS": ["", "127.0.0.1", "kafka://127.0.0.1:9092", "127.0.0.1:9092,", "a b:1"],
        "CONNECT_URL": ["", "127.0.0.1:8083", "http://:8083", "http://127.0.0.1:8083/", "ftp://127.0.0.1:1"],
        "KAFKA_CLIENT": ["librdkafka"],
        "CONSUMER_GROUP": ["Second", "2nd"],
        "GROUP_INSTANCE": ["a b"],
        "PROFILE": ["stress"],
    }.items(),
)
def test_names_that_no_service_takes_are_refused(name: str, values: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for value in values:
        monkeypatch.setenv(name, value)
        with pytest.raises(ConfigurationError, match=f"^{name}: found .*, wanted "):
            load_settings()
    done = twinpath("check-source", "host=127.0.0.1 port=1", "--slot", "My-Slot") if name == "RUN_ID" else None
    assert done is None or (done.returncode, done.stderr.startswith("twinpath: --slot: found 'My-Slot', wanted")) == (
        2,
        True,
    )


def test_no_default_asks_what_localhost_is() -> None:
    assert [name for name, field in Settings.model_fields.items() if "localhost" in str(field.default)] == []
    assert load_settings(kafka_bootstrap_servers="[::1]:9092").kafka_bootstrap_servers == "[::1]:9092"
    for url in ("http://[::1]:8083", "https://connect.example", "https://gateway.example/connect"):
        assert load_settings(connect_url=url).connect_url == url


def test_a_name_that_is_almost_a_setting_is_told_and_others_are_not(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("RATE=5\nRTAE=5\nsomething=else\n# RATES=1\n")
    told = list(env_typos.warnings(["PGPORT", "PGPRT", "TOPIC_PREFX", "PATH", "JAVA_HOME"], file))
    assert told == [
        f"{file}: RTAE is no setting and changes nothing. Was RATE meant?",
        f"{file}: something is no setting and changes nothing",
        "environment: PGPRT is no setting and changes nothing. Was PGPORT meant?",
        "environment: TOPIC_PREFX is no setting and changes nothing. Was TOPIC_PREFIX meant?",
    ]
    exported = ["WRITER", "CDC", "READER", "ALERTS", "AVERAGES", "LAB", "TEMPERATURE", "SOURCE", "SUPERUSER"]
    quiet = [f"{name}_DSN" for name in exported] + [
        "PGUSER",
        "PGPASSWORD",
        "PGDATA",
        "PGSERVICE",
        "PGTZ",
        "HOME",
        "HOST",
        failpoints.NAME,
    ]
    assert list(env_typos.warnings([*quiet, *CLEAN], tmp_path / "none")) == []


def test_an_unknown_option_is_refused_and_a_near_miss_of_a_setting_is_said() -> None:
    done = twinpath("advise", "--rates", "5", PGPRT="1")
    assert done.returncode == 2
    assert "No such option" in done.stderr
    assert "environment: PGPRT is no setting and changes nothing. Was PGPORT meant?" in done.stderr
    assert "Traceback" not in done.stderr
