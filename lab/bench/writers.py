"""What the writers feel (P7): one-row commits with and without somebody reading their log.

Closed loop for the rate, open loop at 60 % of the highest rate without a reader for the latency of a commit;
PostgreSQL's CPU per transaction beside both. The pipeline is our connector and both agents; their alert store
is on a second server, and for the price of the default on the source's own.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from lab.bench import connectors
from lab.bench.bed import Bed, Segment
from lab.bench.committing import Commits, write
from lab.bench.cpu import Usage, metered
from lab.bench.machine import fsyncs_per_s
from lab.bench.result import Figure, Result, flat
from lab.bench.rounds import in_turn
from lab.bench.second import Second, second_server
from twinpath.detection.rules import RULES

PART = "writers"
NOBODY, BARE, APART, TOGETHER = "nobody", "bare reader", "pipeline, store apart", "pipeline"
VARIANTS = (NOBODY, BARE, APART, TOGETHER)
OPEN_SHARE = 0.6
USERS = 9_000
CLIENTS = 4
TIMEOUT_S = 240.0


def compare(bed: Bed, result: Result, seconds: int, rounds: int, seed: int) -> None:
    """P7's rounds."""
    with second_server(bed.stack) as second:
        with bed.segment() as segment:
            highest = _closed(bed, segment, seconds, seed).per_s
        rate = max(1, int(highest * OPEN_SHARE))
        result.warm_up[PART] = f"{seconds} s of commits in closed loop; they set the rate of the open loop"
        result.limits["open_loop_per_s"] = rate
        result.limits["fsyncs_per_s"] = fsyncs_per_s(bed.stack.postgres.data.parent)
        for number, name in in_turn(VARIANTS, rounds):
            figures, usage = _round(bed, second, name, seconds, rate, seed)
            result.add(PART, name, number, figures, usage)
            mark = " (disturbed)" if usage.disturbed else ""
            tps, p99 = figures["closed_per_s"], figures["open_commit_ms_p99"]
            bed.progress.say(f"{PART}, round {number}, {name}: {tps} commits/s, at {rate}/s p99 {p99} ms{mark}")


def _round(bed: Bed, second: Second, name: str, seconds: int, rate: int, seed: int) -> tuple[dict[str, Figure], Usage]:
    """Closed loop, then open loop, with what has been read in between."""
    with bed.segment() as segment, _reading(bed, segment, second, name) as (live, dsn):
        with metered([bed.stack.home, second.home]) as closed_usage:
            closed = _closed(bed, segment, seconds, seed)
        _caught_up(live, dsn, closed.committed)
        segment.checkpoint()
        with metered([bed.stack.home, second.home]) as usage:
            opened = write(
                segment, bed.folder, seconds=seconds, rate=rate, clients=CLIENTS, users=USERS, seed=seed + 1
            )  # fmt: skip
        _caught_up(live, dsn, closed.committed + opened.committed)
    figures: dict[str, Figure] = {"closed_per_s": closed.per_s, "failed_commits": closed.failed + opened.failed}
    figures |= flat("closed_commit_ms", closed.latency_ms) | flat("open_commit_ms", opened.latency_ms)
    figures["open_per_s"] = opened.per_s
    for phase, used, commits in (("closed", closed_usage, closed), ("open", usage, opened)):
        for part, cpu_s in used.cpu_s.items():
            figures[f"{phase}_{part}_cpu_us_per_commit"] = round(cpu_s * 1e6 / max(commits.committed, 1), 2)
    usage.foreign = max(usage.foreign, closed_usage.foreign)
    return figures, usage


def _closed(bed: Bed, segment: Segment, seconds: int, seed: int) -> Commits:
    return write(segment, bed.folder, seconds=seconds, clients=CLIENTS, users=USERS, seed=seed)


@contextmanager
def _reading(bed: Bed, segment: Segment, second: Second, name: str) -> Iterator[tuple[Segment | None, str]]:
    """Whoever reads the log meanwhile: (segment whose pipeline is live or None, DSN of its alert store)."""
    if name == NOBODY:
        yield None, ""
        return
    if name == BARE:
        dsn, secret = segment.open_dsn(segment.settings.source_database, "twinpath_cdc")
        slot = segment.settings.slot
        segment.rows(
            "SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [slot], segment.settings.source_database
        )
        command = [str(bed.stack.postgres.binaries() / "pg_recvlogical"), "-d", dsn, "--slot", slot, "--start"]
        command += ["-o", "proto_version=1", "-o", f"publication_names={segment.settings.publication}"]
        segment.run("recvlogical", [*command, "-f", "/dev/null", "--no-loop"], secret)
        segment.walsender()
        yield None, ""
        return
    live = segment
    dsn = segment.dsn(segment.settings.alerts_database)
    if name == APART:
        alerts = segment.settings.alerts_database
        live = Segment(segment.stack, second.hold(segment.settings, alerts))
        dsn = second.dsn(alerts, "twinpath_lab")
    segment.start_connector(connectors.ours(bed.stack.home, segment.settings))
    for rule in RULES:
        live.agents.start(rule)
    for rule in RULES:
        live.agents.wait(rule)
    yield live, dsn


def _caught_up(live: Segment | None, dsn: str, commits: int) -> None:
    """Wait until the pipeline has judged everything, so that no backlog is read in the next phase."""
    if live is None:
        return
    live.wait(lambda: live.arrived() >= commits, "every commit was in the topic", TIMEOUT_S)
    live.wait_until_judged(RULES.values(), TIMEOUT_S, dsn)
