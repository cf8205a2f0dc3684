"""Small parts of the programs that need no service: set-up, process book-keeping, orders."""

import os
import subprocess
import sys
import uuid
from pathlib import Path

import msgspec
import pytest

from lab import bootstrap
from lab.console import Progress
from lab.measure import reference
from lab.operations import LoggedRow, Operation, OperationLog, read_operations
from lab.stack.home import open_to_others
from lab.stack.kafka import new_cluster_id
from lab.writing import Transaction
from twinpath.errors import ConfigurationError, ServiceFault
from twinpath.settings import ROOT, load_settings, run_settings


def row(tx_id: int, user_id: int = 7) -> LoggedRow:
    return LoggedRow(tx_id, user_id, 1000, 0)


def test_the_set_up_finds_the_major_version_of_a_java(tmp_path: Path) -> None:
    for text, wanted in {'openjdk version "17.0.15" 2025': 17, 'java version "1.8.0_401"': 8, "no java": None}.items():
        fake = tmp_path / "java"
        fake.write_text(f"#!/bin/sh\necho '{text}' >&2\n")
        fake.chmod(0o755)
        assert bootstrap.java_version(fake) == wanted
    assert bootstrap.java_version(tmp_path) is None


def test_without_java_one_command_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "java_candidates", lambda: iter([tmp_path / "java"]))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(bootstrap.Missing, match="found no Java, wanted 17 or later. Run:\n  sudo .*install"):
        bootstrap.set_up_java()


def test_a_corrupt_or_missing_jar_is_found_by_its_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broker").mkdir()
    (tmp_path / "broker" / "a.jar").write_bytes(b"good")
    digest = bootstrap.digest(tmp_path / "broker" / "a.jar")
    lock = tmp_path / "jars.lock"
    lock.write_text(f"# comment\n{digest} 4 broker/a.jar\n{digest} 4 broker/b.jar\n")
    monkeypatch.setattr(bootstrap, "JAR_LOCK", lock)
    assert [problem.partition(":")[0] for problem in bootstrap.wrong_jars(tmp_path)] == ["broker/b.jar"]
    (tmp_path / "broker" / "a.jar").write_bytes(b"evil")
    assert [problem.partition(":")[0] for problem in bootstrap.wrong_jars(tmp_path)] == ["broker/a.jar", "broker/b.jar"]


def test_the_set_up_needs_nothing_but_the_standard_library() -> None:
    command = [sys.executable, "-S", "-c", "import sys; sys.path.insert(0, '.'); import lab.bootstrap"]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 0


def test_a_cluster_id_never_begins_with_a_dash(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter([uuid.UUID(bytes=b"\xf8" + bytes(15)), uuid.UUID(bytes=b"\x10" + bytes(15))])
    monkeypatch.setattr(uuid, "uuid4", lambda: next(drawn))
    assert new_cluster_id() == "EAAAAAAAAAAAAAAAAAAAAA"


def test_progress_goes_on_when_nobody_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone:
        writes = 0

        def write(self, _text: str) -> int:
            self.writes += 1
            raise BrokenPipeError

    gone = Gone()
    monkeypatch.setattr(sys, "stderr", gone)
    progress = Progress()
    progress.say("into the void")
    progress.say("again")
    assert gone.writes == 1


def test_settings_come_from_options_before_environment_before_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATE", " 300\n")
    monkeypatch.setenv("AMOUNT_SCALE", "")
    assert load_settings().rate == 300
    assert load_settings(rate=20).rate == 20
    assert load_settings(rate=None).amount_scale is None
    for wrong in ("abc", "0", "-5", "NaN", "1e99", ""):
        monkeypatch.setenv("RATE", wrong)
        with pytest.raises(ConfigurationError, match="RATE"):
            load_settings()


def test_a_secret_may_be_a_file_and_the_environment_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "alerts_dsn").write_text("host=file\n")
    (tmp_path / "unknown.json").write_text("not ours")
    monkeypatch.setenv("SECRETS_DIR", str(tmp_path))
    assert load_settings().alerts_dsn.get_secret_value() == "host=file"
    monkeypatch.setenv("ALERTS_DSN", "host=environment")
    assert load_settings().alerts_dsn.get_secret_value() == "host=environment"
    monkeypatch.setenv("SECRETS_DIR", str(tmp_path / "gone"))
    with pytest.raises(ConfigurationError, match="SECRETS_DIR: found no folder"):
        load_settings()


def test_what_a_child_process_is_told_gives_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    one = load_settings(rate=20, rule_parameters={"spending": {"ratio": 4}}, alerts_dsn="host=x", postgres_password="p")
    for name, value in one.environment().items():
        monkeypatch.setenv(name, value)
    again = load_settings()
    assert again.postgres_password.get_secret_value() == ""
    assert again.model_copy(update={"postgres_password": one.postgres_password}) == one


def test_a_run_has_names_and_an_alert_store_of_its_own() -> None:
    one = run_settings(load_settings(alerts_dsn="host=elsewhere"), "ab12")
    names = (one.source_database, one.alerts_database, one.topic, one.slot, one.publication, one.group("spending"))
    assert names == (
        "mydb_ab12",
        "alerts_ab12",
        "dbserver1_ab12.public.transactions",
        "twinpath_transactions_ab12",
        "transactions_ab12",
        "twinpath-spending_ab12",
    )
    assert one.alerts_dsn.get_secret_value() == ""


def test_a_secret_is_not_shown() -> None:
    assert "hidden" not in repr(load_settings(postgres_password="hidden", alerts_dsn="password=hidden"))


def test_operations_are_put_in_commit_order_and_only_committed_ones() -> None:
    late = Operation(0, 0, 2**32 + 5, 0, "insert", "committed", 1, None, row(1))
    two = Operation(0, 0, 7, 1, "update", "committed", 1, row(1), row(1))
    one = Operation(0, 0, 7, 0, "insert", "committed", 2, None, row(2))
    gone = Operation(0, 0, 8, 0, "insert", "rolled_back", 3, None, row(3))
    unknown = Operation(0, 0, 9, 0, "insert", "unknown", 4, None, row(4))
    lost = Operation(0, 0, 10, 0, "insert", "unknown", 5, None, row(5))
    commits = {5: 100, 7: 300, 9: 200}
    changes = reference.ordered([two, late, gone, one, unknown, lost], commits, {9: True, 10: False})
    assert [(change.op, change.tx_id, change.position.previous_commit_lsn) for change in changes] == [
        ("c", 1, 100),
        ("c", 4, 200),
        ("c", 2, 300),
        ("u", 1, 300),
    ]
    with pytest.raises(ServiceFault, match="no COMMIT record of transaction 7"):
        reference.ordered([one], {}, {})


def test_a_changed_user_becomes_a_delete_and_an_insert_at_one_position() -> None:
    moved = Operation(0, 0, 7, 0, "update", "committed", 1, row(1, 7), row(1, 8))
    changes = reference.ordered([moved], {7: 300}, {})
    assert [(change.op, change.user_id) for change in changes] == [("d", 7), ("c", 8)]
    assert changes[0].position == changes[1].position


def test_an_operation_log_is_read_back_and_a_torn_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "operations.jsonl"
    one = Operation(1, 2, 3, 0, "delete", "committed", 9, row(9), None)
    log = OperationLog(path)
    log.write([one, msgspec.structs.replace(one, sequence=1)])
    log.close()
    assert [found.sequence for found in read_operations(path)] == [0, 1]
    assert [found.sequence for found in read_operations(path, behind=1)] == [1]
    path.write_bytes(path.read_bytes()[:-10])
    for behind in (0, 1):
        with pytest.raises(ConfigurationError, match="line 2 is no operation"):
            list(read_operations(path, behind))


def test_rows_that_a_savepoint_undid_are_marked_and_give_no_id() -> None:
    one = Transaction()
    one.add("insert", 1, None, row(1), key=10)
    one.savepoint()
    one.add("insert", 2, None, row(2), key=20)
    one.rollback_to_savepoint()
    one.add("insert", 3, None, row(3), key=30)
    assert [write[-1] for write in one.writes] == [True, False, True]
    assert one.ids() == {10: 1, 30: 3}


def test_a_closed_folder_above_is_noticed(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    assert not open_to_others(closed / "below" / "deeper")
