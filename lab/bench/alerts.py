"""Commit -> alert committed: a real agent against the chain without logic.

Both by pg_xact_commit_timestamp of one server. A rule parameter makes the agent raise an alert for about
half of the payments; the chain (chain.py) writes a row for every second one.
"""

from contextlib import closing
from statistics import fmean

import psycopg2

from lab.bench import chain, connectors
from lab.bench.bed import Bed, Segment
from lab.bench.committing import Commits
from lab.bench.cpu import Usage
from lab.bench.pace import SLACK_S, USERS, Pace, keep
from lab.bench.result import Figure, Result, flat
from lab.bench.rounds import in_turn
from lab.bench.statistics import percentiles
from lab.measure.latency import HOPS, read_samples
from twinpath.detection.rules import configured

AGENT, CHAIN = "agent", "chain without logic"
PARAMETERS = {"spending": {"minimum_cents": 1000, "ratio": 1}}
CHECKPOINT_EVERY_S = 5.0
"""Instead of 60 s: a measured round shall hold several checkpoints, not none."""
LATENCY = (
    "SELECT (extract(epoch FROM changed_at) * 1000000)::bigint, latency_ms::float FROM alert_latency "
    "WHERE op = 'c' AND status = 'RAISED' AND latency_ms IS NOT NULL ORDER BY changed_at"
)
Samples = list[tuple[int, float]]
"""(commit of the change in us since 1970, ms until its row was committed), in order of the commits."""


def compare(bed: Bed, result: Result, pace: Pace, rounds: int) -> None:
    """P2's rounds; one more of each comes first and is dropped: the broker's Java machine compiles meanwhile."""
    for number, name in [(0, AGENT), (0, CHAIN), *in_turn((AGENT, CHAIN), rounds)]:
        with bed.segment(rule_parameters=PARAMETERS, checkpoint_every_s=CHECKPOINT_EVERY_S) as segment:
            segment.start_connector(connectors.ours(bed.stack.home, segment.settings))
            measured = _agent if name == AGENT else _chain
            samples, usage, commits = measured(bed, segment, pace)
            if number == 0:
                continue
            from_us = pace.counts_from(samples[0][0])
            hops = _slowest(segment, from_us) if name == AGENT else {}
        figures = flat("alert_ms", percentiles([ms for committed_us, ms in samples if committed_us >= from_us]))
        main = {"alert_ms_p50": figures["alert_ms_p50"], "rows_written": len(samples)}
        keep(bed, result, ("alerts", name, number), main | figures | hops, usage, commits)
    settings = {"RULE_PARAMETERS": PARAMETERS, "CHECKPOINT_EVERY_S": CHECKPOINT_EVERY_S, "users": USERS}
    result.warm_up["alerts"] = "a round of each"
    result.variants[f"alerts: {AGENT}"] = settings
    result.variants[f"alerts: {CHAIN}"] = (
        "a program that polls like an agent and writes one row for every second record"
    )


def _agent(bed: Bed, segment: Segment, pace: Pace) -> tuple[Samples, Usage, Commits]:
    segment.scope.register_source(segment.scope.open_as_lab)
    segment.agents.start("spending")
    segment.agents.wait("spending")
    with bed.metered({"walsender": segment.walsender()}) as usage:
        commits = pace.write(bed, segment)
    rule = configured("spending", PARAMETERS)
    segment.wait(lambda: segment.arrived() >= commits.committed, "every commit was in the topic", SLACK_S)
    segment.wait_until_judged([rule], SLACK_S)
    return _samples(segment, LATENCY), usage, commits


def _slowest(segment: Segment, from_us: float) -> dict[str, Figure]:
    """Where the slowest alerts spent their time: the mean of each hop, ms."""
    samples = read_samples(segment.dsn(segment.settings.alerts_database), AGENT)
    counted = [one for one in samples if one.changed_at.timestamp() * 1_000_000 >= from_us]
    slowest = sorted(counted, key=lambda one: one.latency_ms)[-max(1, len(counted) // 100) :]
    found: dict[str, Figure] = {}
    for place, hop in enumerate(HOPS):
        values = [ms for one in slowest if (ms := one.hops_ms[place]) is not None]
        found[f"slowest_ms {hop}"] = round(fmean(values), 1) if values else None
    return found


def _chain(bed: Bed, segment: Segment, pace: Pace) -> tuple[Samples, Usage, Commits]:
    segment.rows(chain.FLOOR)
    dsn, secret = segment.open_dsn(segment.settings.alerts_database)
    segment.start("chain", "lab.bench.chain", ["--dsn", dsn, "--every", "2"], secret)
    with bed.metered({"walsender": segment.walsender()}) as usage:
        commits = pace.write(bed, segment)

    def written() -> bool:
        return bool(segment.rows("SELECT count(*) FROM chain_floor")[0][0] >= commits.committed // 2)

    segment.wait(written, "the chain had written every second record", SLACK_S)
    return _samples(segment, chain.LATENCY), usage, commits


def _samples(segment: Segment, query: str) -> Samples:
    session = psycopg2.connect(segment.dsn(segment.settings.alerts_database))
    with closing(session), session.cursor() as cursor:
        cursor.execute(query)
        return list(cursor.fetchall())
