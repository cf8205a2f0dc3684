"""The SQL files: safe to run twice, and each role may do what it must and nothing else."""

import os
import subprocess
from contextlib import closing
from typing import Any

import psycopg2
import pytest

from lab.stack.stack import Stack
from tests.conftest import Line
from tests.documented import commands_of
from twinpath.settings import ROOT, run_settings

pytestmark = pytest.mark.integration
INSERT = "INSERT INTO transactions (user_id, amount) VALUES (1, 2)"
ALERT = (
    "INSERT INTO alert_log (path, rule, rule_version, user_id, tx_id, incarnation, previous_commit_lsn, row_lsn, op, "
    "status, score, reason, features, digest) VALUES ('agent', 'r', 'v', 1, 1, 1, 1, 1, 'c', 'RAISED', 1, '', '{}', '')"
)
DENIED = [
    ("twinpath_writer", "source", "TRUNCATE transactions"),
    ("twinpath_writer", "source", "ALTER TABLE transactions ADD COLUMN x int"),
    ("twinpath_writer", "source", "CREATE TABLE mine (x int)"),
    ("twinpath_writer", "source", "CREATE PUBLICATION mine FOR ALL TABLES"),
    ("twinpath_writer", "alerts", "SELECT * FROM alert_log"),
    ("twinpath_writer", "alerts", "SELECT * FROM dead_letters"),
    ("twinpath_writer", "source", "SELECT pg_create_logical_replication_slot('mine', 'pgoutput')"),
    ("twinpath_cdc", "source", INSERT),
    ("twinpath_cdc", "source", "DELETE FROM transactions"),
    ("twinpath_cdc", "alerts", "SELECT * FROM alert_log"),
    ("twinpath_reader", "source", INSERT),
    ("twinpath_reader", "alerts", ALERT),
    ("twinpath_reader", "alerts", "SELECT * FROM dead_letters"),
    ("twinpath_reader", "alerts", "SELECT * FROM state_buckets"),
    ("twinpath_alerts", "source", "SELECT * FROM transactions"),
    ("twinpath_alerts", "source", INSERT),
    ("twinpath_alerts", "alerts", "UPDATE alert_log SET score = 0"),
    ("twinpath_alerts", "alerts", "DELETE FROM alert_log"),
    ("twinpath_alerts", "alerts", "TRUNCATE alert_log"),
    ("twinpath_alerts", "alerts", "DELETE FROM dead_letters"),
    ("twinpath_alerts", "alerts", "UPDATE sources SET topic_id = 'x'"),
    ("twinpath_alerts", "alerts", "DELETE FROM rule_activations"),
    ("twinpath_alerts", "alerts", "UPDATE rule_generations SET generation = 9"),
    ("twinpath_reader", "alerts", "INSERT INTO rule_generations VALUES ('agent', 'r', 2, '')"),
    ("twinpath_writer", "alerts", "SELECT * FROM rule_activations"),
    ("twinpath_alerts", "alerts", "DROP TABLE alert_log"),
    ("twinpath_lab", "source", "ALTER ROLE postgres PASSWORD 'mine'"),
    ("twinpath_lab", "source", "COPY transactions TO PROGRAM 'cat'"),
    ("twinpath_writer", "source", "SET ROLE twinpath_owner"),
    ("twinpath_writer", "source", "SELECT pg_drop_replication_slot('mine')"),
    ("twinpath_writer", "source", "SELECT pg_read_file('/etc/passwd')"),
    ("twinpath_writer", "temperatures", "SELECT * FROM temperature_averages"),
    ("twinpath_writer", "temperatures", "DELETE FROM temperature_readings"),
    ("twinpath_cdc", "source", "TRUNCATE transactions"),
    ("twinpath_cdc", "source", "ALTER PUBLICATION {publication} SET (publish = 'insert')"),
    ("twinpath_cdc", "temperatures", "SELECT * FROM temperature_readings"),
    ("twinpath_reader", "source", "CREATE ROLE mine"),
    ("twinpath_reader", "alerts", "SELECT * FROM batch_staged"),
    ("twinpath_alerts", "source", "CREATE PUBLICATION mine FOR TABLE transactions"),
    ("twinpath_alerts", "alerts", "DELETE FROM checkpoints"),
    ("twinpath_alerts", "alerts", "UPDATE batch_runs SET run = 0"),
    ("twinpath_averages", "temperatures", "INSERT INTO temperature_readings (temperature) VALUES (1)"),
    ("twinpath_averages", "source", "SELECT * FROM transactions"),
    ("twinpath_averages", "alerts", "SELECT * FROM alert_log"),
    ("twinpath_airflow", "source", "SELECT * FROM transactions"),
    ("twinpath_airflow", "alerts", "SELECT * FROM alert_log"),
    ("twinpath_airflow", "temperatures", "SELECT * FROM temperature_readings"),
    ("twinpath_lab", "source", "SELECT pg_reload_conf()"),
    ("twinpath_lab", "source", "CREATE ROLE mine SUPERUSER"),
]
# The whole matrix: each relation of ours, and for each role that has a right on it the first letters of SELECT, INSERT,
# UPDATE, DELETE, TRUNCATE. What has no line here is nobody's but the owner's.
RIGHTS = {
    "source": {"transactions": {"writer": "SIUD", "cdc": "S", "reader": "S"}},
    "temperatures": {
        "temperature_readings": {"writer": "SI", "averages": "S", "reader": "S"},
        "temperature_averages": {"averages": "SIUD", "reader": "S"},
    },
    "alerts": {
        "alert_log": {"alerts": "SI", "reader": "S"},
        "dead_letters": {"alerts": "SI"},
        "sources": {"alerts": "SI", "reader": "S"},
        "rule_generations": {"alerts": "SI", "reader": "S"},
        "rule_activations": {"alerts": "SI", "reader": "S"},
        "checkpoints": {"alerts": "SIU", "reader": "S"},
        "counters": {"alerts": "SIU", "reader": "S"},
        "state_buckets": {"alerts": "SIUD"},
        "batch_progress": {"alerts": "SIU", "reader": "S"},
        "batch_runs": {"alerts": "SI", "reader": "S"},
        "batch_staged": {"alerts": "SIUD"},
        "stream_queries": {"alerts": "SIU", "reader": "S"},
        "alerts_current": {"alerts": "S", "reader": "S"},
        "active_rules": {"alerts": "S", "reader": "S"},
        "alert_latency": {"alerts": "S", "reader": "S"},
    },
}
FOUND_RIGHTS = """
SELECT relname, substr(rolname, 10), string_agg(left(verb, 1), '' ORDER BY place)
FROM pg_class c
JOIN pg_namespace n ON n.oid = relnamespace AND nspname = 'public'
CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) WITH ORDINALITY verbs (verb, place)
CROSS JOIN pg_roles r
WHERE relkind IN ('r', 'v', 'p', 'm') AND has_table_privilege(r.oid, c.oid, verb)
  AND rolname ~ '^twinpath_' AND rolname NOT IN ('twinpath_owner', 'twinpath_lab')
GROUP BY 1, 2
"""
ALLOWED = [
    ("twinpath_writer", "source", INSERT),
    ("twinpath_writer", "source", "UPDATE transactions SET amount = 3"),
    ("twinpath_writer", "source", "DELETE FROM transactions"),
    ("twinpath_cdc", "source", "SELECT * FROM transactions"),
    ("twinpath_reader", "source", "SELECT * FROM transactions"),
    ("twinpath_reader", "alerts", "SELECT * FROM alerts_current"),
    ("twinpath_reader", "alerts", "SELECT * FROM alert_latency"),
    ("twinpath_reader", "alerts", "SELECT * FROM active_rules, rule_generations, rule_activations"),
    ("twinpath_alerts", "alerts", "SELECT * FROM active_rules"),
    ("twinpath_alerts", "alerts", "INSERT INTO rule_generations VALUES ('agent', 'r', 2, '')"),
    ("twinpath_lab", "alerts", "DELETE FROM alert_log"),
    ("twinpath_lab", "alerts", "DELETE FROM rule_activations"),
    ("twinpath_alerts", "alerts", ALERT),
]


@pytest.fixture
def databases(store_line: Line) -> Line:
    """Source, alert store and temperatures."""
    store_line.scope.create_temperatures(store_line.scope.open_as_lab)
    return store_line


def database_of(line: Line, where: str) -> str:
    names = {
        "source": line.settings.source_database,
        "temperatures": line.settings.temperature_database,
        "alerts": line.settings.alerts_database,
    }
    return names[where]


def execute(line: Line, role: str, where: str, statement: str) -> None:
    dsn = line.stack.credentials.dsn(role, database_of(line, where))
    with closing(psycopg2.connect(dsn)) as session, session, session.cursor() as cursor:
        cursor.execute(statement)


def test_every_role_is_denied_what_is_not_its_own(databases: Line) -> None:
    passed = []
    for role, where, statement in DENIED:
        try:
            execute(databases, role, where, statement.replace("{publication}", databases.settings.publication))
        except psycopg2.errors.InsufficientPrivilege:
            continue
        passed.append((role, statement))
    assert passed == []


def test_the_rights_on_every_table_are_these_and_no_others(databases: Line) -> None:
    for where, wanted in RIGHTS.items():
        found: dict[str, dict[str, str]] = {}
        for relation, role, verbs in databases.rows(FOUND_RIGHTS, database=database_of(databases, where)):
            found.setdefault(relation, {})[role] = verbs
        assert found == wanted


def test_nobody_but_the_lab_makes_databases_tables_or_roles(databases: Line) -> None:
    query = (
        "SELECT rolname FROM pg_roles WHERE rolname ~ '^twinpath_' AND (rolcreaterole OR rolcreatedb OR rolbypassrls "
        "OR has_database_privilege(oid, current_database(), 'CREATE') OR has_schema_privilege(oid, 'public', 'CREATE'))"
    )
    for where in RIGHTS:
        found = {role for (role,) in databases.rows(query, database=database_of(databases, where))}
        assert found == {"twinpath_owner", "twinpath_lab"}
    replicating = databases.rows("SELECT rolname FROM pg_roles WHERE rolreplication AND NOT rolsuper ORDER BY 1")
    assert replicating == [("twinpath_cdc",), ("twinpath_lab",)]


def test_every_role_may_do_its_work(store_line: Line) -> None:
    refused = []
    for role, where, statement in ALLOWED:
        try:
            execute(store_line, role, where, statement)
        except psycopg2.Error as error:
            refused.append((role, statement, str(error)))
    assert refused == []


def test_no_role_of_ours_is_a_superuser(store_line: Line) -> None:
    found = store_line.rows("SELECT rolname FROM pg_roles WHERE rolname LIKE 'twinpath%' AND rolsuper")
    assert found == []


def test_every_file_can_be_run_again(store_line: Line) -> None:
    execute(store_line, "twinpath_writer", "source", INSERT)
    store_line.scope.create_databases(store_line.scope.open_as_lab)
    store_line.stack.postgres.set_up_roles()
    source = store_line.settings.source_database
    assert store_line.rows("SELECT count(*) FROM transactions", database=source) == [(1,)]


def test_a_store_of_before_dead_letters_had_a_version_is_brought_up_to_date(store_line: Line) -> None:
    for statement in (
        "ALTER TABLE dead_letters DROP COLUMN rule_version",
        "ALTER TABLE dead_letters ADD PRIMARY KEY (path, rule, topic_id, partition, kafka_offset)",
        "INSERT INTO dead_letters VALUES ('agent', 'spending', 't', 0, 5, ''), ('agent', 'velocity', 't', 0, 5, '')",
        "INSERT INTO checkpoints VALUES ('agent', 'spending', '1-old', 't', 0, 1, 9, 4, 64, now() - interval '1 day'), "
        "('agent', 'spending', '1-last', 't', 0, 1, 9, 4, 64, now())",
    ):
        execute(store_line, "twinpath_lab", "alerts", statement)
    for _ in range(2):
        store_line.scope.create_databases(store_line.scope.open_as_lab)
    found = store_line.rows("SELECT rule, rule_version FROM dead_letters ORDER BY rule")
    assert found == [("spending", "1-last"), ("velocity", "")]
    again = "INSERT INTO dead_letters VALUES ('agent', 'spending', 't', 0, 5, '', NULL, NULL, NULL, now(), '1-next')"
    execute(store_line, "twinpath_alerts", "alerts", again)


def test_no_password_stands_in_the_servers_statistics_or_log(store_line: Line) -> None:
    line = store_line
    statements = line.rows("SELECT query FROM pg_stat_statements WHERE query ILIKE '%%password%%'", database="postgres")
    log = (line.stack.home.logs / "postgres.log").read_text()
    for role in ("twinpath_writer", "twinpath_alerts", "twinpath_lab", "postgres"):
        password = line.stack.credentials.password(role)
        assert not any(password in query for (query,) in statements)
        assert password not in log


def test_passwords_lie_in_files_that_only_their_owner_can_read(store_line: Line) -> None:
    folder = store_line.stack.home.secrets
    assert folder.stat().st_mode & 0o777 == 0o700
    found = {str(path.relative_to(folder)): path.stat().st_mode & 0o777 for path in folder.rglob("*")}
    assert found == {"passwords.json": 0o600, "connect": 0o700, "connect/cdc.properties": 0o600}


def test_latency_is_counted_between_two_commits_of_one_server(store_line: Line) -> None:
    source = store_line.session()
    with source, source.cursor() as cursor:
        cursor.execute("INSERT INTO transactions (user_id, amount) VALUES (1, 2) RETURNING pg_current_xact_id()::text")
        (xid,) = cursor.fetchone()
    alerts = store_line.session("twinpath_alerts", store_line.settings.alerts_database)
    with alerts, alerts.cursor() as cursor:
        stamped = ALERT.replace("digest)", "digest, source_xid)").replace("'', '{}', '')", f"'', '{{}}', '', {xid})")
        cursor.execute(stamped)
        cursor.execute(ALERT.replace("1, 1, 1, 1, 1, 'c'", "1, 2, 1, 1, 1, 'c'"))
    found = store_line.rows(
        "SELECT l.latency_ms::float, extract(epoch FROM pg_xact_commit_timestamp(a.xmin) - l.changed_at)::float * 1000 "
        "FROM alert_latency l JOIN alert_log a USING (tx_id) ORDER BY tx_id"
    )
    assert found[0][0] == pytest.approx(found[0][1])
    assert found[0][0] > 0
    assert found[1] == (None, None)


def test_an_alert_store_of_your_own_is_made_by_the_lines_of_the_page(server: Stack) -> None:
    """docs/own-system.md on a server that has none, as the superuser, and beside it what the stack makes."""

    def objects(database: str) -> list[tuple[Any, ...]]:
        """Tables, views, indexes and sequences, with what is granted on each."""
        with closing(server.postgres.connect(database)) as session, session.cursor() as cursor:
            cursor.execute(
                "SELECT relname, relkind::text, relowner::regrole::text, relacl::text FROM pg_class "
                "WHERE relnamespace = 'public'::regnamespace ORDER BY relname"
            )
            return cursor.fetchall()

    settings = server.settings
    environment = os.environ | {
        "PATH": f"{server.postgres.binaries()}{os.pathsep}{os.environ['PATH']}",
        "PGHOST": settings.pghost,
        "PGPORT": str(settings.pgport),
        "PGUSER": "postgres",
        "PGPASSWORD": server.credentials.password("postgres"),
    }
    scope = server.scope(run_settings(settings, "beside"))
    try:
        done = subprocess.run(
            ["bash", "-ec", commands_of("alert-store")],
            cwd=ROOT,
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "ERROR" not in done.stderr
        scope.create_databases(server.postgres.connect)
        found = objects("alerts")
        assert ("alert_log", "r") in [one[:2] for one in found]
        assert found == objects(scope.settings.alerts_database)
    finally:
        with closing(server.postgres.connect("postgres")) as session, session.cursor() as cursor:
            for name in ("alerts", scope.settings.alerts_database, scope.settings.source_database):
                cursor.execute(f"DROP DATABASE IF EXISTS {name}")
