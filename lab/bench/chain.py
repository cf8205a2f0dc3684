"""A program of the bench: the chain without logic, the floor that an agent is held against.

    python -m lab.bench.chain --dsn DSN --every 2

It polls as an agent does, and of each batch writes one row for every `every`-th record (its transaction id,
nothing else, no index) in one transaction. No decoding but a search for the transaction id, no rule, no
state, no checkpoint: what is left is commit, capture, Kafka, one small write. It ends at SIGTERM.
"""

import argparse
import re
import signal
import sys
from contextlib import closing
from typing import Any

import psycopg2
from psycopg2.extras import execute_values

from lab.bench.arrivals import consumer
from twinpath.settings import load_settings

XID = re.compile(rb'"txId":(\d+)')
MAX_RECORDS = 5_000  # of one poll, as in the agents
FLOOR = "CREATE TABLE chain_floor (source_xid bigint NOT NULL)"
LATENCY = (
    "SELECT (extract(epoch FROM changed_at) * 1000000)::bigint, "
    "extract(epoch FROM written_at - changed_at)::float * 1000 "
    "FROM (SELECT pg_xact_commit_timestamp(source_xid::text::xid) AS changed_at, "
    "pg_xact_commit_timestamp(xmin) AS written_at FROM chain_floor) stamped ORDER BY changed_at"
)
"""(commit of the change in us since 1970, ms until the row was committed), by PostgreSQL's clock alone."""


class _Ending:
    asked = False

    def ask(self, *_: Any) -> None:
        self.asked = True


def main() -> int:
    """Poll, write, poll."""
    parser = argparse.ArgumentParser(prog="python -m lab.bench.chain")
    parser.add_argument("--dsn", required=True)
    parser.add_argument("--every", type=int, required=True)
    given = parser.parse_args()
    ending = _Ending()
    signal.signal(signal.SIGTERM, ending.ask)
    reader = consumer(load_settings())
    seen = 0
    with closing(psycopg2.connect(given.dsn)) as session:
        while not ending.asked:
            first = reader.poll(0.2)
            if first is None:
                continue
            xids = []
            for message in (first, *reader.consume(MAX_RECORDS, 0)):
                seen += 1
                if message.error() is None and seen % given.every == 0:
                    found = XID.search(message.value() or b"")
                    if found is not None:
                        xids.append((int(found[1]),))
            if xids:
                with session, session.cursor() as cursor:
                    execute_values(cursor, "INSERT INTO chain_floor (source_xid) VALUES %s", xids, page_size=len(xids))
    reader.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
