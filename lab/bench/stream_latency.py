"""Commit -> alert committed by the Spark stream at a set rate (P9), by trigger, on one server's clock."""

from contextlib import closing

import psycopg2

from lab.bench import connectors
from lab.bench.alerts import LATENCY, PARAMETERS
from lab.bench.bed import Bed, Segment
from lab.bench.pace import SLACK_S, USERS, Pace, keep
from lab.bench.result import Figure, Result, flat
from lab.bench.rounds import in_turn
from lab.bench.statistics import percentiles
from lab.measure import fence

PART = "latency"
TRIGGERS_S = {"at once": 0.0, "every second": 1.0}
AT_ONCE = "at once"
BATCHES = "SELECT coalesce(max(batch_id), -1) FROM stream_queries"


def compare(bed: Bed, result: Result, pace: Pace, rounds: int, *, triggers: bool) -> None:
    """The rounds; a round's settling time is the warm-up of its own driver."""
    wanted = list(TRIGGERS_S) if triggers else [AT_ONCE]
    for number, name in in_turn(wanted, rounds):
        with bed.segment(rule_parameters=PARAMETERS, stream_trigger_s=TRIGGERS_S[name]) as segment:
            _measure(bed, result, segment, pace, name, number)
    result.variants |= {
        f"{PART}: {name}": {"STREAM_TRIGGER_S": seconds, "RULE_PARAMETERS": PARAMETERS, "users": USERS}
        for name, seconds in TRIGGERS_S.items()
        if name in wanted
    }


def _measure(bed: Bed, result: Result, segment: Segment, pace: Pace, name: str, number: int) -> None:
    segment.start_connector(connectors.ours(bed.stack.home, segment.settings))
    segment.scope.register_source(segment.scope.open_as_lab)
    stream = bed.stack.spark_stream(segment.settings)
    try:
        stream.start()
        stream.wait()
        with bed.metered({"walsender": segment.walsender()}) as usage:
            commits = pace.write(bed, segment)
        segment.wait(lambda: segment.arrived() >= commits.committed, "every commit was in the topic", SLACK_S)
        stream.wait_until_judged(segment.scope.topic_id(), fence.end_offsets(segment.settings), SLACK_S)
        figures = _figures(segment, pace)
    finally:
        stream.stop()
        stream.forget()
    keep(bed, result, (PART, name, number), figures, usage, commits)


def _figures(segment: Segment, pace: Pace) -> dict[str, Figure]:
    """Percentiles of what was committed after the settling time, and how many micro-batches there were."""
    with (
        closing(psycopg2.connect(segment.dsn(segment.settings.alerts_database))) as session,
        session.cursor() as cursor,
    ):
        cursor.execute(LATENCY)
        samples = cursor.fetchall()
    from_us = pace.counts_from(samples[0][0])
    found = flat("alert_ms", percentiles([ms for committed_us, ms in samples if committed_us >= from_us]))
    batches = segment.rows(BATCHES)[0][0] + 1
    return {"alert_ms_p50": found["alert_ms_p50"]} | found | {"micro_batches": batches, "rows_written": len(samples)}
