"""A Spark checkpoint that is gone, older, cut or of another query: a loud stop or a safe replay, never a skip."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from kafka import TopicPartition
from pyspark.sql import SparkSession

from lab.measure.agreement import compare_log
from lab.stack import kafka
from tests.conftest import Line
from tests.integration.publishing import publish, usual_payments
from tests.spark.streams import counters, judge, replays, settings_of, stored
from twinpath.detection.rules import RULES, configured
from twinpath.errors import ForeignCheckpoint, GapError, ServiceFault, TwinpathError

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # PySpark leaves sockets to the garbage collector
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
SPENDING, VELOCITY = RULES["spending"], RULES["velocity"]
STRICT = {"spending": {"ratio": 30}}


def pay(line: Line, first_id: int) -> None:
    """Six payments each of two users, the last of them unusual."""
    for partition, user in enumerate((7, 8)):
        amounts = ["10.00"] * 5 + ["900.00"]
        publish(line.settings, usual_payments(user, first_id + 100 * user, amounts), partition)


def agrees(line: Line) -> bool:
    expected = replays(line)
    return all(compare_log(stored(line, rule), expected[rule.name].alerts).equal for rule in RULES.values())


def newest(folder: Path) -> Path:
    return max((one for one in folder.iterdir() if one.name.isdigit()), key=lambda one: int(one.name))


@pytest.mark.timeout(400)
def test_a_damaged_checkpoint_never_skips_a_record(spark: SparkSession, topic_line: Line, tmp_path: Path) -> None:
    line, settings = topic_line, settings_of(topic_line, tmp_path)
    pay(line, 1)
    judge(spark, settings)
    (folder,) = (tmp_path / "checkpoints").glob("*/*")
    older, whole = tmp_path / "older", tmp_path / "whole"
    shutil.copytree(folder, older)
    pay(line, 11)
    judge(spark, settings)
    shutil.copytree(folder, whole)
    before = counters(line, "spending")
    assert before == {"judged": 24, "alerts": 4}

    def put(other: Path) -> None:
        shutil.rmtree(folder)
        shutil.copytree(other, folder)

    put(older)
    with pytest.raises(ForeignCheckpoint, match="it is an older copy"):
        judge(spark, settings)

    def changelog() -> Path:
        return max(folder.glob("state/0/*/*.changelog"), key=lambda one: one.stat().st_size)

    damages: list[tuple[Callable[[], Path], type[TwinpathError]]] = [
        (lambda: folder / "metadata", ForeignCheckpoint),
        (lambda: newest(folder / "offsets"), TwinpathError),
        (changelog, ServiceFault),
    ]
    pay(line, 21)
    for damaged, error in damages:
        put(whole)
        path = damaged()
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        path.with_name(f".{path.name}.crc").unlink(missing_ok=True)  # else Hadoop's own checksum would tell
        with pytest.raises(error):
            judge(spark, settings)
        assert counters(line, "spending") == before

    shutil.rmtree(folder)
    judge(spark, settings)
    assert agrees(line)
    assert counters(line, "spending") == {"judged": 36, "alerts": 6, "alerts_refused": 4}


@pytest.mark.timeout(400)
def test_what_is_changed_between_two_starts_is_refused_or_safe(
    spark: SparkSession, topic_line: Line, tmp_path: Path
) -> None:
    line, settings = topic_line, settings_of(topic_line, tmp_path)
    pay(line, 1)
    judge(spark, settings)
    with pytest.raises(ForeignCheckpoint, match=r"wanted in the wrong|STREAM_BUCKETS"):
        judge(spark, settings.model_copy(update={"stream_buckets": 8}))
    with pytest.raises(ForeignCheckpoint, match="FLATTENED was false, is true"):
        judge(spark, settings.model_copy(update={"flattened": True}))
    pay(line, 11)
    judge(spark, settings.model_copy(update={"stream_partitions": 3}))
    assert agrees(line)
    other = settings.model_copy(update={"rule_parameters": STRICT})
    pay(line, 21)
    started = judge(spark, other)
    strict = configured("spending", STRICT)
    assert [[rule.name for rule in one.plan.rules] for one in started] == [["velocity"], ["spending"]]
    assert compare_log(stored(line, strict), replays(line, strict)["spending"].alerts).equal
    judged = line.rows(
        "SELECT rule, rule_version, sum(value)::int FROM counters WHERE name = 'judged' GROUP BY 1, 2 ORDER BY 1, 3"
    )
    assert judged == [
        ("spending", SPENDING.version, 24),
        ("spending", strict.version, 36),
        ("velocity", VELOCITY.version, 36),
    ]
    assert "alerts_refused" not in counters(line, "velocity")


def test_records_that_are_gone_before_they_were_judged_stop_the_start(
    spark: SparkSession, topic_line: Line, tmp_path: Path
) -> None:
    line, settings = topic_line, settings_of(topic_line, tmp_path)
    pay(line, 1)
    with kafka.admin(line.settings) as client:
        client.delete_records({TopicPartition(line.settings.topic, 0): 4})
    with pytest.raises(GapError, match="partition 0 offsets 0 to 3 were never judged"):
        judge(spark, settings)
    assert not (tmp_path / "checkpoints").exists()


def test_records_that_are_gone_between_two_starts_stop_the_query(
    spark: SparkSession, topic_line: Line, tmp_path: Path
) -> None:
    line, settings = topic_line, settings_of(topic_line, tmp_path)
    pay(line, 1)
    judge(spark, settings)
    pay(line, 11)
    with kafka.admin(line.settings) as client:
        client.delete_records({TopicPartition(line.settings.topic, 0): 9})
    with pytest.raises(GapError, match="partition 0 offsets 6 to 8 were never judged"):
        judge(spark, settings)
    assert counters(line, "spending")["judged"] == 12


def test_a_topic_that_was_made_anew_is_refused(spark: SparkSession, topic_line: Line, tmp_path: Path) -> None:
    line, settings = topic_line, settings_of(topic_line, tmp_path)
    pay(line, 1)
    judge(spark, settings)
    kafka.delete_topics(line.settings, line.settings.prefix)
    line.scope.create_topic()
    with pytest.raises(ForeignCheckpoint, match="was deleted and created anew"):
        judge(spark, settings)
