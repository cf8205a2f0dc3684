"""The alert store on a real PostgreSQL: every write can be repeated, foreign and old writers are refused."""

import threading
import time
from collections import Counter
from contextlib import closing

import psycopg2
import pytest

from tests.conftest import Line
from twinpath.alert_rows import DeadLetter, PartitionKey, StampedAlert, Stamps, StatePart, read_alerts
from twinpath.alert_store import AlertStore
from twinpath.detection.model import Alert, Position, Transaction
from twinpath.detection.rules import RULES
from twinpath.errors import (
    AlertConflict,
    AlertStoreUnavailable,
    ConfigurationError,
    ForeignCheckpoint,
    OwnershipLost,
    ServiceFault,
)

pytestmark = pytest.mark.integration
SPENDING = RULES["spending"]
KEY = PartitionKey("spending", SPENDING.version, "topic-a", 0)


def raised(tx_id: int, row_lsn: int, **changes: object) -> Alert:
    values = {
        "rule": "spending",
        "rule_version": SPENDING.version,
        "user_id": 7,
        "tx_id": tx_id,
        "position": Position(1, 10, row_lsn),
        "op": "c",
        "status": "RAISED",
        "score": 42,
        "reason": "640.00 is 4.2 times this user's usual 152.20 (50 payments)",
        "features": {"payments": 50, "total_cents": 761_000},
        "source_xid": 700,
    }
    return Alert(**(values | changes))


@pytest.fixture
def store(store_line: Line) -> AlertStore:
    one = AlertStore(store_line.stack.credentials.alerts_dsn(store_line.settings), "agent")
    yield one
    one.close()


def stored(line: Line) -> list[Alert]:
    dsn = line.stack.credentials.dsn("twinpath_lab", line.settings.alerts_database)
    with closing(psycopg2.connect(dsn)) as session, session.cursor() as cursor:
        return read_alerts(cursor, "agent", "spending", SPENDING.version)


def test_the_same_alert_written_twice_is_stored_once_and_counted(store: AlertStore, store_line: Line) -> None:
    alerts = [StampedAlert(raised(1, 20)), StampedAlert(raised(2, 21))]
    first = store.write(SPENDING, alerts, [], "topic-a")
    again = store.write(SPENDING, [*alerts, StampedAlert(raised(3, 22))], [], "topic-a")
    assert (first.stored, first.suppressed) == (2, 0)
    assert (again.stored, again.suppressed) == (1, 2)
    assert stored(store_line) == [raised(1, 20), raised(2, 21), raised(3, 22)]


def test_one_key_with_two_contents_is_loud_and_stores_nothing(store: AlertStore, store_line: Line) -> None:
    store.write(SPENDING, [StampedAlert(raised(1, 20))], [], "topic-a")
    changed = [StampedAlert(raised(2, 19)), StampedAlert(raised(1, 20, score=43))]
    with pytest.raises(AlertConflict, match="transaction 1 .*42.*43"):
        store.write(SPENDING, changed, [], "topic-a")
    assert stored(store_line) == [raised(1, 20)]


def test_a_conditional_is_resolved_against_the_last_alert_before_its_position(
    store: AlertStore, store_line: Line
) -> None:
    store.write(SPENDING, [StampedAlert(raised(1, 20))], [], "topic-a")
    later = Transaction(1, 7, 900_00, 0)
    revise = raised(1, 30, op="u", status="REVISE_IF_STANDING", score=0, reason="", features={}, transaction=later)
    retract = raised(1, 40, op="d", status="RETRACT_IF_STANDING", score=0, reason="", features={})
    nobody = raised(9, 41, op="d", status="RETRACT_IF_STANDING", score=0, reason="", features={})
    conditionals = [StampedAlert(one) for one in (revise, retract, nobody)]
    written = store.write(SPENDING, conditionals, [], "topic-a")
    assert written.resolved == Counter(corrected=1, forgotten=1)
    found = [(one.status, one.score, one.position.row_lsn) for one in stored(store_line)]
    assert found == [("RAISED", 42, 20), ("REVISED", 59, 30), ("RETRACTED", 0, 40)]
    replayed = store.write(SPENDING, conditionals, [], "topic-a")
    assert (replayed.stored, replayed.suppressed) == (0, 2)


def test_dead_letters_keep_key_and_bytes_up_to_a_limit_once(store: AlertStore, store_line: Line) -> None:
    letter = DeadLetter(0, 5, "amount: found '\x00'", b"\x00key", b"x" * 100_000)
    for _ in range(2):
        store.write(SPENDING, [], [letter], "topic-a")
    found = store_line.rows("SELECT kafka_offset, reason, length(record_value), value_bytes FROM dead_letters")
    assert found == [(5, "amount: found '\\x00'", 65_536, 100_000)]


def test_hop_stamps_are_kept_to_the_microsecond(store: AlertStore, store_line: Line) -> None:
    stamps = Stamps(1_795_413_623_354_609, 1_795_413_623_354_610, None, 3, 4)
    store.write(SPENDING, [StampedAlert(raised(1, 20), stamps)], [], "topic-a")
    found = store_line.rows("SELECT committed_at, captured_at, appended_at, polled_at FROM alert_log")
    committed, captured, appended, polled = found[0]
    assert (committed.isoformat(), captured.microsecond) == ("2026-11-23T06:00:23.354609+00:00", 354_610)
    assert (appended, polled.microsecond) == (None, 3)


def test_a_checkpoint_is_read_back_and_an_older_epoch_is_refused(store: AlertStore) -> None:
    first = store.take(KEY, 4, 64)
    assert (first.epoch, first.next_offset, first.states, dict(first.counters)) == (1, None, {}, {})
    store.save(KEY, first.epoch, 10, [StatePart(3, 0, b"three"), StatePart(5, 0, b"five")], {"judged": 10})
    second = store.take(KEY, 4, 64)
    assert (second.epoch, second.next_offset, second.states) == (2, 10, {3: [b"three"], 5: [b"five"]})
    assert second.counters == Counter(judged=10)
    with pytest.raises(OwnershipLost, match="epoch 1 is no longer the newest"):
        store.save(KEY, first.epoch, 11, [StatePart(3, 0, b"zombie")], {"judged": 11})
    store.save(KEY, second.epoch, 12, [StatePart(5, 1, b"new")], {"judged": 12})
    third = store.take(KEY, 4, 64)
    assert (third.next_offset, third.states) == (12, {3: [b"three"], 5: [b"five", b"new"]})


def test_a_whole_bucket_replaces_its_parts_and_writing_twice_is_writing_once(store: AlertStore) -> None:
    epoch = store.take(KEY, 4, 64).epoch
    steps = [
        [StatePart(5, 0, b"a"), StatePart(0, 0, b"zero")],
        [StatePart(5, 1, b"b")],
        [StatePart(5, 2, b"c")],
        [StatePart(5, 0, b"abc" * 100_000), StatePart(0, 1, b"more")],
        [StatePart(5, 1, b"d")],
    ]
    found = []
    for number, parts in enumerate(steps):
        for _ in range(2):  # the answer to the first COMMIT may have been lost
            store.save(KEY, epoch, number, parts, {})
        found.append(store.take(KEY, 4, 64).states)
        epoch += 1
    assert found == [
        {0: [b"zero"], 5: [b"a"]},
        {0: [b"zero"], 5: [b"a", b"b"]},
        {0: [b"zero"], 5: [b"a", b"b", b"c"]},
        {0: [b"zero", b"more"], 5: [b"abc" * 100_000]},
        {0: [b"zero", b"more"], 5: [b"abc" * 100_000, b"d"]},
    ]


def test_many_large_parts_are_written_and_read_back(store: AlertStore) -> None:
    parts = [StatePart(bucket, 0, bytes([bucket]) * 100_000) for bucket in range(64)]
    store.save(KEY, store.take(KEY, 4, 64).epoch, 1, parts, {})
    assert store.take(KEY, 4, 64).states == {one.bucket: [one.data] for one in parts}


@pytest.mark.parametrize(("partitions", "buckets"), [(5, 64), (4, 32)])
def test_a_checkpoint_of_another_layout_is_refused(store: AlertStore, partitions: int, buckets: int) -> None:
    store.take(KEY, 4, 64)
    with pytest.raises(ForeignCheckpoint, match="4 partitions and 64 buckets"):
        store.take(KEY, partitions, buckets)


def test_a_topic_that_was_made_anew_is_refused(store: AlertStore) -> None:
    assert [one.number for one in store.incarnations("topic", "id-1")] == [1]
    with pytest.raises(ForeignCheckpoint, match="deleted and created anew"):
        store.incarnations("topic", "id-2")


def test_a_locked_table_is_unavailability_and_passes(store: AlertStore, store_line: Line, monkeypatch) -> None:
    monkeypatch.setattr("twinpath.store_session.STATEMENT_TIMEOUT_MS", 300)
    locker = store_line.session("twinpath_lab", store_line.settings.alerts_database)
    with locker.cursor() as cursor:
        cursor.execute("LOCK TABLE alert_log IN ACCESS EXCLUSIVE MODE")
    with pytest.raises(AlertStoreUnavailable):
        store.write(SPENDING, [StampedAlert(raised(1, 20))], [], "topic-a")
    locker.rollback()
    assert store.write(SPENDING, [StampedAlert(raised(1, 20))], [], "topic-a").stored == 1


def test_a_session_that_is_cut_is_opened_anew(store: AlertStore, store_line: Line) -> None:
    store.take(KEY, 4, 64)
    admin = store_line.stack.postgres.connect("postgres")
    with closing(admin), admin.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND usename = 'twinpath_alerts'",
            [store_line.settings.alerts_database],
        )
        assert cursor.fetchall() == [(True,)]
    with pytest.raises(AlertStoreUnavailable):
        store.take(KEY, 4, 64)
    assert store.take(KEY, 4, 64).epoch == 2


def test_two_writers_of_one_alert_do_not_disturb_each_other(store_line: Line) -> None:
    dsn = store_line.stack.credentials.alerts_dsn(store_line.settings)
    alerts = [StampedAlert(raised(number, 100 + number)) for number in range(300)]
    results: list[int] = []

    def write() -> None:
        one = AlertStore(dsn, "agent")
        results.append(one.write(SPENDING, alerts, [], "topic-a").stored)
        one.close()

    writers = [threading.Thread(target=write) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sum(results) == 300
    assert len(stored(store_line)) == 300


def test_what_trying_again_cannot_mend_is_said_at_once(store_line: Line) -> None:
    good = store_line.stack.credentials.alerts_dsn(store_line.settings)
    port = store_line.settings.pgport
    cases = {
        "": "ALERTS_DSN is empty",
        "this is no dsn": "ALERTS_DSN is no DSN",
        f"host=127.0.0.1 port={port} user=twinpath_alerts dbname=alerts password=wrong": "password authentication",
        good.replace(store_line.settings.alerts_database, "nowhere"): "does not exist",
    }
    for dsn, words in cases.items():
        began = time.monotonic()
        with pytest.raises(ConfigurationError, match=words) as caught:
            AlertStore(dsn, "agent").take(KEY, 4, 64)
        assert "wrong" not in str(caught.value)
        assert time.monotonic() - began < 10


def test_a_store_without_tables_names_the_command(store_line: Line) -> None:
    dsn = store_line.stack.credentials.dsn("twinpath_alerts", "postgres")
    with pytest.raises(ServiceFault, match="twinpath up"):
        AlertStore(dsn, "agent").take(KEY, 4, 64)
