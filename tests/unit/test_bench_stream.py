"""The bench of the Spark stream without Spark: what counts of a drain, and which goals are met."""

import pytest

from lab.bench import spark_stream, stream_drain, stream_latency
from lab.bench.cpu import Usage
from lab.bench.result import Result

CALM = Usage(wall_s=10.0, cpu_s={}, foreign=0.01)


def test_the_first_micro_batches_of_a_drain_are_dropped() -> None:
    cold = [{"records": 100, "seconds": 20.0}, {"records": 100, "seconds": 5.0}]
    warm = [{"records": 100, "seconds": 1.0}, {"records": 50, "seconds": 0.5}]
    assert stream_drain.rates([*cold, *warm]) == {"events": 150, "events_per_s": 100}
    assert stream_drain.rates(cold)["events"] == 200, "a short drain counts whole"


@pytest.mark.parametrize(("per_s", "p99", "met"), [(80_000, 1_500.0, True), (50_000, 2_500.0, False)])
def test_p9_is_judged_by_drain_and_latency(per_s: int, p99: float, *, met: bool) -> None:
    result = Result("spark-stream", "run", "a test", 3, {})
    for number in (1, 2):
        for form, value in ((stream_drain.LIMIT, 100_000), (stream_drain.WHOLE, per_s)):
            result.add(stream_drain.PART, form, number, {"events_per_s": value}, CALM)
        latency = {"alert_ms_p50": p99 / 2, "alert_ms_p99": p99}
        result.add(stream_latency.PART, stream_latency.AT_ONCE, number, latency, CALM)
    spark_stream.judge(result)
    assert [(goal.id, goal.ok) for goal in result.goals] == [("P9", met)] * 4
    assert "drain: state and sink / decode, events_per_s" in result.estimates
    page = result.markdown(spark_stream.tables(result))
    assert "| state and sink | 2 |" in page
