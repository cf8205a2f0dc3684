"""A slot beside what Connect has stored, what Connect keeps in its topics, and the slot's alarm."""

import json
from typing import Any

import pytest

from lab.slot import Slot, lsn
from lab.stack.offsets import Captured, StoredOffset, captured_by, offset_of
from lab.stack.slot_gap import gap, silent

READ = 0x1_0000_0100
STREAMING = {"lsn": READ, "lsn_proc": READ - 40, "lsn_commit": READ - 80, "txId": 7, "messageType": "INSERT"}


def slot(confirmed: int | None = READ, **parts: Any) -> Slot:
    usual = {"reader": None, "wal_status": "reserved", "retained_bytes": 0, "unconfirmed_bytes": 0}
    return Slot(**(usual | parts), confirmed_lsn=confirmed)


@pytest.mark.parametrize("confirmed", [None, 1, READ - 80, READ])
def test_a_slot_at_or_before_what_connect_has_stored_lacks_nothing(confirmed: int | None) -> None:
    assert gap("ours", slot(confirmed), offset_of(STREAMING)) is None


def test_a_slot_past_what_connect_has_stored_is_named_with_both_lsns() -> None:
    found = gap("ours", slot(READ + 1024), offset_of(STREAMING))
    assert found is not None
    assert found.kind == "moved on"
    assert "slot ours begins at 1/500, wanted it at or before 1/100" in found.words
    assert "1 kB of WAL" in found.words


def test_a_slot_that_is_gone_or_lost_is_named_while_connect_knows_how_far_it_read() -> None:
    gone, lost = gap("ours", None, StoredOffset(READ)), gap("ours", slot(wal_status="lost"), StoredOffset(READ))
    assert gone is not None
    assert lost is not None
    assert (gone.kind, lost.kind) == ("gone", "lost")
    assert "1/100" in gone.words


@pytest.mark.parametrize("stored", [None, StoredOffset(READ, within_snapshot=True)])
@pytest.mark.parametrize("ours", [None, slot(READ + 1), slot(wal_status="lost")])
def test_a_connector_that_reads_the_whole_table_anew_lacks_nothing(
    ours: Slot | None, stored: StoredOffset | None
) -> None:
    assert gap("ours", ours, stored) is None


@pytest.mark.parametrize("highest", ["lsn", "lsn_proc", "lsn_commit"])
def test_the_highest_of_the_three_lsns_counts(highest: str) -> None:
    assert offset_of(STREAMING | {highest: READ + 5}) == StoredOffset(READ + 5)


@pytest.mark.parametrize("value", [None, {}, {"transaction_id": None}, {"lsn": None}])
def test_no_offset_and_one_that_was_reset_are_none(value: dict[str, Any] | None) -> None:
    assert offset_of(value) is None


def test_an_offset_is_within_a_snapshot_until_that_is_completed() -> None:
    assert offset_of({"lsn": 5, "snapshot": "INITIAL", "snapshot_completed": False}) == StoredOffset(5, True)
    assert offset_of({"lsn": 5, "snapshot": True}) == StoredOffset(5, True)
    assert offset_of({"lsn": 5, "snapshot": "INITIAL", "snapshot_completed": True}) == StoredOffset(5)


def record(key: str, content: Any = None) -> tuple[bytes, bytes | None]:
    return key.encode(), None if content is None else json.dumps(content).encode()


def config(**properties: str) -> dict[str, Any]:
    return {"properties": {name.replace("_", "."): value for name, value in properties.items()}}


def test_connectors_are_read_from_connects_topic_with_what_was_deleted_and_stopped_left_out() -> None:
    records = [
        record("session-key", {"key": "x"}),
        record("connector-first", config(slot_name="old", topic_prefix="db")),
        record("connector-first", config(slot_name="one", topic_prefix="db")),
        record("task-first-0", config(slot_name="one")),
        record("target-state-first", {"state": "STARTED", "state.v2": "STARTED"}),
        record("connector-deleted", config(slot_name="two", topic_prefix="db")),
        record("connector-deleted"),
        record("connector-stopped", config(slot_name="three", topic_prefix="db")),
        record("target-state-stopped", {"state": "PAUSED", "state.v2": "STOPPED"}),
        record("connector-again", config(slot_name="four", topic_prefix="db_x")),
        record("target-state-again", {"state": "PAUSED", "state.v2": "STOPPED"}),
        record("target-state-again", {"state": "STARTED", "state.v2": "STARTED"}),
        record("connector-file-sink", config(file="x")),
    ]
    assert captured_by(records) == [Captured("again", "four", "db_x"), Captured("first", "one", "db")]


def test_only_what_no_connector_would_say_itself_keeps_a_worker_from_starting() -> None:
    ours = [Captured(name, name, "db") for name in ("whole", "moved", "gone", "lost", "new")]
    slots = {"whole": slot(READ), "moved": slot(READ + 9), "lost": slot(READ, wal_status="lost"), "new": slot(READ + 9)}
    offsets = {(name, "db"): STREAMING for name in ("whole", "moved", "gone", "lost")}
    assert [one.connector for one, _ in silent(ours, {"gone": None, **slots}, offsets)] == ["moved"]


def test_a_slot_raises_its_alarm_when_more_than_half_of_the_bound_is_kept() -> None:
    assert slot(retained_bytes=500, safe_bytes=524).alarm == ""
    assert slot(retained_bytes=500).alarm == "", "no bound"
    words = slot(retained_bytes=600 << 20, safe_bytes=424 << 20, wal_status="extended").alarm
    assert words == "keeps 600.0 MB of WAL (extended); after 424.0 MB more it is lost (max_slot_wal_keep_size)"
    assert "after 0 bytes more" in slot(retained_bytes=9, safe_bytes=-16, wal_status="unreserved").alarm


def test_an_lsn_is_written_as_postgresql_writes_it() -> None:
    assert (lsn(0), lsn(0x16B3748), lsn(READ)) == ("0/0", "0/16B3748", "1/100")
