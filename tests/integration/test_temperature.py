"""The temperature programs on a real PostgreSQL: errors, cut sessions, a restarted server."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import psycopg2
import pytest
from psycopg2 import sql
from psycopg2.extensions import make_dsn

from temperature.office import Office
from temperature.program import Ending
from temperature.temperature_data_consumer import Consumer
from temperature.temperature_data_producer import Producer
from temperature.walk import walk
from tests.conftest import wait_for
from tests.integration.conftest import Temperatures
from twinpath.errors import ConfigurationError, ServiceFault, TemperaturesUnavailable
from twinpath.logs import configure
from twinpath.settings import ROOT
from twinpath.temperature_averages import clock

pytestmark = pytest.mark.integration
BEGIN, END = datetime(2026, 11, 23, 10, 0, tzinfo=UTC), datetime(2026, 11, 23, 10, 10, tzinfo=UTC)
PRODUCER = [sys.executable, "temperature/temperature_data_producer.py"]
CONSUMER = [sys.executable, "-m", "temperature.temperature_data_consumer"]
WRITTEN = "SELECT sensor_id, temperature FROM temperature_readings ORDER BY id"


@pytest.mark.parametrize(
    ("statement", "error", "words"),
    [
        ("DELETE FROM temperature_readings", ServiceFault, "permission denied .*twinpath env --export"),
        ("SELECT * FROM nowhere", ServiceFault, "nowhere.* twinpath up"),
        ("SELECT 1/0", ServiceFault, "division by zero .22012."),
    ],
)
def test_errors_of_the_database_are_mapped_and_not_tried_again(
    room: Temperatures, statement: str, error: type[Exception], words: str
) -> None:
    tried = []

    def action(cursor: Any) -> None:
        tried.append(statement)
        cursor.execute(statement)

    with pytest.raises(error, match=words) as raised:
        room.office("twinpath_averages").do(action)
    assert not isinstance(raised.value, TemperaturesUnavailable)
    assert len(tried) == 1


@pytest.mark.parametrize("wrong", [{"password": "x"}, {"dbname": "nowhere"}, {"user": "nobody", "password": "x"}])
def test_what_trying_again_cannot_mend_is_said_at_once(room: Temperatures, wrong: dict[str, str]) -> None:
    office = Office(make_dsn(room.dsn(), **wrong), Ending(), configure("test"))
    with pytest.raises(ConfigurationError, match="twinpath env --export"):
        office.do(clock)


# cut sessions


def cut(room: Temperatures, table: str, action: Callable[[], None]) -> None:
    """Run an action that has to wait for a table, and cut its session twice while it waits."""
    holder = room.session("twinpath_lab")
    with holder.cursor() as cursor:
        cursor.execute(sql.SQL("LOCK TABLE {} IN EXCLUSIVE MODE").format(sql.Identifier(table)))
    working = threading.Thread(target=action)
    working.start()
    for _ in range(2):
        (pid,) = wait_for(room.waiting, "the action waits for the table")
        with closing(room.stack.postgres.connect("postgres")) as session, session.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])
    holder.rollback()
    working.join()


def test_a_row_whose_session_was_cut_is_written_once(room: Temperatures) -> None:
    producer = Producer(
        {"a": walk(7, "a"), "b": walk(7, "b")}, room.office("twinpath_writer"), 0.05, Ending(), configure("test")
    )
    cut(room, "temperature_readings", lambda: producer.run(1))
    wanted = [("a", next(walk(7, "a"))), ("b", next(walk(7, "b")))]
    assert room.rows(WRITTEN) == wanted


def test_a_window_whose_session_was_cut_is_stored_once(room: Temperatures, capsys: pytest.CaptureFixture[str]) -> None:
    room.read(("lab", 20, "10:01:00"))
    office = room.office("twinpath_averages")
    consumer = Consumer(office, timedelta(minutes=10), Ending(), configure("test"), stored=True, as_json=False)
    cut(room, "temperature_averages", lambda: consumer.look(END))
    assert [row[:5] for row in room.kept()] == [(BEGIN, END, "lab", 20.0, 1)]
    assert capsys.readouterr().out.count("\n") == 1


def test_a_commit_whose_answer_was_lost_is_not_repeated(room: Temperatures) -> None:
    class Deaf(Office):
        """Hears of each commit only at the second attempt."""

        commits = 0

        @contextmanager
        def transaction(self) -> Iterator[Any]:
            with super().transaction() as cursor:
                yield cursor
            self.commits += 1
            if self.commits % 2:
                raise TemperaturesUnavailable("the answer was lost")

    office = Deaf(room.dsn("twinpath_writer"), Ending(), configure("test"))
    producer = Producer({}, office, 60.0, Ending(), configure("test"))
    for temperature in (20.0, 20.5, 20.0):
        producer.write({"a": temperature})
    assert room.rows(WRITTEN) == [("a", 20.0), ("a", 20.5), ("a", 20.0)]
    assert office.commits == 12  # each write draws an id and writes it, both twice


def test_patience_ends(room: Temperatures) -> None:
    tried = []

    def action(_cursor: Any) -> None:
        tried.append(1)
        raise psycopg2.OperationalError("gone")

    with pytest.raises(TemperaturesUnavailable, match="gone.* twinpath up"):
        room.office("twinpath_writer", patience_s=0.5).do(action)
    assert len(tried) > 2


# the programs


def environment(room: Temperatures) -> dict[str, str]:
    return os.environ | {"TEMPERATURE_DSN": room.dsn("twinpath_writer"), "AVERAGES_DSN": room.dsn()}


def ran(room: Temperatures, command: list[str], *options: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*command, *options], cwd=ROOT, env=environment(room), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done


def beats(said: str) -> list[int]:
    """The beats that were written, by the producer's log: on a busy machine some are skipped."""
    events = [json.loads(line) for line in said.splitlines()]
    return [event["beat"] for event in events if event["event"] == "wrote"]


def test_what_the_producer_writes_the_consumer_averages(room: Temperatures) -> None:
    assert ran(room, CONSUMER, "--once").stdout.startswith("no data in the last 10 minutes, from 20")
    options = ("--interval", "0.05", "--count", "4", "--sensor", "a", "--sensor", "b", "--seed", "3")
    written = beats(ran(room, PRODUCER, *options).stderr)
    assert len(written) == 4
    wanted = {sensor: [next(islice(walk(3, sensor), beat, None)) for beat in written] for sensor in "ab"}
    assert room.rows(WRITTEN) == [(sensor, wanted[sensor][number]) for number in range(4) for sensor in "ab"]
    assert room.rows(
        "SELECT count(*) FROM temperature_readings WHERE recorded_at BETWEEN now() - interval '1 min' AND now()"
    ) == [(8,)]
    lines = [json.loads(line) for line in ran(room, CONSUMER, "--once", "--json", "--store").stdout.splitlines()]
    assert [(line["sensor"], line["readings"]) for line in lines] == [("a", 4), ("b", 4)]
    assert [line["average"] for line in lines] == [pytest.approx(sum(wanted[sensor]) / 4) for sensor in "ab"]
    kept = [(row[0], row[1], row[2], row[3]) for row in room.kept()]
    assert kept == [
        (*(datetime.fromisoformat(line[bound]) for bound in ("from", "to")), line["sensor"], line["average"])
        for line in lines
    ]


def test_a_window_of_the_past_is_computed_by_its_end(room: Temperatures) -> None:
    room.read(("lab", 20, "10:05:00"))
    for _ in range(2):
        done = ran(room, CONSUMER, "--once", "--store", "--to", "2026-11-23T15:40:00+05:30")
        assert done.stdout == ("lab: average 20.00 of 1 reading, from 2026-11-23T10:00:00Z to 2026-11-23T10:10:00Z\n")
    assert [row[:5] for row in room.kept()] == [(BEGIN, END, "lab", 20.0, 1)]


@contextmanager
def started(room: Temperatures, command: list[str], **pipes: Any) -> Iterator[subprocess.Popen[str]]:
    """A program that goes on until it is asked to end; killed when the test does not come to that."""
    with subprocess.Popen(command, cwd=ROOT, env=environment(room), text=True, **pipes) as child:
        try:
            yield child
        finally:
            child.kill()


def test_both_programs_survive_a_restart_of_the_database(room: Temperatures) -> None:
    postgres = room.stack.postgres
    produce = [*PRODUCER, "--interval", "0.1", "--seed", "3"]
    consume = [*CONSUMER, "--interval", "0.1", "--json", "--store"]
    with (
        started(room, produce, stderr=subprocess.PIPE) as producer,
        started(room, consume, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as consumer,
    ):
        assert producer.stderr is not None and consumer.stdout is not None
        said = [producer.stderr.readline() for _ in range(3)]
        json.loads(consumer.stdout.readline())
        postgres.stop()
        while said[-1] and '"event": "trying again"' not in said[-1]:
            said.append(producer.stderr.readline())
        postgres.start()
        postgres.wait()
        restarted = datetime.now(UTC)
        while said[-1] and not all('"event": "wrote"' in line for line in said[-3:]):
            said.append(producer.stderr.readline())
        for line in consumer.stdout:
            if datetime.fromisoformat(json.loads(line)["to"]) > restarted:
                break
        for child in (producer, consumer):
            child.send_signal(signal.SIGTERM)
        said += producer.stderr.readlines()
        consumer.stdout.read()
        assert (producer.wait(timeout=60), consumer.wait(timeout=60)) == (0, 0), said
    wrote = beats("".join(said))
    walked = list(islice(walk(3, "sensor-1"), wrote[-1] + 1))
    assert room.rows(WRITTEN) == [("sensor-1", walked[beat]) for beat in wrote]
    skipped = [json.loads(line).get("beats", 0) for line in said]
    assert sum(skipped) > 0
    assert wrote[-1] == len(wrote) - 1 + sum(skipped)
