"""The batch path on a real Spark session, PostgreSQL and alert store."""

import threading
from typing import Any

import pytest
from pydantic import SecretStr
from pyspark.sql import SparkSession

from lab.measure.batch_input import BatchRun
from spark_jobs import fraud_batch
from spark_jobs.batch_store import BatchStore
from tests.conftest import Line
from twinpath.detection.model import Change, Position, Transaction
from twinpath.detection.replay import current, replay
from twinpath.detection.rules import RULES
from twinpath.errors import ServiceFault

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # PySpark leaves sockets to the garbage collector
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
NOON = "2026-11-23T12:00:00Z"
USUAL = [(7, "10.00", NOON)] * 3


def run(spark: SparkSession, line: Line, *options: str) -> dict[str, Any]:
    credentials = line.stack.credentials
    source = credentials.dsn("twinpath_reader", line.settings.source_database)
    given = {"source_dsn": SecretStr(source), "alerts_dsn": SecretStr(credentials.alerts_dsn(line.settings))}
    return fraud_batch.judge_once(
        spark, fraud_batch.parser().parse_args(options), line.settings.model_copy(update=given)
    )


def alerts(line: Line, path: str = "spark_batch") -> list[tuple[Any, ...]]:
    return line.rows(
        "SELECT rule, tx_id, row_lsn::int, status, score FROM alert_log WHERE path = %s ORDER BY 1, 2, 3", [path]
    )


def execute(line: Line, *statements: str) -> None:
    session = line.session()
    with session, session.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def expected(line: Line) -> set[tuple[str, int, str, int, str]]:
    """What a fold of the table in the order of its commits stands at; rows were inserted only."""
    rows = line.rows(
        "SELECT id, user_id, (amount * 100)::bigint, (extract(epoch FROM created_at) * 1000000)::bigint, merchant_id "
        "FROM transactions ORDER BY pg_xact_commit_timestamp(xmin), id",
        database=line.settings.source_database,
    )
    changes = [
        Change("c", row[1], row[0], Position(1, 0, place), None, Transaction(*row)) for place, row in enumerate(rows, 1)
    ]
    return {
        (name, one.tx_id, one.status, one.score, one.reason)
        for name, rule in RULES.items()
        for one in current(replay(rule, changes).alerts).values()
    }


def standing(line: Line, path: str) -> set[tuple[str, int, str, int, str]]:
    return set(line.rows("SELECT rule, tx_id, status, score, reason FROM alerts_current WHERE path = %s", [path]))


def test_rows_are_judged_in_the_order_of_their_commits_and_a_second_run_changes_nothing(
    spark: SparkSession, store_line: Line
) -> None:
    line = store_line
    for number in range(40):
        users = [number % 5 - 1, 7, -3]
        line.insert([(user, f"{10 + number * 37 % 90}.{number:02}", NOON) for user in users])
        if number % 4 == 0:
            line.insert([(7, "4500.00", NOON), (number % 5 - 1, "999.99", NOON)])
    first = run(spark, line, "--count-visible")
    assert (first["rows_read"], first["rows_visible"], first["merged"]) == (140, 140, True)
    assert standing(line, "spark_batch") == expected(line)
    assert {rule for rule, *_ in alerts(line)} == {"spending", "velocity"}
    before = alerts(line)
    second = run(spark, line)
    assert (second["rows_read"], second["alerts_written"]) == (0, 0)
    assert alerts(line) == before
    line.insert([(7, "9999.00", NOON)])
    run(spark, line, "--read", "plain")
    assert standing(line, "spark_batch") == expected(line)
    run(spark, line, "--mode", "full")
    assert standing(line, "spark_batch_full") == expected(line)


def test_a_row_that_commits_late_is_missed_by_a_watermark_and_judged_by_safe(
    spark: SparkSession, store_line: Line
) -> None:
    line = store_line
    modes = ("safe", "naive-id", "naive-time")
    line.insert(USUAL)
    held = line.session()
    with held.cursor() as cursor:
        cursor.execute("INSERT INTO transactions (user_id, amount, created_at) VALUES (7, 900, %s)", [NOON])
    line.insert([(7, "12.00", "2026-11-23T12:00:01Z")])
    for mode in modes:
        run(spark, line, "--mode", mode)
    held.commit()
    line.insert([(7, "13.00", "2026-11-23T12:00:02Z")])
    judged = {}
    for mode in modes:
        summary = run(spark, line, "--mode", mode)
        judged[mode] = summary["rows_known"]["spending"]
    assert judged == {"safe": 6, "naive-id": 5, "naive-time": 5}
    assert alerts(line) == [("spending", 4, 1, "RAISED", 857)]
    assert standing(line, "spark_batch") == expected(line)
    assert alerts(line, "spark_batch_naive_id") == alerts(line, "spark_batch_naive_time") == []


def test_a_savepoint_in_a_held_transaction_is_judged_once(spark: SparkSession, store_line: Line) -> None:
    line = store_line
    line.insert(USUAL)
    held = line.session()
    with held.cursor() as cursor:
        cursor.execute("INSERT INTO transactions (user_id, amount) VALUES (7, 20)")
        cursor.execute("SAVEPOINT one")
        cursor.execute("INSERT INTO transactions (user_id, amount) VALUES (7, 900)")
        cursor.execute("RELEASE SAVEPOINT one")
        cursor.execute("SAVEPOINT two")
        cursor.execute("INSERT INTO transactions (user_id, amount) VALUES (7, 901)")
        cursor.execute("ROLLBACK TO SAVEPOINT two")
    assert run(spark, line)["rows_read"] == 3
    line.insert([(7, "10.00", NOON)])
    assert run(spark, line)["rows_read"] == 1
    held.commit()
    assert [run(spark, line)["rows_read"] for _ in range(2)] == [2, 0]
    assert standing(line, "spark_batch") == expected(line)


def test_a_corrected_row_is_judged_again_and_unchanged_values_are_ignored(
    spark: SparkSession, store_line: Line
) -> None:
    line = store_line
    line.insert([*USUAL, (7, "900.00", NOON)])
    run(spark, line)
    execute(line, "UPDATE transactions SET amount = 9.00 WHERE id = 4")
    run(spark, line)
    execute(line, "UPDATE transactions SET amount = 9.00 WHERE id = 4", "UPDATE transactions SET card_type = 'amex'")
    run(spark, line)
    execute(line, "UPDATE transactions SET amount = 901.00 WHERE id = 4")
    run(spark, line)
    assert alerts(line) == [
        ("spending", 4, 1, "RAISED", 900),
        ("spending", 4, 2, "RETRACTED", 0),
        ("spending", 4, 3, "RAISED", 901),
    ]


def test_a_fold_of_the_whole_table_retracts_what_is_gone(spark: SparkSession, store_line: Line) -> None:
    line = store_line
    line.insert([*USUAL, (7, "900.00", NOON), (7, "9000.00", NOON)])
    run(spark, line, "--mode", "full")
    execute(line, "DELETE FROM transactions WHERE id = 4")
    run(spark, line, "--mode", "full")
    run(spark, line, "--mode", "full")
    assert alerts(line, "spark_batch_full") == [
        ("spending", 4, 1, "RAISED", 900),
        ("spending", 4, 2, "RETRACTED", 0),
        ("spending", 5, 1, "RAISED", 387),
        ("spending", 5, 2, "REVISED", 9000),
    ]


def test_of_two_overlapping_runs_one_merges_and_the_other_discards(
    spark: SparkSession, store_line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = store_line
    line.insert([*USUAL, (7, "900.00", NOON)])
    merge = BatchStore.merge
    results: list[dict[str, Any]] = []
    inner = threading.Lock()

    def overtaken(store: BatchStore, *given: Any, **named: Any) -> Any:
        if inner.acquire(blocking=False):
            results.append(run(spark, line))  # another job begins and ends while this one is about to merge
        return merge(store, *given, **named)

    for amount in ("900.00", "950.00"):
        monkeypatch.setattr(BatchStore, "merge", overtaken)
        results.append(run(spark, line))
        monkeypatch.setattr(BatchStore, "merge", merge)
        inner.release()
        line.insert([(7, amount, NOON)])
    assert [one["merged"] for one in results] == [True, False, True, False]
    run(spark, line)
    assert standing(line, "spark_batch") == expected(line)
    judged = line.rows(
        "SELECT rule, value::int FROM counters WHERE path = 'spark_batch' AND name = 'judged' ORDER BY 1"
    )
    assert judged == [("spending", 6), ("velocity", 6)]
    assert line.rows("SELECT count(*)::int FROM batch_staged") == [(0,)]


def test_a_run_that_dies_before_its_merge_leaves_no_trace_in_the_alerts(
    spark: SparkSession, store_line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = store_line
    line.insert([*USUAL, (7, "900.00", NOON)])

    def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as planted:
        planted.setattr(BatchStore, "merge", die)
        with pytest.raises(KeyboardInterrupt):
            run(spark, line)
    assert alerts(line) == []
    run(spark, line)
    assert standing(line, "spark_batch") == expected(line)


def test_staged_alerts_that_went_missing_are_not_merged(
    spark: SparkSession, store_line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = store_line
    line.insert([*USUAL, (7, "900.00", NOON)])
    merge = BatchStore.merge

    def emptied(store: BatchStore, attempt: str, *given: Any, **named: Any) -> Any:
        store.discard(attempt)
        return merge(store, attempt, *given, **named)

    with monkeypatch.context() as planted:
        planted.setattr(BatchStore, "merge", emptied)
        with pytest.raises(ServiceFault, match="found 0 staged buckets with 0 alerts"):
            run(spark, line)
    run(spark, line)
    assert alerts(line) == [("spending", 4, 1, "RAISED", 900)]


def test_rows_that_cannot_be_judged_become_dead_letters_and_neighbours_are_unaffected(
    spark: SparkSession, store_line: Line
) -> None:
    line = store_line
    line.insert(USUAL)
    execute(
        line,
        "INSERT INTO transactions (user_id, amount) VALUES (7, 'NaN'), (NULL, 5), (7, NULL)",
        "INSERT INTO transactions (user_id, amount, created_at) VALUES (7, 5, 'infinity'), (7, 5, NULL)",
        "INSERT INTO transactions (user_id, amount, created_at) VALUES (7, 900, '2026-11-23T12:00:01Z')",
    )
    run(spark, line)
    run(spark, line)
    found = line.rows(
        "SELECT kafka_offset::int, split_part(reason, ':', 1) FROM dead_letters "
        "WHERE path = 'spark_batch' AND rule = 'spending' ORDER BY 1"
    )
    assert found == [(4, "amount"), (5, "user_id"), (6, "amount"), (7, "created_at"), (8, "created_at")]
    assert alerts(line) == [("spending", 9, 1, "RAISED", 900)]


def test_a_table_without_a_column_is_named(spark: SparkSession, store_line: Line) -> None:
    owner = store_line.session("twinpath_lab")
    with owner, owner.cursor() as cursor:
        cursor.execute("ALTER TABLE transactions DROP COLUMN merchant_id")
    with pytest.raises(ServiceFault, match='column "merchant_id" does not exist'):
        run(spark, store_line)


def test_a_watermark_begins_with_the_first_row_that_there_is(spark: SparkSession, store_line: Line) -> None:
    line = store_line
    modes = ("safe", "naive-id", "naive-time", "full")
    for mode in modes:
        assert run(spark, line, "--mode", mode)["rows_read"] == 0
    line.insert([*USUAL, (7, "900.00", NOON)])
    for mode in modes:
        found = run(spark, line, "--mode", mode)
        assert (found["rows_read"], found["alerts_written"]) == (4, 1), mode
        assert set(found["seconds"]) == {"prepare", "read", "fold", "stage", "count", "merge"}


def test_each_merged_run_leaves_its_snapshot_and_its_interval(spark: SparkSession, store_line: Line) -> None:
    line = store_line
    line.insert(USUAL)
    first = run(spark, line)
    held = line.session()
    with held.cursor() as cursor:
        cursor.execute("INSERT INTO transactions (user_id, amount) VALUES (7, 20) RETURNING xmin::text")
        (xid,) = cursor.fetchone()
    second = run(spark, line)
    run(spark, line, "--mode", "naive-time", "--interval-start", NOON, "--interval-end", "2026-11-23T12:00:01Z")
    found = line.rows(
        "SELECT path, run::int, snapshot, begin_us, end_us - begin_us FROM batch_runs WHERE rule = %s "
        "ORDER BY merged_at",
        ["velocity"],
    )
    assert found[:2] == [
        ("spark_batch", 1, first["snapshot"], None, None),
        ("spark_batch", 2, second["snapshot"], None, None),
    ]
    assert [BatchRun.of(1, one[2]).sees(int(xid)) for one in found[:2]] == [False, False]
    assert found[2][:2] == ("spark_batch_naive_time", 1)
    assert found[2][4] == 1_000_000


def test_rows_from_before_the_source_was_registered_teach_and_are_not_judged(
    spark: SparkSession, topic_line: Line
) -> None:
    line = topic_line
    line.insert([*USUAL, (7, "9000.00", "2026-11-23T11:00:00Z")])
    line.scope.register_source(line.scope.open_as_lab)
    execute(line, "DELETE FROM transactions WHERE id = 4")
    line.insert([(7, "900.00", NOON)])
    run(spark, line)
    assert alerts(line) == [("spending", 5, 1, "RAISED", 900)]
    counted = dict(line.rows("SELECT name, value::int FROM counters WHERE path = 'spark_batch' AND rule = 'spending'"))
    assert counted == {"taught": 3, "judged": 1}
