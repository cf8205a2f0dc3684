"""Reading `transactions` by JDBC, as one snapshot: what every part of one job sees is the same.

The driver exports its snapshot and holds it open; each JDBC reader enters it before it reads
(`sessionInitStatement`), so that a read in several partitions shows one state of the table.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

import psycopg2
from psycopg2.extensions import parse_dsn
from pyspark.sql import DataFrame, SparkSession

from spark_jobs.columns import ROWS, conform
from twinpath.dsn import checked
from twinpath.errors import ConfigurationError, ServiceFault, first_line

Mode = Literal["safe", "full", "naive-id", "naive-time"]
Read = Literal["plain", "partitioned"]
XIDS = 2**32
NEWER = 2**20  # transactions that a plain read, which has a snapshot of its own, may see past ours


class Snapshot(NamedTuple):
    """One state of the source: `xmin` and `xmax` are widened transaction ids (xid8); `shows` is its whole text."""

    name: str
    xmin: int
    xmax: int
    shows: str
    source: str


class Wanted(NamedTuple):
    """Which rows: for `safe` those of transactions from the horizon on, for `naive-*` those past the watermark.

    `begin` and `end` bound created_at (microseconds, half open) for naive-time, when an interval was given.
    """

    mode: Mode
    horizon: int = 0
    watermark: int | None = None
    begin: int | None = None
    end: int | None = None


@contextmanager
def snapshot(dsn: str) -> Iterator[Snapshot]:
    """An exported snapshot, valid inside of the block."""
    try:
        session = psycopg2.connect(checked("SOURCE_DSN", dsn), application_name="twinpath batch", connect_timeout=10)
    except psycopg2.Error as error:
        raise ConfigurationError(f"SOURCE_DSN: {first_line(error)}") from None
    try:
        session.set_session(isolation_level="REPEATABLE READ", readonly=True)
        with session.cursor() as cursor:
            cursor.execute(
                "SELECT pg_export_snapshot(), pg_snapshot_xmin(s)::text::bigint, pg_snapshot_xmax(s)::text::bigint, "
                "s::text, system_identifier::text || '/' || current_database(), "
                "current_setting('track_commit_timestamp') "
                "FROM pg_current_snapshot() s, pg_control_system()"
            )
            name, xmin, xmax, shows, source, stamped = cursor.fetchone() or ("", 0, 0, "", "", "off")
        if stamped != "on":
            raise ConfigurationError(
                f"{source}: track_commit_timestamp is {stamped}, wanted on (postgresql.conf, then restart): the batch "
                "path orders rows by the commit of their transaction"
            )
        yield Snapshot(name, xmin, xmax, shows, source)
    except psycopg2.Error as error:
        raise ServiceFault(f"source: {first_line(error)}") from None
    finally:
        session.close()


def visible_rows(dsn: str, held: Snapshot) -> int:
    """How many rows the snapshot shows; reads the whole table."""
    with psycopg2.connect(dsn) as session, session.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        cursor.execute("SET TRANSACTION SNAPSHOT %s", [held.name])
        cursor.execute("SELECT count(*) FROM transactions")
        (count,) = cursor.fetchone() or (0,)
    session.close()
    return int(count)


def read_rows(
    spark: SparkSession, dsn: str, held: Snapshot, wanted: Wanted, read: Read, partitions: int, fetchsize: int
) -> DataFrame:
    """The wanted rows as ROWS, in no order. `plain` is `spark.read.jdbc` as most people write it."""
    options = jdbc_options(dsn) | {"dbtable": f"({query(held, wanted)}) AS visible"}
    if read == "partitioned":
        low, high = _bounds(dsn)
        options |= {
            "fetchsize": str(fetchsize),
            "partitionColumn": "id",
            "lowerBound": str(low),
            "upperBound": str(max(high, low + 1)),
            "numPartitions": str(partitions),
            "sessionInitStatement": (
                f"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SET TRANSACTION SNAPSHOT '{held.name}'"
            ),
        }
    return conform(spark.read.format("jdbc").options(**options).load(), ROWS, "transactions")


def jdbc_options(dsn: str) -> dict[str, str]:
    """A libpq DSN as Spark's JDBC source takes it; what it says of TLS holds for JDBC too."""
    target = parse_dsn(dsn)
    url = f"jdbc:postgresql://{target.get('host', '127.0.0.1')}:{target.get('port', '5432')}/{target['dbname']}"
    login = {name: target.get(name, "") for name in ("user", "password")}
    secured: dict[str, str] = {name: target[name] for name in ("sslmode", "sslrootcert") if name in target}
    return {"url": url, "driver": "org.postgresql.Driver", **login, **secured}


def query(held: Snapshot, wanted: Wanted) -> str:
    """The SELECT that PostgreSQL runs; only numbers of ours are put into it."""
    epoch, top = divmod(held.xmax + NEWER, XIDS)
    base = epoch * XIDS
    xid = f"xmin::text::bigint + CASE WHEN xmin::text::bigint > {top} THEN {base - XIDS} ELSE {base} END"
    conditions = []
    if wanted.mode == "safe" and wanted.horizon:
        conditions.append(f"{xid} >= {wanted.horizon}")
    if wanted.mode == "naive-id" and wanted.watermark is not None:
        conditions.append(f"id > {wanted.watermark}")
    if wanted.mode == "naive-time":
        begin = wanted.watermark if wanted.begin is None else wanted.begin
        if begin is not None:
            conditions.append(f"created_at {'>' if wanted.begin is None else '>='} {_time(begin)}")
        if wanted.end is not None:
            conditions.append(f"created_at < {_time(wanted.end)}")
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return (
        "SELECT id::bigint AS id, user_id::bigint AS user_id, amount::text AS amount, "  # noqa: S608  numbers of ours
        "CASE WHEN isfinite(created_at) THEN (extract(epoch FROM created_at) * 1000000)::bigint END AS created_us, "
        f"merchant_id::bigint AS merchant_id, {xid} AS xid, "
        "(extract(epoch FROM pg_xact_commit_timestamp(xmin)) * 1000000)::bigint AS commit_us "
        f"FROM transactions{where}"
    )


def _time(us: int) -> str:
    return f"timestamptz 'epoch' + {us} * interval '1 microsecond'"


def _bounds(dsn: str) -> tuple[int, int]:
    """Lowest and highest id: only to divide the work, every row is read whatever they are."""
    with psycopg2.connect(dsn) as session, session.cursor() as cursor:
        cursor.execute("SELECT coalesce(min(id), 0), coalesce(max(id), 0) FROM transactions")
        low, high = cursor.fetchone() or (0, 0)
    session.close()
    return int(low), int(high)
