"""One agent on a real topic and alert store: what it raises, keeps, refuses and survives."""

import os
import signal
from collections.abc import Iterator

import httpx
import pytest
from kafka import TopicPartition

from lab.stack import kafka, process
from tests.conftest import Line, wait_for
from tests.integration.publishing import OURS, envelope, key, publish, row, usual_payments
from twinpath.detection.rules import RULES

pytestmark = pytest.mark.integration
SPENDING = RULES["spending"]
TROUBLE = usual_payments(7, 1, ["10.00", "10.00", "10.00", "600.00"])


def start(line: Line, rule: str = "spending") -> None:
    line.agents.start(rule)
    line.agents.wait(rule)


def alerts(line: Line, rule: str = "spending") -> list[tuple]:
    return line.rows(
        "SELECT tx_id, status, score, row_lsn FROM alert_log WHERE rule = %s ORDER BY row_lsn, tx_id", [rule]
    )


def counters(line: Line, rule: str = "spending") -> dict[str, int]:
    found = line.rows("SELECT name, sum(value)::bigint FROM counters WHERE rule = %s GROUP BY name", [rule])
    return {name: value for name, value in found if value}


def log_of(line: Line, rule: str = "spending") -> str:
    return process.log_of(line.stack.home, line.agents.name(rule)).read_text()


def metric(line: Line, name: str, rule: str = "spending") -> float:
    text = httpx.get(f"{line.agents.url(rule)}/metrics").text
    (found,) = [part for part in text.splitlines() if part.startswith(f'{name}{{rule="{rule}"}}')]
    return float(found.rpartition(" ")[2])


def status_of(line: Line, rule: str = "spending") -> int:
    """Exit status of an agent that ends by itself."""
    child = process._children[process.running(line.stack.home, line.agents.name(rule)).pid]
    return child.wait(timeout=60)


@pytest.fixture(params=["confluent", "kafka-python"])
def either_line(request: pytest.FixtureRequest, topic_line: Line) -> Line:
    """A line whose agents use the one Kafka client, then the other."""
    topic_line.settings = topic_line.settings.model_copy(update={"kafka_client": request.param})
    topic_line.agents = topic_line.stack.agents(topic_line.settings)
    return topic_line


def test_an_alert_is_raised_and_state_is_checkpointed(topic_line: Line) -> None:
    publish(topic_line.settings, TROUBLE)
    start(topic_line)
    topic_line.wait_until_judged(SPENDING)
    assert alerts(topic_line) == [(4, "RAISED", 600, 4)]
    assert counters(topic_line) == {"judged": 4, "alerts": 1}
    assert topic_line.rows("SELECT sum(next_offset)::int, max(epoch)::int FROM checkpoints") == [(4, 1)]


def test_metrics_and_health_tell_where_the_agent_stands(topic_line: Line) -> None:
    publish(topic_line.settings, [*TROUBLE, TROUBLE[0], (key(7), b"{")])
    start(topic_line)
    topic_line.wait_until_judged(SPENDING)
    assert httpx.get(f"{topic_line.agents.url('spending')}/healthz").text == "ok\n"
    found = {
        name: metric(topic_line, f"twinpath_agent_{name}")
        for name in (
            "records_total",
            "alerts_total",
            "duplicates_suppressed_total",
            "dead_letters_total",
            "partitions",
            "lag_records",
            "lag_seconds",
        )
    }
    assert found == {
        "records_total": 6,
        "alerts_total": 1,
        "duplicates_suppressed_total": 1,
        "dead_letters_total": 1,
        "partitions": 4,
        "lag_records": 0,
        "lag_seconds": 0,
    }
    assert metric(topic_line, "twinpath_agent_last_record_timestamp_seconds") > 1_700_000_000
    wait_for(lambda: metric(topic_line, "twinpath_agent_checkpoint_bytes") > 50, "bytes of a checkpoint")
    assert metric(topic_line, "twinpath_agent_checkpoint_age_seconds") == 0
    assert "process_resident_memory_bytes" in httpx.get(f"{topic_line.agents.url('spending')}/metrics").text


def test_sigterm_writes_a_last_checkpoint_and_leaves_the_group(topic_line: Line) -> None:
    line = topic_line
    line.settings = line.settings.model_copy(update={"checkpoint_idle_s": 600.0})
    line.agents = line.stack.agents(line.settings)
    start(line)
    publish(line.settings, TROUBLE)
    wait_for(lambda: alerts(line), "the alert")
    assert line.rows("SELECT coalesce(sum(next_offset), 0)::int FROM checkpoints") == [(0,)]
    found = process.running(line.stack.home, line.agents.name("spending"))
    found.send_signal(signal.SIGTERM)
    assert status_of(line) == 0
    assert line.rows("SELECT sum(next_offset)::int FROM checkpoints") == [(4,)]


def test_a_killed_agent_replays_from_its_checkpoint_and_stores_nothing_twice(either_line: Line) -> None:
    line = either_line
    line.settings = line.settings.model_copy(update={"checkpoint_idle_s": 600.0})
    line.agents = line.stack.agents(line.settings)
    start(line)
    publish(line.settings, TROUBLE)
    wait_for(lambda: alerts(line), "the alert")
    line.agents.kill("spending")
    line.settings = line.settings.model_copy(update={"checkpoint_idle_s": 0.5})
    line.agents = line.stack.agents(line.settings)
    publish(line.settings, usual_payments(7, 5, ["20.00", "9000.00"]))
    start(line)
    line.wait_until_judged(SPENDING)
    assert alerts(line) == [(4, "RAISED", 600, 4), (6, "RAISED", 692, 6)]
    assert counters(line) == {"judged": 6, "alerts": 1, "alerts_refused": 1}
    assert line.rows("SELECT max(epoch)::int FROM checkpoints") == [(2,)]


def test_a_group_that_forgot_its_offsets_changes_nothing(topic_line: Line) -> None:
    publish(topic_line.settings, TROUBLE)
    start(topic_line)
    topic_line.wait_until_judged(SPENDING)
    topic_line.agents.stop("spending")
    with kafka.admin(topic_line.settings) as client:
        client.delete_groups([topic_line.settings.group("spending")])
    publish(topic_line.settings, usual_payments(7, 5, ["9000.00"]))
    start(topic_line)
    topic_line.wait_until_judged(SPENDING)
    assert counters(topic_line) == {"judged": 5, "alerts": 2}


def test_unreadable_records_become_dead_letters_and_neighbours_are_unaffected(either_line: Line) -> None:
    poison: list[tuple[bytes | None, bytes | None]] = [
        (key(7), b"{"),
        (None, TROUBLE[0][1]),
        (key(8), TROUBLE[0][1]),
        (key(7), envelope("c", 99, after=row(99, 7, "NaN"))),
        (key(7), b"x" * 5_000_000),
        (key(7), envelope("c", 98, after=row(98, 7, "1.00") | {"user_id": None})),
    ]
    skipped: list[tuple[bytes | None, bytes | None]] = [
        (key(7), None),
        (key(7), b'{"ts_ms":1795413623000}'),
        (key(7), envelope("t", 97)),
        (key(7), envelope("c", 96, after=row(96, 7, "1.00")).replace(OURS.encode(), b"elsewhere")),
    ]
    shuffled = [poison[0], TROUBLE[0], *poison[1:3], TROUBLE[1], skipped[0], TROUBLE[2], *skipped[1:], TROUBLE[3]]
    publish(either_line.settings, [*shuffled, *poison[3:]], **{"message.max.bytes": 8_000_000})
    start(either_line)
    either_line.wait_until_judged(SPENDING)
    assert alerts(either_line) == [(4, "RAISED", 600, 4)]
    found = either_line.rows("SELECT kafka_offset, split_part(reason, ':', 1) FROM dead_letters ORDER BY 1")
    assert [offset for offset, _ in found] == [0, 2, 3, 11, 12, 13]
    assert counters(either_line) == {"judged": 4, "alerts": 1, "dead_letters": 6, "skipped": 4}
    assert "another database: elsewhere" in log_of(either_line)


def test_a_topic_keyed_by_another_column_is_refused_at_start(topic_line: Line) -> None:
    publish(topic_line.settings, [(b'{"id":1}', TROUBLE[0][1])])
    topic_line.agents.start("spending")
    assert status_of(topic_line) == 4
    assert "keyed by ['id'], wanted user_id" in log_of(topic_line)
    assert topic_line.rows("SELECT count(*) FROM dead_letters") == [(0,)]


def test_an_unknown_topic_is_named_and_not_created(store_line: Line) -> None:
    store_line.agents.start("spending")
    assert status_of(store_line) == 2
    assert f"found no topic {store_line.settings.topic}" in log_of(store_line)


@pytest.fixture
def deaf_line(topic_line: Line) -> Iterator[Line]:
    topic_line.settings = topic_line.settings.model_copy(update={"idle_warning_s": 1.0})
    topic_line.agents = topic_line.stack.agents(topic_line.settings)
    yield topic_line


def test_an_agent_that_hears_nothing_says_which_hop_is_stuck(deaf_line: Line) -> None:
    start(deaf_line)
    wait_for(lambda: "no records" in log_of(deaf_line), "the warning", 20)
    wanted = ("knows no connector", deaf_line.settings.topic, deaf_line.settings.group("spending"))
    assert [words for words in wanted if words not in log_of(deaf_line)] == []


def test_while_the_alert_store_is_locked_the_agent_pauses_keeps_its_group_and_loses_nothing(topic_line: Line) -> None:
    start(topic_line)
    locker = topic_line.session("twinpath_lab", topic_line.settings.alerts_database)
    with locker.cursor() as cursor:
        cursor.execute("LOCK TABLE alert_log IN ACCESS EXCLUSIVE MODE")
    publish(topic_line.settings, TROUBLE)
    wait_for(lambda: "paused" in log_of(topic_line), "the pause")
    publish(topic_line.settings, usual_payments(7, 5, ["9000.00"]))
    assert topic_line.agents.healthy("spending")
    locker.rollback()
    topic_line.wait_until_judged(SPENDING)
    assert [tx_id for tx_id, *_ in alerts(topic_line)] == [4, 5]
    assert log_of(topic_line).count("handed back") == 0
    assert topic_line.rows("SELECT max(epoch)::int FROM checkpoints") == [(1,)]


def test_an_agent_whose_epoch_was_taken_stops_writing_and_joins_anew(either_line: Line) -> None:
    start(either_line)
    thief = either_line.session("twinpath_lab", either_line.settings.alerts_database)
    with thief, thief.cursor() as cursor:
        cursor.execute("UPDATE checkpoints SET epoch = epoch + 1 WHERE partition = 0")
    publish(either_line.settings, TROUBLE)
    wait_for(lambda: "stopped writing" in log_of(either_line), "the refusal")
    either_line.wait_until_judged(SPENDING)
    assert either_line.rows("SELECT epoch::int FROM checkpoints WHERE partition = 0") == [(3,)]
    assert [tx_id for tx_id, *_ in alerts(either_line)] == [4]
    assert counters(either_line)["alerts_refused"] == 1


def test_one_agent_failing_does_not_touch_the_other(topic_line: Line) -> None:
    start(topic_line)
    start(topic_line, "velocity")
    topic_line.agents.kill("spending")
    burst = [
        (key(7), envelope("c", number, after=row(number, 7, amount, f"2026-11-23T06:00:0{number}Z")))
        for number, amount in enumerate(["10.00"] * 5 + ["4500.00"], 1)
    ]
    publish(topic_line.settings, burst)
    topic_line.wait_until_judged(RULES["velocity"])
    assert alerts(topic_line, "velocity") == [(6, "RAISED", 90, 6)]
    assert topic_line.rows("SELECT count(*) FROM checkpoints WHERE rule = 'spending' AND next_offset > 0") == [(0,)]


def test_records_gone_before_they_were_judged_halt_the_agent(topic_line: Line) -> None:
    publish(topic_line.settings, TROUBLE)
    with kafka.admin(topic_line.settings) as client:
        client.delete_records({TopicPartition(topic_line.settings.topic, 0): 2})
    topic_line.agents.start("spending")
    assert status_of(topic_line) == 4
    assert "offsets 0 to 1 were never judged and are gone" in log_of(topic_line)
    assert "twinpath resync" in log_of(topic_line)


def test_the_environment_of_an_agent_is_enough_to_start_it(topic_line: Line) -> None:
    assert "ALERTS_DSN" not in os.environ
    start(topic_line)
    assert topic_line.agents.running("spending")
