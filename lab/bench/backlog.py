"""How fast a connector drains a backlog (P4): rows committed while it was stopped; then it is resumed.

Ours against stock, cold (a new Connect worker) and warm, against pg_recvlogical to /dev/null as the limit,
and ours with one setting turned back. Rows come in commits of 1,000 rows, and for two variants of one row.
"""

import subprocess
import time
from collections.abc import Mapping
from typing import NamedTuple

from lab.bench import connectors, cpu
from lab.bench.bed import Bed, Segment
from lab.bench.committing import fill
from lab.bench.connectors import Configured
from lab.bench.result import Figure, Result
from lab.bench.rounds import in_turn
from lab.bench.watching import Topic, drained, watch
from lab.stack import connect
from twinpath.errors import ServiceFault

USERS = 9_000
LARGE_COMMIT = 1_000
TIMEOUT_S = 240.0


class Variant(NamedTuple):
    """A reader of the log, and how many rows a commit of its backlog has; without a connector pg_recvlogical."""

    configured: Configured | None
    rows_per_commit: int = LARGE_COMMIT


WARM = {
    "ours": Variant(connectors.ours),
    "stock": Variant(connectors.stock),
    "pg_recvlogical": Variant(None),
    "ours, one-row commits": Variant(connectors.ours, 1),
    "pg_recvlogical, one-row commits": Variant(None, 1),
}
KNOBS = {
    "context headers on (default)": {"extended.headers.enabled": "true"},
    "batch and queue 2048/8192 (default)": {"max.batch.size": "2048", "max.queue.size": "8192"},
    "producer at its defaults": connectors.PRODUCER_DEFAULTS,
}
COLD = {"ours": Variant(connectors.ours), "stock": Variant(connectors.stock)}


def compare(bed: Bed, result: Result, rows: int, warm_events: int, rounds: int, seed: int) -> None:
    """P4's rounds: warm, then knobs, then cold."""
    knobs = {name: Variant(connectors.turned(knob)) for name, knob in KNOBS.items()}
    for _ in range(0, warm_events, rows):
        _measure(bed, WARM["ours"], rows, seed)
    result.warm_up["drains"] = f"{warm_events:,} events through our connector before the first warm round"
    _rounds(bed, result, "drain, warm", WARM, rows, rounds, seed)
    _rounds(bed, result, "drain, one setting turned", {"ours": WARM["ours"], **knobs}, rows, max(1, rounds // 2), seed)
    if not bed.private:
        result.notes.append("no cold drains: this stack's Connect serves others")
        return
    _rounds(bed, result, "drain, cold", COLD, rows, rounds, seed, cold=True)


def _rounds(
    bed: Bed,
    result: Result,
    part: str,
    variants: Mapping[str, Variant],
    rows: int,
    rounds: int,
    seed: int,
    *,
    cold: bool = False,
) -> None:
    for number, name in in_turn(list(variants), rounds):
        if cold:
            bed.restart_connect()
        with bed.metered() as usage:
            figures = _measure(bed, variants[name], rows, seed)
        result.add(part, name, number, figures, usage)
        mark = " (disturbed)" if usage.disturbed else ""
        bed.progress.say(f"{part}, round {number}, {name}: {figures['events_per_s']} events/s{mark}")


def _measure(bed: Bed, variant: Variant, rows: int, seed: int) -> dict[str, Figure]:
    with bed.segment() as segment:
        if variant.configured is None:
            return _bare(bed, segment, rows, variant.rows_per_commit, seed)
        segment.start_connector(variant.configured(bed.stack.home, segment.settings))
        connect.stop_connector(segment.settings)
        fill(segment, rows, variant.rows_per_commit, USERS, seed)
        segment.checkpoint()
        with Topic(segment.settings) as topic:
            connect.resume_connector(segment.settings)

            def readers() -> Mapping[str, cpu.Read]:
                return {**cpu.parts([bed.stack.home]), "walsender": segment.walsender()}

            return drained(watch(topic, rows, readers, TIMEOUT_S))


def _bare(bed: Bed, segment: Segment, rows: int, rows_per_commit: int, seed: int) -> dict[str, Figure]:
    """The limit: PostgreSQL's own client, which throws everything away."""
    source, slot = segment.settings.source_database, segment.settings.slot
    segment.rows("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [slot], source)
    fill(segment, rows, rows_per_commit, USERS, seed)
    ((end,),) = segment.rows("SELECT pg_current_wal_insert_lsn()::text", database=source)
    fill(segment, 1, 1, USERS, seed)  # what lies beyond the end lets the reader stop at once
    segment.checkpoint()
    dsn, secret = segment.open_dsn(source, "twinpath_cdc")
    command = [str(bed.stack.postgres.binaries() / "pg_recvlogical"), "-d", dsn, "--slot", slot, "--start"]
    command += ["-o", "proto_version=1", "-o", f"publication_names={segment.settings.publication}"]
    command += ["-f", "/dev/null", "--no-loop", f"--endpos={end}"]
    with subprocess.Popen(command, env=secret, stderr=subprocess.PIPE, text=True) as reader:
        sender = segment.walsender()
        began, before, used = time.monotonic(), sender(), 0.0
        while reader.poll() is None:
            used = max(used, sender() - before)
            if time.monotonic() - began > TIMEOUT_S:
                reader.kill()
            time.sleep(0.005)
        seconds = time.monotonic() - began
        if reader.returncode:
            raise ServiceFault(f"pg_recvlogical failed: {reader.stderr.read() if reader.stderr else ''}")
    return {
        "events": rows,
        "events_per_s": round(rows / seconds),
        "walsender_cpu_us_per_event": round(used * 1e6 / rows, 3),
    }
