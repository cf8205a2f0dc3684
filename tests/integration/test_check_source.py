"""check-source on a real PostgreSQL: what it finds missing, and that its own SQL mends it."""

import os
import subprocess
import sys
from contextlib import closing
from typing import Any

import msgspec
import psycopg2
import pytest

from lab import check_source
from lab.source_facts import Wanted, gather
from lab.stack.scope import create_database
from lab.stack.stack import Stack
from twinpath.settings import ROOT, run_settings

pytestmark = pytest.mark.integration


def run(stack: Stack, database: str, *statements: str) -> None:
    with closing(stack.postgres.connect(database)) as session, session.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def command(dsn: str, *options: str) -> tuple[int, list[dict[str, Any]], str]:
    """Exit status, verdicts and messages of the command; the password is in the DSN of the environment."""
    arguments = [sys.executable, "-m", "lab.cli", "check-source", "--json", *options]
    environment = {**os.environ, "SOURCE_DSN": dsn}
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, env=environment, cwd=ROOT)
    return done.returncode, [msgspec.json.decode(line) for line in done.stdout.splitlines()], done.stderr


def test_a_bare_table_is_mended_by_the_sql_that_is_shown(server: Stack) -> None:
    with closing(server.postgres.connect("postgres")) as session:
        create_database(session, "given")
    run(
        server,
        "given",
        "CREATE TABLE transactions (id int NOT NULL, user_id int, amount numeric(10, 2), merchant_id int, "
        "created_at timestamp)",
        "CREATE PUBLICATION transactions FOR TABLE transactions (id, amount) WITH (publish = 'insert')",
        "REVOKE CONNECT ON DATABASE given FROM PUBLIC",
        "GRANT CONNECT ON DATABASE given TO twinpath_reader",
    )
    dsn = server.credentials.dsn("twinpath_reader", "given")
    wanted = Wanted(role="stranger")
    found = {one.name: one for one in check_source.judge(gather(dsn, wanted), wanted)}
    missing = {name for name, one in found.items() if one.level == "missing"}
    assert missing == {"role", "rights", "primary key", "replica identity", "publication"}
    assert found["publication"].found == "transactions: insert, with a row filter or a list of columns"
    for one in found.values():
        for statement in one.mend:
            run(server, "given", statement)
    verdicts = check_source.judge(gather(dsn, wanted), wanted)
    assert [one for one in verdicts if one.level != "ok"] == []


def test_what_our_own_sql_makes_is_ready_and_the_command_says_so(server: Stack) -> None:
    settings = run_settings(server.settings, "checked")
    scope = server.scope(settings)
    scope.create_databases(server.postgres.connect)
    names = ["--publication", settings.publication, "--slot", settings.slot]
    dsn = server.credentials.dsn("twinpath_cdc", settings.source_database)
    status, verdicts, messages = command(dsn, *names)
    assert (status, messages) == (0, "")
    assert {one["level"] for one in verdicts} == {"ok"}
    status, verdicts, _ = command(dsn, *names, "--role", "twinpath_reader")
    assert status == 4
    assert [one["name"] for one in verdicts if one["level"] == "missing"] == ["role"]


def test_a_slot_is_seen_with_its_plugin_and_database(server: Stack) -> None:
    run(server, "postgres", "SELECT pg_create_logical_replication_slot('checked', 'test_decoding')")
    try:
        wanted = Wanted(slot="checked")
        facts = gather(server.credentials.dsn("twinpath_reader", "postgres"), wanted)
        assert facts.slot is not None
        assert (facts.slot.plugin, facts.slot.database, facts.slot.active) == ("test_decoding", "postgres", False)
        assert facts.slots == 1
        assert (facts.table, facts.publication, facts.local) == (None, None, True)
    finally:
        run(server, "postgres", "SELECT pg_drop_replication_slot('checked')")


def test_a_server_that_is_away_and_a_wrong_dsn_are_told_apart(server: Stack) -> None:
    status, _, message = command("host=127.0.0.1 port=1 dbname=x user=y password=hidden")
    assert (status, "hidden" in message) == (4, False)
    assert message.startswith("twinpath: PostgreSQL: ")
    status, _, message = command("hidden")
    assert (status, "hidden" in message) == (2, False)
    with pytest.raises(psycopg2.OperationalError):
        gather("host=127.0.0.1 port=1 dbname=x", Wanted())
