"""`twinpath experiment temperature`: one row a minute, averaged every ten minutes: by SQL, and what CDC would cost.

In the parts: `sql` runs the average's statement for windows of the past, each in a session of its own as the DAG does;
`cdc` lets connector, Kafka and one agent wait beside a quiet table, and then writes elsewhere on the server: how much
of its neighbours' WAL does the slot of a quiet table keep, with and without the connector's heartbeat, and how much
when the next two rows have come?
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg2

from lab.bench import connectors, cpu
from lab.bench.bed import Bed, Segment
from lab.bench.result import Figure, Result
from lab.bench.rounds import in_turn
from lab.bench.second import Second, second_server
from lab.experiments import fine_cpu
from lab.experiments.polled_table import store_apart
from lab.measure import counters
from lab.stack import process
from lab.stack.stack import Stack
from twinpath.temperature_averages import last_full, store

PARTS = ("sql", "cdc")
WINDOW = timedelta(minutes=10)
RUNS_A_DAY = timedelta(days=1) // WINDOW
DAY_S = 86_400
AGENT = "spending"  # any: one consumer waits
KNOBS: Mapping[str, Mapping[str, str]] = {
    "ours": {},
    "poll.interval.ms 500 (default)": {"poll.interval.ms": "500"},
    "no heartbeat (default)": {"heartbeat.interval.ms": "0"},
}
DAYS_OF_READINGS = 30
SETTLE_S = 2.0
WARM_UP_TIMES = 2  # as long as a quiet phase: Java compiles what a waiting connector does again and again
CHECKPOINTS = 2  # restart_lsn moves when a checkpoint's record was read and confirmed
ROWS_AFTER = 2  # a row confirms the place noted before it, and the next place is noted only then
READINGS = """
INSERT INTO temperature_readings (sensor_id, temperature, recorded_at)
SELECT 'office-1', 18 + 7 * random(), minute
FROM generate_series(%s::timestamptz, %s::timestamptz - interval '1 minute', interval '1 minute') AS minute"""
NEIGHBOUR = "CREATE TABLE IF NOT EXISTS neighbour (line text)"
NOISE = "INSERT INTO neighbour SELECT repeat('x', 1000) FROM generate_series(1, %s * 1000)"
RETAINED = """
SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint FROM pg_replication_slots WHERE slot_name = %s"""
NOW = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint"
ONE_ROW = "INSERT INTO transactions (user_id, amount, card_type, merchant_id) VALUES (1000, 12.34, 'visa', 1)"


def measure(
    stack: Stack,
    *,
    rounds: int,
    seconds: int,
    runs: int,
    wal_mb: int,
    parts: tuple[str, ...],
    seed: int,
    command: str,
    run: tuple[str, Path] | None = None,
    knobs: Sequence[str] = tuple(KNOBS),
) -> tuple[Result, str, Path]:
    """Run the experiment, in the folder of `run` (id, folder) if one is given; the result, Markdown, JSON's path."""
    bed = Bed(stack, run)
    options = {"rounds": rounds, "seconds": seconds, "runs": runs, "wal_mb": wal_mb, "parts": parts}
    result = Result("temperature", bed.run_id, command, seed, options, kind="experiment")
    if "sql" in parts:
        for number in range(1, rounds + 1):
            _sql(bed, result, number, runs)
    if "cdc" in parts:
        with second_server(stack) as second:
            for number, name in in_turn(knobs, rounds):
                _cdc(bed, second, result, (name, number), seconds, wal_mb)
    judge(result)
    path = result.finish(bed.folder, private=bed.private, warm=True)
    return result, result.markdown(tables(result)), path


def _sql(bed: Bed, result: Result, number: int, runs: int) -> None:
    """`runs` windows, the newest one last; a month of readings lies in the table."""
    with bed.segment() as segment:
        segment.scope.create_temperatures(segment.scope.open_as_lab)
        database = segment.settings.temperature_database
        end = last_full(datetime.now(tz=UTC), WINDOW)
        segment.rows(READINGS, [end - timedelta(days=DAYS_OF_READINGS), end], database)
        segment.rows("VACUUM (ANALYZE) temperature_readings", database=database)
        segment.checkpoint()
        server = fine_cpu.server(bed)
        dsn = segment.dsn(database, "twinpath_averages")
        with closing(psycopg2.connect(segment.dsn("postgres"))) as session:
            session.autocommit = True
            before = counters.read(session, database)
            with bed.metered() as usage:
                spent = server()
                for window in range(runs, 0, -1):
                    _average(dsn, end - window * WINDOW)
                spent = server() - spent
            time.sleep(SETTLE_S)  # a session's counters are added up when it has ended
            counted = counters.read(session, database).since(before)
    figures: dict[str, Figure] = {
        "cpu_ms_per_run": round(spent / runs * 1e3, 3),
        "cpu_s_per_day": round(spent / runs * RUNS_A_DAY, 3),
        "statements_per_day": round(counted.statements / runs * RUNS_A_DAY),
        "rows_scanned_per_run": round(counted.rows_scanned / runs),
        "blocks_per_run": round((counted.blocks_read + counted.blocks_hit) / runs),
        "wal_bytes_per_run": round(counted.wal_bytes / runs),
    }
    result.add("sql", "every 10 minutes", number, figures, usage)
    bed.progress.say(f"sql, round {number}: {figures['cpu_s_per_day']} s of CPU a day")


def _average(dsn: str, begin: datetime) -> None:
    with closing(psycopg2.connect(dsn)) as session, session, session.cursor() as cursor:
        store(cursor, begin, begin + WINDOW)


def _cdc(bed: Bed, second: Second, result: Result, place: tuple[str, int], seconds: int, wal_mb: int) -> None:
    """One row, quiet, the neighbour's writing, one row."""
    name, number = place
    server = fine_cpu.server(bed)
    with store_apart(bed, second) as segment:
        before = _quiet(server, seconds)
        segment.start_connector(connectors.turned(KNOBS[name])(bed.stack.home, segment.settings))
        segment.agents.start(AGENT)
        try:
            segment.agents.wait(AGENT)
            _one_row(segment)
            time.sleep(WARM_UP_TIMES * seconds)
            with bed.metered() as usage:
                postgres = _quiet(server, seconds)
            memory = _memory_mb(bed, segment)
            retained = _retained(segment, wal_mb)
        finally:
            segment.agents.stop(AGENT)
    figures: dict[str, Figure] = {
        "processes": len(memory),
        "rss_mb": round(sum(memory.values())),
        **{f"{program}_rss_mb": round(used) for program, used in memory.items()},
        **{f"{program}_cpu_s_per_day": _a_day(usage, program) for program in memory},
        "postgres_cpu_s_per_day": round((postgres - before) * DAY_S, 1),
        "cpu_s_per_day": round(sum(_a_day(usage, program) for program in memory) + (postgres - before) * DAY_S, 1),
        **retained,
    }
    result.add("cdc", name, number, figures, usage)
    bed.progress.say(
        f"cdc, round {number}, {name}: {figures['rss_mb']} MB, {figures['retained_mb']} MB of WAL kept "
        f"of {figures['wal_written_mb']} MB"
    )


def _one_row(segment: Segment) -> None:
    """What comes once a minute; returns when it is in the topic."""
    before = segment.arrived()
    segment.rows(ONE_ROW, database=segment.settings.source_database)
    segment.wait(lambda: segment.arrived() > before, "the row was in the topic")


def _quiet(server: cpu.Read, seconds: int) -> float:
    """CPU seconds per second of the source while nothing happens."""
    spent, began = server(), time.monotonic()
    time.sleep(seconds)
    return (server() - spent) / (time.monotonic() - began)


def _a_day(usage: cpu.Usage, program: str) -> float:
    return round(usage.cpu_s.get(program, 0.0) / usage.wall_s * DAY_S, 1)


def _memory_mb(bed: Bed, segment: Segment) -> dict[str, float]:
    """Resident memory of what CDC needs beside PostgreSQL, by program."""
    agent = segment.agents.name(AGENT)
    names = {"kafka": "kafka", "connect": "connect", agent.partition("_")[0]: agent}
    found = {program: process.running(bed.stack.home, name) for program, name in names.items()}
    return {program: one.memory_info().rss / 2**20 for program, one in found.items() if one is not None}


def _retained(segment: Segment, wal_mb: int) -> dict[str, Figure]:
    """What the slot keeps when another database of the server has written about `wal_mb` MB: while its own table is
    quiet, and when that got its next rows."""
    ((began,),) = segment.rows(NOW)
    segment.rows(NEIGHBOUR)
    segment.rows(NOISE, [wal_mb])
    ((ended,),) = segment.rows(NOW)
    kept_mb = [_kept_mb(segment)]
    for _ in range(ROWS_AFTER):
        _one_row(segment)
        kept_mb.append(_kept_mb(segment))
    return {
        "wal_written_mb": round((ended - began) / 2**20, 1),
        "retained_mb": kept_mb[0],
        "retained_after_rows_mb": kept_mb[-1],
    }


def _kept_mb(segment: Segment) -> float:
    for _ in range(CHECKPOINTS):
        segment.checkpoint()
        time.sleep(SETTLE_S)
    ((kept,),) = segment.rows(RETAINED, [segment.settings.slot], "postgres")
    return round(float(kept) / 2**20, 1)


def judge(result: Result) -> None:
    """The verdict of the small case, in words."""
    day = result.estimated("sql", "every 10 minutes", "cpu_s_per_day")
    statements = result.estimated("sql", "every 10 minutes", "statements_per_day")
    for name in KNOBS:
        for figure in ("cpu_s_per_day", "rss_mb", "retained_mb", "retained_after_rows_mb"):
            result.estimated("cdc", name, figure)
    ours = next(iter(KNOBS))
    found = [result.estimated("cdc", ours, one) for one in ("cpu_s_per_day", "rss_mb", "processes")]
    if day is None or statements is None or None in found:
        return
    cpu_s, rss_mb, processes = (one.median for one in found if one is not None)
    result.notes.append(
        f"stay with SQL: {day.median:.1f} s of CPU and {statements.median:.0f} statements a day do it; CDC would add "
        f"{processes:.0f} processes with {rss_mb:.0f} MB and {cpu_s:.0f} s of CPU a day, for an average that is wanted "
        "every ten minutes"
    )


def tables(result: Result) -> list[str]:
    """Both sides."""
    sql = {
        "CPU ms/run": "cpu_ms_per_run",
        "CPU s/day": "cpu_s_per_day",
        "statements/day": "statements_per_day",
        "rows scanned/run": "rows_scanned_per_run",
        "blocks/run": "blocks_per_run",
        "WAL bytes/run": "wal_bytes_per_run",
    }
    cdc = {
        "processes": "processes",
        "RSS MB": "rss_mb",
        "of it Kafka": "kafka_rss_mb",
        "Connect": "connect_rss_mb",
        "agent": f"agent-{AGENT}_rss_mb",
        "CPU s/day": "cpu_s_per_day",
        "of it PostgreSQL": "postgres_cpu_s_per_day",
        "WAL written elsewhere MB": "wal_written_mb",
        "kept by the slot MB": "retained_mb",
        "after the next two rows MB": "retained_after_rows_mb",
    }
    return [*result.table("sql", sql), *result.table("cdc", cdc)]
