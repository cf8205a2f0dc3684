"""The replication slot under the connector's feet: what was skipped over is refused loudly, never read past."""

from contextlib import closing

import pytest

from lab.measure import fence
from lab.stack import connect
from lab.stack.scope import drop_slot
from tests.conftest import Line, wait_for

pytestmark = pytest.mark.integration
DAY = "2026-11-23T06:00:00Z"


def test_a_slot_that_was_dropped_with_unread_rows_is_refused_and_not_made_anew(line: Line) -> None:
    line.insert([(7, "10.00", DAY)])
    ends = line.wait_until_in_kafka()
    connect.wait_for_offset(line.settings)
    connect.stop_connector(line.settings)
    with closing(line.scope.open_as_lab("postgres")) as session:
        drop_slot(session, line.settings.slot)
    line.insert([(7, "20.00", DAY)])

    def failed() -> str:
        _, tasks = connect.connector_state(line.settings)
        return next((trace for state, trace in tasks if state == "FAILED"), "")

    connect.resume_connector(line.settings)
    assert "no longer available" in wait_for(failed, "a FAILED task")
    assert fence.end_offsets(line.settings) == ends
