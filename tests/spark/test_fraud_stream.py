"""The streaming path on a real Spark session, Kafka, connector and alert store: the same alerts as an agent's."""

from io import StringIO
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from lab.console import Progress
from lab.load import Load
from lab.measure.agreement import compare_log
from tests.conftest import Line
from tests.integration.publishing import envelope, key, publish, row, usual_payments
from tests.spark.streams import counters, judge, raw_records, replays, settings_of, stored
from twinpath.detection.rules import RULES
from twinpath.detection.workload import Workload

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # PySpark leaves sockets to the garbage collector
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
BOTH = tuple(RULES.values())
NOON = "2026-11-23T12:00:00Z"


def write_every_kind(line: Line, folder: Path) -> None:
    """Inserts, corrections, deletions, rollbacks, savepoints, moved keys, ties: through the connector."""
    dsn = line.stack.credentials.dsn("twinpath_writer", line.settings.source_database)
    Load(Workload("labelled", 11, 500, 8.0, corrections=True), dsn, folder, Progress(quiet=True)).run()
    session = line.session()
    with session, session.cursor() as cursor:
        cursor.copy_expert("COPY transactions (user_id, amount) FROM STDIN", StringIO("7\t10.00\n" * 3 + "7\t900.00\n"))
    payments = [(7, "10.00"), (7, "990.00"), (8, "1.00"), (8, "700.00"), (7, "11.00")]
    ids = line.insert([(user, amount, NOON) for user, amount in payments])
    for statement, tx_id in (
        ("UPDATE transactions SET user_id = 8 WHERE id = %s", ids[4]),  # a moved key: a delete and an insert
        ("UPDATE transactions SET amount = 800.00 WHERE id = %s", ids[3]),
        ("DELETE FROM transactions WHERE id = %s", ids[1]),
        ("UPDATE transactions SET id = id + 1000000 WHERE id = %s", ids[0]),
    ):
        with session, session.cursor() as cursor:
            cursor.execute(statement, [tx_id])
    line.wait_until_in_kafka()


def resend(line: Line) -> int:
    """The first records of each partition once more, as a restarted connector does; and one that is no record."""
    sent = 0
    for partition in range(line.settings.topic_partitions):
        again = [(one.key, one.value) for one in raw_records(line) if one.partition == partition][:100]
        publish(line.settings, again, partition)
        sent += len(again)
    publish(line.settings, [(key(7), b"{"), (b"\xff", envelope("c", 1, after=row(1, 7, "1.00"))), (None, b"[]")])
    return sent


@pytest.mark.timeout(400)
def test_agent_stream_and_replay_agree_on_a_log_of_every_kind(
    spark: SparkSession, topic_line: Line, tmp_path: Path
) -> None:
    line = topic_line
    line.insert([(user, "10.00", "2026-11-22T06:00:00Z") for user in (7, 8, 1000) for _ in range(3)])  # they teach
    line.scope.register_source(line.scope.open_as_lab)
    line.scope.start_connector()
    for rule in BOTH:
        line.agents.start(rule.name)
    write_every_kind(line, tmp_path)
    sent_again = resend(line)
    settings = settings_of(line, tmp_path, stream_max_records=1_500)
    (started,) = judge(spark, settings)
    line.wait_until_judged(*BOTH)
    assert len(started.query.recentProgress) >= 3, "several micro-batches"
    expected = replays(line)
    for rule in BOTH:
        alerts = stored(line, rule)
        assert compare_log(alerts, expected[rule.name].alerts).equal
        assert compare_log(stored(line, rule, "agent"), expected[rule.name].alerts).equal
        assert {one.status for one in alerts} >= {"RAISED"}
        assert counters(line, rule.name) == counters(line, rule.name, "agent")
        assert counters(line, rule.name)["duplicate"] >= sent_again - 9
    assert {one.status for one in stored(line, RULES["spending"])} == {"RAISED", "REVISED", "RETRACTED"}
    letters = (
        "SELECT rule, partition, kafka_offset, reason, record_value FROM dead_letters WHERE path = %s ORDER BY 1, 2, 3"
    )
    found = [
        (rule, place, offset, why, bytes(value))
        for rule, place, offset, why, value in line.rows(letters, ["spark_stream"])
    ]
    wanted = [
        (rule, place, offset, why, bytes(value)) for rule, place, offset, why, value in line.rows(letters, ["agent"])
    ]
    assert found == wanted
    assert len(found) == 6


def test_a_second_start_goes_on_where_the_first_one_ended_and_says_how_far_it_is(
    spark: SparkSession, topic_line: Line, tmp_path: Path
) -> None:
    line = topic_line
    settings = settings_of(line, tmp_path)
    publish(line.settings, usual_payments(7, 1, ["10.00", "10.00", "10.00", "600.00"]))
    publish(line.settings, usual_payments(8, 11, ["5.00", "5.00", "5.00", "1000.00"]), partition=1)
    judge(spark, settings)
    publish(line.settings, usual_payments(7, 5, ["700.00"]))
    judge(spark, settings)
    expected = replays(line)
    for rule in BOTH:
        assert compare_log(stored(line, rule), expected[rule.name].alerts).equal
    assert [one.tx_id for one in stored(line, RULES["spending"])] == [4, 5, 14]
    assert counters(line, "spending") == {"judged": 9, "alerts": 3}
    assert counters(line, "velocity") == {"judged": 9}
    stream = line.stack.spark_stream(settings)
    (progress,) = stream.progress()
    assert (progress["batch"], progress["records"], progress["next_offsets"]) == (1, 1, {0: 5, 1: 4, 2: 0, 3: 0})
    stream.wait_until_judged(line.scope.topic_id(), {0: 5, 1: 4, 2: 0, 3: 0}, 1)
