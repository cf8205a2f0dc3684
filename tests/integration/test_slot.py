"""The replication slot under the connector's feet: what was skipped over is refused loudly, never read past."""

from contextlib import closing

import pytest

from lab.measure import fence
from lab.stack import connect
from lab.stack.scope import drop_slot
from tests.conftest import Line, wait_for

pytestmark = pytest.mark.integration
DAY = "2026-11-23T06:00:00Z"
ADVANCE = "SELECT pg_replication_slot_advance(%s, pg_current_wal_flush_lsn())"


def stopped_with_rows_unread(line: Line) -> dict[int, int]:
    """Rows that were read, a connector that is stopped, and a row that was not read; returns the topic's ends."""
    line.insert([(7, "10.00", DAY)])
    ends = line.wait_until_in_kafka()
    connect.wait_for_offset(line.settings)
    connect.stop_connector(line.settings)
    line.insert([(7, "20.00", DAY)])
    return ends


def refusal(line: Line) -> str:
    """What the FAILED task of the resumed connector says."""

    def failed() -> str:
        _, tasks = connect.connector_state(line.settings)
        return next((trace for state, trace in tasks if state == "FAILED"), "")

    connect.resume_connector(line.settings)
    return str(wait_for(failed, "a FAILED task", 60))


def test_a_slot_that_was_advanced_past_unread_rows_is_refused(line: Line) -> None:
    ends = stopped_with_rows_unread(line)
    with closing(line.scope.open_as_lab("postgres")) as session:
        session.cursor().execute(ADVANCE, [line.settings.slot])
    assert "no longer available" in refusal(line)
    assert fence.end_offsets(line.settings) == ends


def test_a_slot_that_was_dropped_with_unread_rows_is_refused(line: Line) -> None:
    ends = stopped_with_rows_unread(line)
    with closing(line.scope.open_as_lab("postgres")) as session:
        drop_slot(session, line.settings.slot)
    line.insert([(7, "30.00", DAY)])
    assert "no longer available" in refusal(line)
    assert fence.end_offsets(line.settings) == ends
