"""Several instances of an agent on the real services: growing, shrinking, a zombie, one that is away.

At the end of each test the alerts, the state and the counters are those of a replay of the topic.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median

import httpx
import psycopg2
import pytest

from lab.console import Progress
from lab.load import Load, LoadResult
from lab.measure import reference
from lab.measure.verdict import RuleEvidence, gather
from lab.stack import kafka, process
from tests.conftest import Line, wait_for
from tests.integration.publishing import publish, usual_payments
from twinpath.detection.envelope import EnvelopeDecoder
from twinpath.detection.replay import Replay
from twinpath.detection.rules import RULES, Rule
from twinpath.detection.workload import Workload

pytestmark = pytest.mark.integration
SPENDING, VELOCITY = RULES["spending"], RULES["velocity"]
ALL = [0, 1, 2, 3]


def start(line: Line, *instances: int, rule: str = "spending") -> None:
    for one in instances:
        line.agents.start(rule, instance=one)
    for one in instances:
        line.agents.wait(rule, one)


def metric(line: Line, name: str, instance: int = 1, rule: str = "spending") -> float:
    text = httpx.get(f"{line.agents.url(rule, instance)}/metrics").text
    (found,) = [part for part in text.splitlines() if part.startswith(f'twinpath_agent_{name}{{rule="{rule}"}}')]
    return float(found.rpartition(" ")[2])


def records(line: Line, instance: int = 1, rule: str = "spending") -> float:
    return metric(line, "records_total", instance, rule)


def events(line: Line, instance: int = 1, rule: str = "spending") -> list[dict]:
    """What an instance said, oldest first."""
    text = process.log_of(line.stack.home, line.agents.name(rule, instance)).read_text()
    return [json.loads(part) for part in text.splitlines() if part.startswith("{")]


def owned(line: Line, *instances: int) -> list[list[int]]:
    """The partitions of each instance, as it last said."""
    found = []
    for one in instances:
        said = [event for event in events(line, one) if event["event"] in {"owns", "handed back"}]
        found.append(said[-1]["partitions"] if said and said[-1]["event"] == "owns" else [])
    return found


def split(line: Line, *instances: int) -> bool:
    """True when each instance has partitions, and together they have all of them once."""
    found = owned(line, *instances)
    return all(found) and sorted(sum(found, [])) == ALL


def members(line: Line) -> int:
    """Members of the group, as Kafka counts them."""
    with kafka.admin(line.settings) as admin:
        (found,) = admin.describe_groups([line.settings.group("spending")]).values()
    return len(found["members"])


@contextmanager
def load(line: Line, folder: Path, rate: int, seconds: float) -> Iterator[threading.Thread]:
    """Write the labelled workload beside the test; ends when everything is written."""
    dsn = line.stack.credentials.dsn("twinpath_writer", line.settings.source_database)
    one = Load(Workload("labelled", 23, rate, seconds), dsn, folder, Progress(quiet=True))
    results: list[LoadResult] = []
    writer = threading.Thread(target=lambda: results.append(one.run()), name="load")
    writer.start()
    try:
        yield writer
    except BaseException:
        one.stop()
        raise
    finally:
        writer.join()
    assert results and not results[0].failures


def against_replay(line: Line, ends: dict[int, int], *rules: Rule) -> list[tuple[RuleEvidence, Replay]]:
    """What each agent stored, held against the replay of the topic."""
    decoder = EnvelopeDecoder(line.settings.envelope())
    replays = reference.fold(rules, reference.topic_changes(line.settings, ends, decoder))
    dsn = line.stack.credentials.dsn("twinpath_lab", line.settings.alerts_database)
    with closing(psycopg2.connect(dsn)) as session:
        found = [(gather(session, rule, replays[rule.name], replays[rule.name]), replays[rule.name]) for rule in rules]
    for evidence, replay in found:
        assert evidence.against_topic.equal, evidence.against_topic
        assert (evidence.differing_users, evidence.dead_letters) == ([], 0)
        counted = {name: count for name, count in evidence.counters.items() if name in replay.counts}
        assert counted == dict(replay.counts)
        assert evidence.alerts == len(replay.alerts) > 0
    return found


def test_a_group_that_grows_and_shrinks_under_load_loses_and_doubles_nothing(line: Line, tmp_path: Path) -> None:
    start(line, 1)
    with load(line, tmp_path, rate=400, seconds=20) as writer:
        wait_for(lambda: records(line) > 500, "records of the only instance")
        start(line, 2, 3)
        wait_for(lambda: split(line, 1, 2, 3), "a split in three")
        wait_for(lambda: min(records(line, one) for one in (2, 3)) > 100, "records of the newcomers")
        line.agents.stop("spending", 2)
        wait_for(lambda: members(line) == 2, "the group without the stopped one, before its session ends", 4)
        line.agents.kill("spending", 3)
        wait_for(lambda: owned(line, 1) == [ALL], "everything at the first instance again")
        assert writer.is_alive(), "the group changed under load"
    ends = line.wait_until_in_kafka()
    line.wait_until_judged(SPENDING)
    against_replay(line, ends, SPENDING)


def test_a_member_that_slept_through_its_session_wakes_as_a_zombie_and_changes_nothing(topic_line: Line) -> None:
    """It falls asleep with a checkpoint to write (partition `saved`) and with an alert in its hands (`held`)."""
    line, zombie, heir = topic_line, 1, 2
    line.stack.agents(line.settings.model_copy(update={"checkpoint_idle_s": 600.0})).start("spending", instance=zombie)
    start(line, heir)
    wait_for(lambda: split(line, zombie, heir), "a split in two")
    saved, held = owned(line, zombie)[0]
    publish(line.settings, usual_payments(7, 1, ["10.00", "10.00", "10.00", "600.00"]), partition=saved)
    wait_for(lambda: alerts(line) == [4], "an alert of the first partition")
    sleeper = process.running(line.stack.home, line.agents.name("spending", zombie))
    with locked(line):
        publish(line.settings, usual_payments(8, 11, ["10.00", "10.00", "10.00", "700.00"]), partition=held)
        wait_for(lambda: line.rows(WAITING) == [(1,)], "an alert on its way")
        sleeper.suspend()
    try:
        wait_for(lambda: owned(line, heir) == [ALL], "the heir's take-over")
        publish(line.settings, usual_payments(7, 5, ["20.00", "12000.00"]), partition=saved)
        line.wait_until_judged(SPENDING)
        before = line.rows(CHECKPOINTS)
    finally:
        sleeper.resume()
    wait_for(lambda: "stopped writing" in said(line, zombie), "the refusal of the zombie's checkpoint")
    wait_for(lambda: metric(line, "duplicates_suppressed_total", zombie) == 1, "the refusal of its alert")
    assert line.rows(CHECKPOINTS) == before or split(line, zombie, heir), "only a new owner raises an epoch"
    wait_for(lambda: split(line, zombie, heir), "the zombie as a member again")
    assert [row[2] for row in line.rows(CHECKPOINTS)] == [row[2] for row in before], "no offset went back"
    publish(line.settings, usual_payments(7, 7, ["15000.00"]), partition=saved)
    line.agents.stop_all("spending")
    start(line, heir)
    ends = line.wait_until_judged(SPENDING)
    ((evidence, _),) = against_replay(line, ends, SPENDING)
    assert alerts(line) == [4, 6, 7, 14]
    assert evidence.counters["alerts_refused"] == 1, "the one that the heir replayed"


WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'alert_log'::regclass"
CHECKPOINTS = "SELECT partition, epoch, next_offset FROM checkpoints ORDER BY partition"


def alerts(line: Line) -> list[int]:
    return [tx_id for (tx_id,) in line.rows("SELECT tx_id FROM alert_log WHERE rule = 'spending' ORDER BY tx_id")]


@contextmanager
def locked(line: Line) -> Iterator[None]:
    """Nobody writes an alert meanwhile."""
    locker = line.session("twinpath_lab", line.settings.alerts_database)
    try:
        with locker.cursor() as cursor:
            cursor.execute("LOCK TABLE alert_log IN ACCESS EXCLUSIVE MODE")
        yield
    finally:
        locker.rollback()


def said(line: Line, instance: int) -> set[str]:
    return {event["event"] for event in events(line, instance)}


def test_one_agent_away_for_a_while_leaves_the_other_alone(line: Line, tmp_path: Path) -> None:
    rate = 300
    start(line, 1)
    start(line, 1, rule="velocity")
    with load(line, tmp_path, rate=rate, seconds=24) as writer:
        wait_for(lambda: records(line) > rate, "records")
        line.agents.kill("spending")
        read = records(line, rule="velocity")
        lags: list[float] = []

        def away_for_twenty_seconds() -> bool:
            lags.append(metric(line, "lag_records", rule="velocity"))
            return records(line, rule="velocity") - read >= 20 * rate

        wait_for(away_for_twenty_seconds, "twenty seconds of records")
        assert writer.is_alive()
        assert median(lags) < rate, "less than a second of the stream behind"
        start(line, 1)
    ends = line.wait_until_in_kafka()
    line.wait_until_judged(SPENDING, VELOCITY)
    assert "handed back" not in {event["event"] for event in events(line, rule="velocity")}
    assert line.rows("SELECT max(epoch)::int FROM checkpoints WHERE rule = 'velocity'") == [(1,)]
    against_replay(line, ends, SPENDING, VELOCITY)
