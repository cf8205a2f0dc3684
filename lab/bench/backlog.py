"""How fast a connector drains a backlog (P4): rows committed while it was stopped; then it is resumed.

Ours against stock, cold (a new Connect worker) and warm, against pg_recvlogical to /dev/null as the limit,
and ours with one setting turned back. Rows come in commits of 1,000 rows, and for two variants of one row.
"""

import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lab.bench import connectors, cpu
from lab.bench.bed import Bed, Segment
from lab.bench.committing import fill
from lab.bench.connectors import Configured
from lab.bench.result import Figure, Result
from lab.bench.rounds import in_turn
from lab.bench.watching import WALSENDER, Topic, drained, watch
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


PARTS = ("drain", "knobs", "cold")


class Sizes(NamedTuple):
    """Rows of a backlog, events through the connector before the warm rounds, rounds, seed."""

    rows: int
    warm_events: int
    rounds: int
    seed: int


def compare(bed: Bed, result: Result, parts: Sequence[str], sizes: Sizes) -> None:
    """P4's rounds: drain (warm), knobs (warm, one setting turned), cold (each on a new Connect worker)."""
    if "drain" in parts or "knobs" in parts:
        for _ in range(0, sizes.warm_events, sizes.rows):
            _measure(bed, WARM["ours"], sizes)
        result.warm_up["drains"] = f"{sizes.warm_events:,} events through our connector before the first warm round"
    if "drain" in parts:
        _rounds(bed, result, "drain", WARM, sizes)
    if "knobs" in parts:
        knobs = {name: Variant(connectors.turned(knob)) for name, knob in KNOBS.items()}
        _rounds(bed, result, "knobs", {"ours": WARM["ours"], **knobs}, sizes)
    if "cold" in parts and bed.private:
        _rounds(bed, result, "cold", COLD, sizes)
    elif "cold" in parts:
        result.notes.append("no cold drains: this stack's Connect serves others")


def _rounds(bed: Bed, result: Result, part: str, variants: Mapping[str, Variant], sizes: Sizes) -> None:
    for number, name in in_turn(list(variants), sizes.rounds):
        if part == "cold":
            bed.restart_connect()
        with bed.metered() as usage:
            figures = _measure(bed, variants[name], sizes)
        result.add(part, name, number, figures, usage)
        mark = " (disturbed)" if usage.disturbed else ""
        bed.progress.say(f"{part}, round {number}, {name}: {figures['events_per_s']} events/s{mark}")


def _measure(bed: Bed, variant: Variant, sizes: Sizes) -> dict[str, Figure]:
    with bed.segment() as segment:
        if variant.configured is None:
            return _bare(bed, segment, variant.rows_per_commit, sizes)
        segment.start_connector(variant.configured(bed.stack.home, segment.settings))
        _read_one(segment, sizes.seed)
        connect.stop_connector(segment.settings)
        fill(segment, sizes.rows, variant.rows_per_commit, USERS, sizes.seed)
        segment.checkpoint()
        with Topic(segment.settings) as topic:
            connect.resume_connector(segment.settings)

            def readers() -> Mapping[str, cpu.Read]:
                return {**cpu.parts([bed.stack.home]), WALSENDER: segment.walsender()}

            looks = watch(topic, sizes.rows + 1, readers, TIMEOUT_S)
            if b'"op":"c"' not in topic.newest():
                raise ServiceFault("the connector read a snapshot instead of the log: that is no drain")
            return drained(looks)


def _read_one(segment: Segment, seed: int) -> None:
    """Have one change read and its offset stored: a connector without an offset begins with a snapshot."""
    fill(segment, 1, 1, USERS, seed)
    segment.wait(lambda: segment.arrived() >= 1, "the first change was in the topic")
    connect.wait_for_offset(segment.settings)


def _bare(bed: Bed, segment: Segment, rows_per_commit: int, sizes: Sizes) -> dict[str, Figure]:
    """The limit: PostgreSQL's own client, which throws everything away."""
    source, slot = segment.settings.source_database, segment.settings.slot
    segment.rows("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [slot], source)
    fill(segment, sizes.rows, rows_per_commit, USERS, sizes.seed)
    ((end,),) = segment.rows("SELECT pg_current_wal_insert_lsn()::text", database=source)
    fill(segment, 1, 1, USERS, sizes.seed)  # what lies beyond the end lets the reader stop at once
    segment.checkpoint()
    dsn, secret = segment.open_dsn(source, "twinpath_cdc")
    command = [str(bed.stack.postgres.binaries() / "pg_recvlogical"), "-d", dsn, "--slot", slot, "--start"]
    command += ["-o", "proto_version=1", "-o", f"publication_names={segment.settings.publication}"]
    command += ["-f", "/dev/null", "--no-loop", f"--endpos={end}"]
    with subprocess.Popen(command, env=secret, stderr=subprocess.PIPE, text=True) as reader:
        began, sender, used = time.monotonic(), segment.walsender_now(), 0.0
        while reader.poll() is None:
            sender = sender or segment.walsender_now()
            used = max(used, sender() if sender else 0.0)  # its process is new: all that it used is ours
            if time.monotonic() - began > TIMEOUT_S:
                reader.kill()
            time.sleep(0.005)
        seconds = time.monotonic() - began
        if reader.returncode:
            raise ServiceFault(f"pg_recvlogical failed: {reader.stderr.read() if reader.stderr else ''}")
    return {
        "events": sizes.rows,
        "events_per_s": round(sizes.rows / seconds),
        "walsender_cpu_us_per_event": round(used * 1e6 / sizes.rows, 3) if sender else None,
    }
