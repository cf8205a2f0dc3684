"""The line exporter against a real PostgreSQL: a slot that nobody reads, then one that is gone."""

from contextlib import closing

import pytest

from lab.line_exporter import LineMetrics
from lab.stack.stack import Stack
from twinpath.settings import load_settings

pytestmark = pytest.mark.integration


def test_a_slot_that_nobody_reads_keeps_wal_and_one_that_is_gone_is_missed(server: Stack) -> None:
    dsn = server.credentials.dsn("twinpath_reader", "postgres")
    metrics = LineMetrics(load_settings(source_dsn=dsn, connect_url="http://127.0.0.1:1", run_id="exported"))
    read = metrics.registry.get_sample_value
    with closing(server.postgres.connect("postgres")) as session, session.cursor() as cursor:
        cursor.execute("SELECT pg_create_logical_replication_slot('twinpath_transactions_exported', 'pgoutput')")
        try:
            metrics.observe()
            before = read("twinpath_line_slot_retained_bytes")
            cursor.execute("SELECT pg_logical_emit_message(true, 'test', repeat('x', 100000))")
            metrics.observe()
        finally:
            cursor.execute("SELECT pg_drop_replication_slot('twinpath_transactions_exported')")
    assert before is not None
    assert (read("twinpath_line_slot_retained_bytes") or 0) >= before + 100_000
    assert (read("twinpath_line_slot_present"), read("twinpath_line_slot_active")) == (1, 0)
    assert read("twinpath_line_slot_wal_lost") == 0
    assert read("twinpath_line_reachable", {"part": "postgres"}) == 1
    assert read("twinpath_line_reachable", {"part": "connect"}) == 0
    metrics.observe()
    assert read("twinpath_line_slot_present") == 0
