"""Gaps in the log: a slot that was moved on is refused before anything reads over it; resync ends equal behind it."""

import signal
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg2
import pytest
from kafka import TopicPartition

from lab.console import Progress
from lab.doctor import checks
from lab.measure import fence
from lab.measure.agreement import compare_log
from lab.stack import connect, kafka, process, slot_gap
from lab.stack.lost import Lost
from lab.stack.resync import Resync
from lab.stack.stack import Stack
from lab.topic import records
from tests.conftest import Line, wait_for
from twinpath.alert_rows import PartitionKey, read_alerts
from twinpath.checkpoint_rows import read_state
from twinpath.detection.buckets import BucketCodec
from twinpath.detection.detector import UserState
from twinpath.detection.envelope import EnvelopeDecoder
from twinpath.detection.history import History
from twinpath.detection.model import Alert, Change, Skipped
from twinpath.detection.replay import replay
from twinpath.detection.rules import RULES
from twinpath.errors import GapError

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
DAY = "2026-11-23T06:00:00Z"
SPENDING = RULES["spending"]


def lab(line: Line, database: str = "postgres") -> str:
    return line.stack.credentials.dsn("twinpath_lab", database)


def gap(line: Line) -> slot_gap.SlotGap | None:
    return slot_gap.own_gap(line.settings, lab(line))


def lab_sql(line: Line, statement: str, *values: object) -> None:
    with closing(line.scope.open_as_lab(line.settings.source_database)) as session, session.cursor() as cursor:
        cursor.execute(statement, values)


def nobody_reads(line: Line) -> bool:
    query = "SELECT 1 FROM pg_replication_slots WHERE slot_name = %s AND NOT active"
    return bool(line.rows(query, [line.settings.slot], "postgres"))


def end_connect(line: Line, how: signal.Signals) -> None:
    assert process.stop(line.stack.home, connect.NAME, how, timeout_s=30)
    wait_for(lambda: nobody_reads(line), "a slot that nobody reads")


@pytest.fixture
def connect_runs(stack: Stack) -> Iterator[None]:
    """Whatever a test does to Connect: the next one finds it running."""
    yield
    stack.start_services()


@contextmanager
def writing(line: Line) -> Iterator[None]:
    """Rows of many users, commit after commit."""
    over = threading.Event()

    def write() -> None:
        dsn = line.stack.credentials.dsn("twinpath_writer", line.settings.source_database)
        with closing(psycopg2.connect(dsn)) as session, session.cursor() as cursor:
            while not over.is_set():
                cursor.execute(
                    "INSERT INTO transactions (user_id, amount) SELECT n %% 50, 10 FROM generate_series(1, %s) n", [20]
                )
                session.commit()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        over.set()
        writer.join()


@pytest.mark.usefixtures("connect_runs")
def test_a_slot_is_never_past_what_connect_has_stored_however_connect_ends(line: Line) -> None:
    for how in (signal.SIGKILL, signal.SIGTERM):
        with writing(line):
            assert [gap(line) for _ in range(8)] == [None] * 8
            end_connect(line, how)
        assert gap(line) is None, how
        line.stack.connect.start()
        line.stack.connect.wait()
        line.scope.start_connector()
        line.wait_until_in_kafka()


@pytest.mark.usefixtures("connect_runs")
def test_nor_is_it_when_the_table_rests_beside_a_busy_one(line: Line) -> None:
    line.insert([(7, "10.00", DAY)])
    line.wait_until_in_kafka()
    with closing(line.stack.postgres.connect(line.settings.source_database)) as session, session.cursor() as cursor:
        cursor.execute("CREATE TABLE neighbour (filler text STORAGE PLAIN)")
        for _ in range(15):
            cursor.execute("INSERT INTO neighbour SELECT repeat(md5(random()::text), 100) FROM generate_series(1, 300)")
            assert gap(line) is None
    end_connect(line, signal.SIGKILL)
    assert gap(line) is None
    line.stack.connect.start()
    line.stack.connect.wait()
    line.scope.start_connector()


@pytest.mark.usefixtures("connect_runs")
def test_a_slot_that_was_moved_on_is_refused_and_resync_ends_equal_to_the_table(line: Line) -> None:
    for rule in RULES:
        line.agents.start(rule)
    usual = line.insert([(user, "100.00", DAY) for user in (7, 8, 9) for _ in range(3)])
    flagged = line.insert([(user, "900.00", DAY) for user in (7, 8, 9)])
    line.wait_until_in_kafka()
    line.wait_until_judged(*RULES.values())
    connect.wait_for_offset(line.settings)
    end_connect(line, signal.SIGKILL)
    unread = line.insert([(7, "5000.00", DAY), (8, "200.00", DAY), (8, "300.00", DAY)])
    session = line.session()
    with session, session.cursor() as cursor:
        cursor.execute("UPDATE transactions SET amount = 120 WHERE id = %s", [usual[3]])
        cursor.execute("DELETE FROM transactions WHERE user_id = 9")
    lab_sql(line, "SELECT pg_replication_slot_advance(%s, pg_current_wal_flush_lsn())", line.settings.slot)

    with pytest.raises(GapError, match=f"slot {line.settings.slot} begins at .* wanted it at or before"):
        line.stack.connect.start()
    with pytest.raises(GapError, match="twinpath resync"):
        slot_gap.refuse_own(line.settings, lab(line))
    quiet = Stack(line.stack.home, line.settings, Progress(quiet=True))
    named = checks.first_broken(checks.walk(quiet, stop_at_first=True))
    assert named is not None
    assert (named.name, named.mend) == ("slot", "twinpath resync")
    assert process.running(line.stack.home, connect.NAME) is None

    before = stored(line)
    lost = Resync(line.stack, line.settings).run()
    assert lost is not None
    assert (lost.rows, lost.never_judged, lost.changed, lost.vanished) == (11, 3, 1, 4)
    assert (lost.standing_alerts, lost.incarnation, lost.topic_made_anew, lost.at_most) == (1, 2, False, False)
    for rule in RULES:
        line.agents.start(rule)
    line.wait_until_judged(*RULES.values())
    assert stored(line) == before, "rows that were read anew raise nothing, and nothing was taken away"
    assert remembered(line, lost) == table(line)

    (now,) = line.insert([(8, "1500.00", DAY)])  # 120, 100, 100, 900, 200, 300 were paid before: mean 286.67
    (again,) = line.insert([(9, "1500.00", DAY)])
    with session, session.cursor() as cursor:
        cursor.execute("UPDATE transactions SET amount = 90 WHERE id = %s", [flagged[0]])
    line.wait_until_in_kafka()
    line.wait_until_judged(*RULES.values())
    found = [(one.tx_id, one.status) for one in stored(line)]
    assert found == [*((one, "RAISED") for one in flagged), (now, "RAISED"), (flagged[0], "RETRACTED")]
    assert unread[0] not in {tx_id for tx_id, _ in found}
    assert again not in {tx_id for tx_id, _ in found}, "of this user nothing is known any more"
    assert compare_log(stored(line), replay(SPENDING, log(line)).alerts).equal
    assert Resync(line.stack, line.settings).run() is None, "there is no gap any more"


@pytest.mark.usefixtures("connect_runs")
def test_a_slot_that_was_dropped_and_made_anew_by_hand_is_seen(line: Line) -> None:
    line.insert([(7, "10.00", DAY)])
    line.wait_until_in_kafka()
    connect.wait_for_offset(line.settings)
    connect.stop_connector(line.settings)
    wait_for(lambda: nobody_reads(line), "a slot that nobody reads")
    line.insert([(7, "20.00", DAY)])
    lab_sql(line, "SELECT pg_drop_replication_slot(%s)", line.settings.slot)
    assert getattr(gap(line), "kind", None) == "gone"
    lab_sql(line, "SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", line.settings.slot)
    with pytest.raises(GapError, match="made it anew"):
        line.scope.start_connector()
    lost = Resync(line.stack, line.settings).run()
    assert lost is not None
    assert (lost.rows, lost.never_judged) == (2, 1)
    assert gap(line) is None


@pytest.mark.usefixtures("connect_runs")
def test_a_topic_that_lost_unread_records_is_made_anew_and_taught(line: Line) -> None:
    line.agents.start("spending")
    line.agents.wait("spending")
    line.insert([(7, "100.00", DAY)] * 3 + [(7, "900.00", DAY)])
    line.wait_until_in_kafka()
    line.wait_until_judged(SPENDING)
    line.agents.stop("spending")
    line.insert([(7, "100.00", DAY)] * 5)
    ends = line.wait_until_in_kafka()
    (place,) = (number for number, end in ends.items() if end)
    with kafka.admin(line.settings) as client:
        client.delete_records({TopicPartition(line.settings.topic, place): 6})
    lost = Resync(line.stack, line.settings).run()
    assert lost is not None
    assert (lost.topic_made_anew, lost.at_most, lost.rows) == (True, True, 9)
    assert lost.never_judged >= 5
    line.agents.start("spending")
    line.wait_until_judged(SPENDING)
    assert remembered(line, lost) == table(line)
    assert [one.status for one in stored(line)] == ["RAISED"]


def stored(line: Line) -> list[Alert]:
    with closing(psycopg2.connect(lab(line, line.settings.alerts_database))) as session, session.cursor() as cursor:
        return read_alerts(cursor, "agent", SPENDING.name, SPENDING.version)


def states(line: Line) -> dict[int, UserState[History]]:
    """The checkpointed state of each user."""
    codec = BucketCodec(SPENDING)
    found: dict[int, UserState[History]] = {}
    with closing(psycopg2.connect(lab(line, line.settings.alerts_database))) as session, session.cursor() as cursor:
        for partition in fence.end_offsets(line.settings):
            key = PartitionKey(SPENDING.name, SPENDING.version, line.scope.topic_id(), partition)
            buckets, _ = read_state(cursor, "agent", key)
            for parts in buckets.values():
                found |= {user: codec.decode_user(data) for user, data in codec.merge(parts).items()}
    return found


def remembered(line: Line, lost: Lost) -> dict[int, list[tuple[int, int]]]:
    """(id, cents) by user, as far as it is of the source from now on: what is of a former one is void."""
    found = {}
    for user, state in states(line).items():
        newest = max(one[0] for one in (state.mark, state.snapshot_mark) if one is not None)
        if newest == lost.incarnation:
            rows = [one.transaction for one in state.history.entries]
            found[user] = [(one.tx_id, one.amount_cents) for one in rows]
    return found


def table(line: Line) -> dict[int, list[tuple[int, int]]]:
    """(id, cents) by user, in the order of the snapshot."""
    found: dict[int, list[tuple[int, int]]] = {}
    query = "SELECT user_id, id, (amount * 100)::int FROM transactions ORDER BY created_at, id"
    for user, tx_id, cents in line.rows(query, database=line.settings.source_database):
        found.setdefault(user, []).append((tx_id, cents))
    return found


def log(line: Line) -> Iterator[Change]:
    """Every change in the topic, with the incarnation that its offset has."""
    sources = line.rows("SELECT incarnation, first_offsets FROM sources ORDER BY incarnation")
    decoder = EnvelopeDecoder(line.settings.envelope())
    for partition, end in fence.end_offsets(line.settings).items():
        begins = [(first.get(str(partition), 0), number) for number, first in sources]
        for record in records(line.settings, partition, 0, end):
            number = max(number for first, number in begins if first <= record.offset)
            decoded = decoder.decode(record.key, record.value, number)
            if not isinstance(decoded, Skipped):
                yield from decoded
