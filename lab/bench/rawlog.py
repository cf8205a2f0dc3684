"""A program of the bench: a bare reader of logical decoding, the limit of every capture.

    python -m lab.bench.rawlog --dsn DSN --slot S --publication P --count 20000 --seconds 60 --out FILE

It makes the slot, reads pgoutput and stamps each row's arrival; nothing is converted or sent on. FILE is as
in arrivals.py, without an append time (0). The slot goes with the names that it was made for.
"""

import argparse
import gc
import struct
import sys
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psycopg2
from psycopg2.extras import LogicalReplicationConnection, StopReplication

POSTGRES_EPOCH_US = 946_684_800_000_000  # 2000-01-01, from which PostgreSQL counts, in us since 1970
BEGIN = struct.Struct(">cqqi")  # B, final LSN, commit time, transaction id


class Stamps:
    """Takes the messages of pgoutput; one stamp for each inserted row."""

    def __init__(self, count: int, seconds: float) -> None:
        self.rows: list[tuple[int, int, int]] = []
        self._count = count
        self._deadline = time.monotonic() + seconds
        self._committed_us = 0

    def __call__(self, message: Any) -> None:
        """One message: B opens a transaction and tells its commit time, I is a row."""
        payload: bytes = message.payload
        if payload[:1] == b"B":
            self._committed_us = BEGIN.unpack(payload[: BEGIN.size])[2] + POSTGRES_EPOCH_US
        elif payload[:1] == b"I":
            self.rows.append((self._committed_us, 0, time.time_ns() // 1000))
            if len(self.rows) >= self._count or time.monotonic() > self._deadline:
                raise StopReplication


def main() -> int:
    """Make the slot, read, stamp, write."""
    parser = argparse.ArgumentParser(prog="python -m lab.bench.rawlog")
    for name in ("--dsn", "--slot", "--publication"):
        parser.add_argument(name, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    stamps = Stamps(given.count, given.seconds)
    session = psycopg2.connect(given.dsn, connection_factory=LogicalReplicationConnection)
    with closing(session), session.cursor() as cursor:
        cursor.create_replication_slot(given.slot, output_plugin="pgoutput")
        options = {"proto_version": "1", "publication_names": given.publication}
        cursor.start_replication(slot_name=given.slot, options=options)
        gc.disable()
        given.out.with_name(f"{given.out.name}.ready").touch()
        with suppress(StopReplication):
            cursor.consume_stream(stamps)
    beside = given.out.with_name(f"{given.out.name}.tmp")
    with beside.open("wb") as out:
        np.save(out, np.array(stamps.rows, dtype=np.int64).reshape(-1, 3))
    beside.rename(given.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
