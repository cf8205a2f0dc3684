"""The whole line: what PostgreSQL commits is what agents judge, through the real connector."""

import json
from collections import defaultdict
from contextlib import closing
from io import StringIO

import psycopg2
import pytest

from lab.console import Progress
from lab.load import Load
from lab.measure import fence, reference, witness
from lab.measure.agreement import compare, compare_log
from lab.operations import read_operations
from lab.stack import connect
from lab.watch_changes import lines, open_topic
from tests.conftest import Line
from twinpath.alert_rows import read_alerts
from twinpath.detection.envelope import EnvelopeDecoder
from twinpath.detection.model import Alert
from twinpath.detection.rules import RULES, Rule
from twinpath.detection.usual import usual_change
from twinpath.detection.workload import Workload

pytestmark = pytest.mark.integration
BOTH = tuple(RULES.values())
IDLE_MS = 3_000


def changes(line: Line, offset: int = 0, user: int | None = None) -> list[dict]:
    """What `twinpath changes --json` prints, from an offset of every partition."""
    consumer = open_topic(line.settings, IDLE_MS)
    try:
        for partition in consumer.assignment():
            consumer.seek(partition, offset)
        found = [json.loads(text) for text in lines(line.settings, consumer, user=user, as_json=True)]
    finally:
        consumer.close()
    for change in found:
        del change["age_ms"]
    return found


def stored(line: Line, rule: Rule) -> list[Alert]:
    dsn = line.stack.credentials.dsn("twinpath_lab", line.settings.alerts_database)
    with closing(psycopg2.connect(dsn)) as session, session.cursor() as cursor:
        return read_alerts(cursor, "agent", rule.name, rule.version)


def start_agents(line: Line) -> None:
    for rule in RULES:
        line.agents.start(rule)
    for rule in RULES:
        line.agents.wait(rule)


def test_changes_show_every_insert_update_delete_and_changed_key_but_no_rolled_back_row(line: Line) -> None:
    session = line.session()
    (first, second) = line.insert([(7, "10.00", "2026-11-23T06:00:00Z"), (8, "20.00", "2026-11-23T06:00:01Z")])
    with session.cursor() as cursor:
        cursor.execute("INSERT INTO transactions (user_id, amount) VALUES (7, 99.00)")
        session.rollback()
        cursor.execute("UPDATE transactions SET amount = 11.00 WHERE id = %s", [first])
        session.commit()
        cursor.execute("UPDATE transactions SET user_id = 8 WHERE id = %s", [first])
        session.commit()
        cursor.execute("DELETE FROM transactions WHERE id = %s", [second])
        session.commit()
    line.wait_until_in_kafka()
    found = changes(line)
    of_user = defaultdict(list)
    for change in found:
        before, after = change["before"], change["after"]
        amounts = tuple(None if row is None else row["amount_cents"] for row in (before, after))
        of_user[change["user_id"]].append((change["op"], change["tx_id"], *amounts))
    assert of_user == {
        7: [
            ("INSERT", first, None, 1000),
            ("UPDATE", first, 1000, 1100),
            ("DELETE", first, 1100, None),
        ],
        8: [
            ("INSERT", second, None, 2000),
            ("INSERT", first, None, 1100),
            ("DELETE", second, 2000, None),
        ],
    }
    moved = [change["position"] for change in found if change["tx_id"] == first][2:]
    assert moved[0] == moved[1], "both halves of a changed key stand at one position"
    assert changes(line, user=8) == [change for change in found if change["user_id"] == 8]


def test_what_the_connector_writes_takes_the_decoders_fast_route(line: Line) -> None:
    line.insert([(7, "10.00", "2026-11-23T06:00:00Z")])  # a connector's first transaction has no earlier one to name
    (row,) = line.insert([(7, "10.00", "2026-11-23T06:00:01Z")])
    session = line.session()
    with session.cursor() as cursor:
        cursor.execute("UPDATE transactions SET amount = 11.00 WHERE id = %s", [row])
        session.commit()
        cursor.execute("DELETE FROM transactions WHERE id = %s", [row])
        session.commit()
    line.wait_until_in_kafka()
    fmt = line.settings.envelope()
    with closing(open_topic(line.settings, IDLE_MS)) as consumer:
        consumer.seek_to_beginning()
        records = [(record.key, record.value) for record in consumer if record.value is not None][1:]
    taken = [usual_change(key, value, 1, fmt) for key, value in records]
    assert [change.op for change in taken] == ["c", "u", "d"]
    assert [(change,) for change in taken] == [EnvelopeDecoder(fmt).define(key, value) for key, value in records]


def test_changes_are_the_same_when_read_again_from_any_offset(line: Line) -> None:
    line.insert([(user, "10.00", "2026-11-23T06:00:00Z") for user in range(12)])
    line.wait_until_in_kafka()

    def by_place(found: list[dict]) -> dict[tuple[int, int], dict]:
        return {(change["partition"], change["offset"]): change for change in found}

    everything = by_place(changes(line))
    assert len(everything) == 12
    for offset in (1, 2):
        wanted = {place: change for place, change in everything.items() if place[1] >= offset}
        assert by_place(changes(line, offset)) == wanted


def test_after_the_snapshot_no_statement_touches_the_table(line: Line) -> None:
    query = (
        "SELECT coalesce(sum(calls), 0)::int FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid "
        "JOIN pg_roles r ON r.oid = s.userid WHERE d.datname = %s AND r.rolname NOT IN ('twinpath_writer', 'postgres') "
        "AND s.query ILIKE '%%transactions%%'"
    )
    names = [line.settings.source_database]
    start_agents(line)
    before = line.rows(query, names, "postgres")
    assert before[0][0] > 0, "the snapshot's own statement is counted"
    for _ in range(20):
        line.insert([(7, "10.00", "2026-11-23T06:00:00Z")])
    line.wait_until_in_kafka()
    line.wait_until_judged(*BOTH)
    assert line.rows(query, names, "postgres") == before


def test_a_foreign_producer_that_commits_a_thousand_rows_as_postgres_simply_works(line: Line) -> None:
    start_agents(line)
    rows = [(1000 + number % 50, 5 + number, "visa", number % 9) for number in range(1000)]
    session = psycopg2.connect(line.stack.credentials.dsn("postgres", line.settings.source_database))
    with closing(session), session.cursor() as cursor:
        for _ in range(3):
            cursor.executemany(
                "INSERT INTO transactions (user_id, amount, card_type, merchant_id) VALUES (%s, %s, %s, %s)", rows
            )
            session.commit()
    line.wait_until_in_kafka()
    line.wait_until_judged(*BOTH)
    judged = line.rows("SELECT rule, sum(value)::int FROM counters WHERE name = 'judged' GROUP BY rule ORDER BY rule")
    assert judged == [("spending", 3000), ("velocity", 3000)]
    ties = line.rows("SELECT count(DISTINCT created_at)::int FROM transactions", database=line.settings.source_database)
    assert ties == [(3,)]


def test_rows_copied_at_one_position_are_each_judged_once(line: Line) -> None:
    start_agents(line)
    session = line.session()
    with session, session.cursor() as cursor:
        cursor.copy_expert(
            "COPY transactions (user_id, amount) FROM STDIN", StringIO("7\t10.00\n7\t10.00\n7\t10.00\n7\t900.00\n")
        )
    with session, session.cursor() as cursor:
        cursor.execute("INSERT INTO transactions (user_id, amount) VALUES (7, 10), (7, 10), (7, 990), (8, 1)")
    line.wait_until_in_kafka()
    line.wait_until_judged(*BOTH)
    found = [(one.tx_id, one.status, one.score) for one in stored(line, RULES["spending"])]
    assert found == [(4, "RAISED", 900), (7, "RAISED", 62)]
    judged = line.rows("SELECT sum(value)::int FROM counters WHERE name = 'judged' AND rule = 'spending'")
    assert judged == [(8,)]
    positions = [tuple(change["position"]) for change in changes(line) if change["tx_id"] <= 4]
    assert len(set(positions)) == 1


def test_existing_rows_teach_and_are_not_judged(topic_line: Line) -> None:
    line = topic_line
    old = line.insert([(7, "10.00", "2026-11-22T06:00:00Z")] * 3 + [(7, "9000.00", "2026-11-22T07:00:00Z")])
    line.scope.register_source(line.scope.open_as_lab)
    line.scope.start_connector()
    start_agents(line)
    session = line.session()
    with session, session.cursor() as cursor:
        cursor.execute("DELETE FROM transactions WHERE id = %s", [old[3]])
    (new,) = line.insert([(7, "600.00", "2026-11-23T06:00:00Z")])
    line.wait_until_in_kafka()
    line.wait_until_judged(*BOTH)
    assert [(one.tx_id, one.score) for one in stored(line, RULES["spending"])] == [(new, 600)]
    counters = dict(
        line.rows("SELECT name, sum(value)::int FROM counters WHERE rule = 'spending' AND value > 0 GROUP BY name")
    )
    assert counters == {"taught": 4, "forgotten": 1, "judged": 1, "alerts": 1}


def test_a_column_without_time_zone_is_read_as_utc(topic_line: Line) -> None:
    line = topic_line
    owner = line.session("twinpath_lab")
    with owner, owner.cursor() as cursor:
        cursor.execute("ALTER TABLE transactions ALTER COLUMN created_at TYPE timestamp")
    line.scope.register_source(line.scope.open_as_lab)
    line.scope.start_connector()
    line.insert([(7, "10.00", "2026-11-23 06:00:00.25")])
    line.wait_until_in_kafka()
    (found,) = changes(line)
    assert found["after"]["created_us"] == 1_795_413_600_250_000


def test_a_re_created_connector_on_a_kept_topic_loses_nothing_of_a_large_first_transaction(line: Line) -> None:
    start_agents(line)
    line.insert([(7, "10.00", "2026-11-23T06:00:00Z")] * 3)
    line.wait_until_in_kafka()
    connect.delete_connector(line.settings)
    with closing(line.scope.open_as_lab("postgres")) as session, session.cursor() as cursor:
        cursor.execute("SELECT pg_drop_replication_slot(%s)", [line.settings.slot])
    line.scope.start_connector()
    large = [(user % 10, "10.00", "2026-11-23T06:01:00Z") for user in range(999)]
    line.insert([*large, (7, "9000.00", "2026-11-23T06:02:00Z")])
    ends = line.wait_until_in_kafka()
    line.wait_until_judged(*BOTH)
    judged = line.rows("SELECT rule, sum(value)::int FROM counters WHERE name = 'judged' GROUP BY rule ORDER BY rule")
    assert judged == [("spending", 1003), ("velocity", 1003)]
    replays = reference.fold(BOTH, reference.topic_changes(line.settings, ends, EnvelopeDecoder()))
    for rule in BOTH:
        assert compare_log(stored(line, rule), replays[rule.name].alerts).equal
    assert len(stored(line, RULES["spending"])) == 1


def test_putting_the_connector_again_changes_nothing(line: Line) -> None:
    config = connect.connector_config(line.stack.home, line.settings)
    assert "${file:" in config["database.password"]
    line.scope.start_connector()
    line.insert([(7, "10.00", "2026-11-23T06:00:00Z")])
    line.wait_until_in_kafka()
    assert [change["op"] for change in changes(line)] == ["INSERT"]


WINDOWS = """
WITH placed AS (
    SELECT *, row_number() OVER (ORDER BY commit_lsn, sequence) AS place FROM work
), spending AS (
    SELECT tx_id, cents, count(*) OVER prior AS n, coalesce(sum(cents) OVER prior, 0) AS total
    FROM placed
    WINDOW prior AS (PARTITION BY user_id ORDER BY place ROWS BETWEEN 50 PRECEDING AND 1 PRECEDING)
), velocity AS (
    SELECT tx_id, cents, 1 + (
        SELECT count(*) FROM (
            SELECT b.created_us FROM placed b WHERE b.user_id = a.user_id AND b.place < a.place
            ORDER BY b.place DESC LIMIT 63
        ) kept WHERE kept.created_us BETWEEN a.created_us - 60000000 AND a.created_us
    ) AS n
    FROM placed a
)
SELECT 'spending', tx_id, CASE WHEN total > 0 THEN floor(cents * n * 10 / total) ELSE 0 END::bigint FROM spending
WHERE n >= 3 AND cents > 50000 AND cents * n > 3 * total
UNION ALL
SELECT 'velocity', tx_id, 90 FROM velocity WHERE n > 5 AND cents > 400000
"""


def test_plain_sql_windows_over_the_witnessed_order_find_the_same_alerts(line: Line, tmp_path) -> None:
    start_agents(line)
    lab = line.stack.credentials.dsn("twinpath_lab", "postgres")
    start = fence.current_lsn(lab)
    workload = Workload("labelled", 11, 600, 10.0, corrections=False)
    dsn = line.stack.credentials.dsn("twinpath_writer", line.settings.source_database)
    Load(workload, dsn, tmp_path, Progress(quiet=True)).run()
    line.wait_until_in_kafka()
    line.wait_until_judged(*BOTH)
    commits = witness.commit_lsns(lab, start, fence.current_lsn(lab))
    work = [
        (one.tx_id, one.after.user_id, one.after.amount_cents, one.after.created_us, commits[one.xid], one.sequence)
        for one in read_operations(tmp_path / "operations.jsonl")
        if one.outcome == "committed"
    ]
    session = line.session("twinpath_lab", line.settings.alerts_database)
    with session, session.cursor() as cursor:
        cursor.execute(
            "CREATE TEMP TABLE work (tx_id bigint, user_id bigint, cents bigint, created_us bigint, commit_lsn bigint, "
            "sequence int)"
        )
        cursor.executemany("INSERT INTO work VALUES (%s, %s, %s, %s, %s, %s)", work)
        cursor.execute(WINDOWS)
        wanted = {tuple(found) for found in cursor.fetchall()}
    found = {(one.rule, one.tx_id, one.score) for rule in BOTH for one in stored(line, rule)}
    assert found == wanted
    assert {rule for rule, *_ in found} == {"spending", "velocity"}
    written = reference.ordered(read_operations(tmp_path / "operations.jsonl"), commits, {})
    by_log = reference.fold(BOTH, written)
    for rule in BOTH:
        assert compare(stored(line, rule), by_log[rule.name].alerts).equal
