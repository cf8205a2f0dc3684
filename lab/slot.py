"""The replication slot of a capture line: one reader of it for doctor, watch, line exporter, comparison and drills."""

from contextlib import closing
from typing import Any

import msgspec
import psycopg2
from psycopg2.extensions import cursor as Cursor

READ = """
SELECT active_pid, wal_status, (pg_current_wal_lsn() - restart_lsn)::bigint,
       (pg_current_wal_lsn() - confirmed_flush_lsn)::bigint, (confirmed_flush_lsn - '0/0')::bigint, safe_wal_size
FROM pg_replication_slots WHERE slot_name = %s"""
CONNECT_TIMEOUT_S = 3
STEP = 1024


class Slot(msgspec.Struct, frozen=True):
    """A slot; `reader` is the walsender's process id, `retained_bytes` the WAL kept for it, `unconfirmed_bytes` what
    lies past what its reader has confirmed, `confirmed_lsn` where that ends, `safe_bytes` the WAL that may still be
    written before the slot is in danger; None where there is none, no bound, or PostgreSQL cannot say."""

    reader: int | None
    wal_status: str
    retained_bytes: int | None
    unconfirmed_bytes: int | None
    confirmed_lsn: int | None = None
    safe_bytes: int | None = None

    @property
    def active(self) -> bool:
        """True while somebody reads it."""
        return self.reader is not None

    @property
    def lost(self) -> bool:
        """True when WAL that it needs is gone."""
        return self.wal_status == "lost"

    @property
    def kept(self) -> str:
        """What is retained, in words."""
        return "unknown WAL" if self.retained_bytes is None else size(self.retained_bytes)

    @property
    def alarm(self) -> str:
        """In words that it keeps more than half of what max_slot_wal_keep_size allows; empty when it does not."""
        if self.retained_bytes is None or self.safe_bytes is None or self.safe_bytes >= self.retained_bytes:
            return ""
        left = size(max(0, self.safe_bytes))
        return f"keeps {self.kept} of WAL ({self.wal_status}); after {left} more it is lost (max_slot_wal_keep_size)"


def read_slot(cursor: Cursor, name: str) -> Slot | None:
    """The slot of this name; None when there is none. Any role that may log in can ask."""
    cursor.execute(READ, [name])
    found: tuple[Any, ...] | None = cursor.fetchone()
    return None if found is None else Slot(*found)


def slot_at(dsn: str, name: str) -> Slot | None:
    """`read_slot` by a session of its own. Raises psycopg2.Error."""
    with closing(psycopg2.connect(dsn, connect_timeout=CONNECT_TIMEOUT_S)) as session, session.cursor() as cursor:
        return read_slot(cursor, name)


def lsn(number: int) -> str:
    """An LSN as PostgreSQL writes it: 0/1A2B3C4."""
    return f"{number >> 32:X}/{number & 0xFFFFFFFF:X}"


def size(count: int) -> str:
    """Bytes as people read them: 512 bytes, 14 kB, 3.2 MB (1024 to the next unit, as PostgreSQL counts)."""
    value, unit = float(count), "bytes"
    for name in ("kB", "MB", "GB", "TB"):
        if value < STEP:
            break
        value, unit = value / STEP, name
    return f"{value:.0f} {unit}" if unit in ("bytes", "kB") else f"{value:.1f} {unit}"
