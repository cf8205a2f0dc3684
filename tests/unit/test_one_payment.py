"""The chart of one payment on every path: which one is taken, and what is drawn of it."""

from datetime import timedelta
from pathlib import Path

from lab.measure.latency import Sample
from lab.report.html.one_payment import WAIT, chosen, one_payment
from lab.report.html.page import render
from lab.report.saved import read_run
from tests.unit.saved_runs import BEGAN, write_run

AGENT_HOPS, STREAM_HOPS, NONE = (2.0, 3.0, 4.0, 1.0, 5.0), (2.0, 3.0, 900.0, 20.0, 75.0), (None,) * 5


def sample(tx_id: int, latency_ms: float, hops: tuple[float | None, ...], rule: str = "spending") -> Sample:
    return Sample(rule, BEGAN + timedelta(seconds=tx_id), latency_ms, hops, tx_id)


def three_paths() -> dict[str, list[Sample]]:
    """Payments 1 to 5 on the paths of the log, 2 to 4 in the batch, where 3 is the one in the middle for the agent."""
    late = {1: 5.0, 2: 30.0, 3: 15.0, 4: 11.0, 5: 90.0}
    return {
        "spark_batch": [sample(tx_id, 60_000.0 + tx_id, NONE) for tx_id in (2, 3, 4)],
        "agent": [sample(tx_id, ms, AGENT_HOPS) for tx_id, ms in late.items()],
        "spark_stream": [sample(tx_id, 1000.0, STREAM_HOPS) for tx_id in late],
    }


def test_the_payment_in_the_middle_of_those_that_every_path_has_is_shown_with_each_hop(tmp_path: Path):
    folder = write_run(tmp_path / "run", three_paths())
    chart = one_payment(read_run(folder))
    assert chart is not None
    assert chart.title == "One payment on every path: 3"
    assert "committed at 12:00:03 UTC" in chart.said
    assert "agent 15 ms, spark_batch 60.0 s and spark_stream 1.00 s" in chart.said
    assert list(chart.table.columns)[1:] == [
        "commit to connector", "connector to broker", "broker to poll", "poll to decision",
        "decision to alert committed", WAIT, "sum",
    ]  # fmt: skip
    assert [list(row) for row in chart.table.rows] == [
        ["agent, spending", "2.0 ms", "3.0 ms", "4.0 ms", "1.0 ms", "5.0 ms", "-", "15 ms"],
        ["spark_batch, spending", "-", "-", "-", "-", "-", "60.0 s", "60.0 s"],
        ["spark_stream, spending", "2.0 ms", "3.0 ms", "900 ms", "20 ms", "75 ms", "-", "1.00 s"],
    ]
    assert "One payment on every path: 3" in render(folder).read_text()
    assert (folder / "one-payment.svg").exists()


def test_an_alert_of_another_rule_or_with_a_stamp_set_back_is_not_its_alert(tmp_path: Path):
    samples = {
        "agent": [sample(1, 10.0, AGENT_HOPS), sample(2, 20.0, (-1.0, 3.0, 4.0, 1.0, 5.0))],
        "spark_stream": [sample(1, 10.0, STREAM_HOPS, "velocity"), sample(2, 10.0, STREAM_HOPS)],
    }
    found = chosen(read_run(write_run(tmp_path / "run", samples)))
    assert found is not None
    assert [(path, one.tx_id) for path, one in found.items()] == [("agent", 1)]


def test_without_ids_of_payments_there_is_no_such_chart(tmp_path: Path):
    assert one_payment(read_run(write_run(tmp_path / "run"))) is None
