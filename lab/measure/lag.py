"""How far behind everything is, by the second: WAL that the slot keeps, records that a path has not folded yet."""

import csv
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import msgspec
import psycopg2
from psycopg2.extensions import connection

from lab.scrape import scrape
from lab.slot import read_slot

EVERY_S, TIMEOUT_S = 1.0, 0.5
FILE = "timeseries.csv"
FIXED = ("second", "wal_kept_bytes", "wal_unconfirmed_bytes")
RECORDS, SECONDS = "lag_records", "lag_seconds"
Urls = Callable[[], Mapping[str, Sequence[str]]]
"""The /metrics pages of each log-fed path."""


class Behind(msgspec.Struct, frozen=True):
    """One look: seconds since the load began; bytes of WAL behind the slot's restart and confirmed positions; records
    in the topic that a path has not folded, and the age of its last one. None where nobody answered."""

    second: float
    wal_kept_bytes: int | None
    wal_unconfirmed_bytes: int | None
    lag_records: dict[str, float | None]
    lag_seconds: dict[str, float | None]


@contextmanager
def watched(dsn: str, slot: str, urls: Urls, file: Path) -> Iterator[None]:
    """Look every second while the block runs, then write the file; a server that is away leaves its cells empty."""
    over = threading.Event()
    found: list[Behind] = []
    thread = threading.Thread(target=_watch, args=(dsn, slot, urls, found, over), name="lag", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        write(found, file)


def _watch(dsn: str, slot: str, urls: Urls, found: list[Behind], over: threading.Event) -> None:
    began = time.monotonic()
    session: connection | None = None
    while True:
        at_s = time.monotonic() - began
        try:
            session = session or _open(dsn)
            kept, unconfirmed = _slot(session, slot)
        except psycopg2.Error:
            session, kept, unconfirmed = None, None, None
        lags = {path: [_lag(url) for url in every] for path, every in _pages(urls).items()}
        found.append(
            Behind(
                round(at_s, 3),
                kept,
                unconfirmed,
                {path: _most([records for records, _ in every]) for path, every in lags.items()},
                {path: _most([seconds for _, seconds in every]) for path, every in lags.items()},
            )
        )
        if over.wait(max(0.0, EVERY_S - (time.monotonic() - began - at_s))):
            break
    if session is not None:
        session.close()


def _open(dsn: str) -> connection:
    session = psycopg2.connect(dsn, connect_timeout=3)
    session.autocommit = True
    return session


def _slot(session: connection, slot: str) -> tuple[int | None, int | None]:
    with closing(session.cursor()) as cursor:
        found = read_slot(cursor, slot)
    return (found.retained_bytes, found.unconfirmed_bytes) if found else (None, None)


def _pages(urls: Urls) -> Mapping[str, Sequence[str]]:
    """None while a path that ends or starts has no port."""
    try:
        return urls()
    except (OSError, ValueError):
        return {}


def _lag(url: str) -> tuple[float | None, float | None]:
    """The furthest behind of what a page tells of."""
    try:
        page = scrape(url, TIMEOUT_S)
    except httpx.HTTPError:
        return None, None
    ours = [
        [value for name, value in page.items() if name.partition("{")[0].endswith(kind)] for kind in (RECORDS, SECONDS)
    ]
    return max(ours[0], default=None), max(ours[1], default=None)


def _most(values: Sequence[float | None]) -> float | None:
    """The greatest; None when one of them is unknown: that one may be further behind."""
    known = [one for one in values if one is not None]
    return max(known) if known and len(known) == len(values) else None


def write(found: Sequence[Behind], file: Path) -> None:
    """One line for each look."""
    paths = list(dict.fromkeys(path for one in found for path in one.lag_records))
    with file.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow([*FIXED, *(f"{path} {kind}" for path in paths for kind in (RECORDS, SECONDS))])
        for one in found:
            lags = [by_path.get(path) for path in paths for by_path in (one.lag_records, one.lag_seconds)]
            writer.writerow([one.second, one.wal_kept_bytes, one.wal_unconfirmed_bytes, *lags])


def read(file: Path) -> list[Behind]:
    """What `write` wrote; ValueError or KeyError for anything else."""
    with file.open(newline="") as lines:
        rows = csv.DictReader(lines)
        paths = [name.removesuffix(f" {RECORDS}") for name in rows.fieldnames or () if name.endswith(f" {RECORDS}")]
        return [
            Behind(
                float(row["second"]),
                _whole(row["wal_kept_bytes"]),
                _whole(row["wal_unconfirmed_bytes"]),
                {path: _number(row[f"{path} {RECORDS}"]) for path in paths},
                {path: _number(row[f"{path} {SECONDS}"]) for path in paths},
            )
            for row in rows
        ]


def _whole(cell: str) -> int | None:
    return int(cell) if cell else None


def _number(cell: str) -> float | None:
    return float(cell) if cell else None
