"""One-row commits at a set rate or as fast as they go, by pgbench: a writer that costs little CPU of its own.

At a set rate the schedule is open loop (Poisson): pgbench counts a commit's latency from its intended
start, so that a stall of PostgreSQL or of the writer does not hide itself. Users are drawn from a range
that the caller sets; amounts are uniform, 5.00 to 5,000.00.
"""

import os
import re
import subprocess
from contextlib import closing
from pathlib import Path

import msgspec
import numpy as np
import psycopg2
from psycopg2.extensions import parse_dsn

from lab.bench.bed import Segment
from lab.bench.statistics import percentiles
from twinpath.errors import ServiceFault

SCRIPT = """\\set user random(1000, {last_user})
\\set cents random(500, 500000)
\\set merchant random(1, 500)
INSERT INTO transactions (user_id, amount, card_type, merchant_id) VALUES (:user, :cents / 100.0, 'visa', :merchant);
"""
FIRST_USER = 1000
BACKLOG = """DO $$ BEGIN FOR step IN 1..%s LOOP
    INSERT INTO transactions (user_id, amount, card_type, merchant_id)
    SELECT 1000 + floor(random() * %s)::int, round((5 + random() * 4995)::numeric, 2), 'visa',
           1 + floor(random() * 500)::int FROM generate_series(1, %s);
    COMMIT;
END LOOP; END $$"""
LIBPQ = {"host": "PGHOST", "port": "PGPORT", "dbname": "PGDATABASE", "user": "PGUSER", "password": "PGPASSWORD"}


class Commits(msgspec.Struct):
    """What a writer did: commits, failures, commits per second, and the latency of each commit in ms.

    `late_ms` is how long after its intended time a commit was started; empty without a set rate.
    """

    committed: int
    failed: int
    per_s: float
    latency_ms: dict[str, float | int | None]
    late_ms: dict[str, float | int | None]


def write(
    segment: Segment,
    folder: Path,
    *,
    commits: int | None = None,
    seconds: int | None = None,
    rate: int | None = None,
    clients: int,
    users: int,
    seed: int,
) -> Commits:
    """Write `commits` rows or for `seconds`, one row a commit, on `clients` connections.

    `rate` in commits per second for all connections together; None: each starts the next at once.
    Raises ServiceFault when pgbench fails.
    """
    script = folder / "one_row.sql"
    script.write_text(SCRIPT.format(last_user=FIRST_USER + users - 1))
    log = folder / f"pgbench{segment.settings.suffix}"
    length = ["-T", str(seconds)] if seconds else ["-t", str(max(1, (commits or 0) // clients))]
    pace = ["-R", str(rate)] if rate else []
    # prepared, so that PostgreSQL spends its time on commits rather than on parsing
    command = [
        str(segment.stack.postgres.binaries() / "pgbench"),
        "-n",
        "-M",
        "prepared",
        "-c",
        str(clients),
        "-j",
        "1",
    ]
    command += [*length, *pace, "-l", f"--log-prefix={log}", f"--random-seed={seed}", "-f", str(script)]
    done = subprocess.run(command, env=_environment(segment), capture_output=True, text=True, check=False)
    written = sorted(log.parent.glob(f"{log.name}.*"))
    try:
        if done.returncode:
            raise ServiceFault(f"pgbench failed with status {done.returncode}: {done.stderr.strip()[-500:]}")
        return _read(done.stdout, written, paced=rate is not None)
    finally:
        for one in written:
            one.unlink()  # some 30 bytes a commit; percentiles are kept


def _environment(segment: Segment) -> dict[str, str]:
    given = parse_dsn(segment.dsn(segment.settings.source_database, "twinpath_writer"))
    return {**os.environ, **{LIBPQ[name]: value for name, value in given.items() if name in LIBPQ}}


def _read(summary: str, logs: list[Path], *, paced: bool) -> Commits:
    """pgbench's summary, and from its log the latency (third column, us) and lateness (seventh, us) of each."""
    per_s = re.search(r"^tps = ([0-9.]+)", summary, re.MULTILINE)
    failed = re.search(r"number of failed transactions: (\d+)", summary)
    if per_s is None:
        raise ServiceFault(f"pgbench said nothing about its rate: {summary[-300:]}")
    columns = (2, 6) if paced else (2,)
    read = [np.loadtxt(one, usecols=columns, ndmin=2) for one in logs if one.stat().st_size]
    table = np.concatenate(read) if read else np.empty((0, len(columns)))
    late = table[:, 1] / 1000 if paced else np.empty(0)
    return Commits(
        committed=len(table),
        failed=int(failed[1]) if failed else 0,
        per_s=round(float(per_s[1]), 1),
        latency_ms=percentiles(list(table[:, 0] / 1000)),
        late_ms=percentiles(list(late)),
    )


def fill(segment: Segment, rows: int, rows_per_commit: int, users: int, seed: int) -> None:
    """Commit `rows` rows as a backlog, inside the server: `rows_per_commit` rows a transaction."""
    with closing(psycopg2.connect(segment.dsn(segment.settings.source_database))) as session:
        session.autocommit = True
        with session.cursor() as cursor:
            # without waiting for the disk at each commit: the backlog is what counts, not how it came to be
            cursor.execute("SET synchronous_commit = off")
            cursor.execute("SELECT setseed(%s)", [1 / (1 + seed)])
            cursor.execute(BACKLOG, [max(1, rows // rows_per_commit), users, rows_per_commit])
