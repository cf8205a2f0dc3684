"""The operation log: every row that a load wrote, what came of it, and in which transaction.

It is what the paths are checked against, and no path reads it. One JSON object a line.
"""

from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import Literal

import msgspec

from lab.json_lines import read_lines

Outcome = Literal["committed", "rolled_back", "unknown"]
XID_EPOCH = 2**32


class LoggedRow(msgspec.Struct, frozen=True):
    """Values of a row: cents, and microseconds since 1970 UTC."""

    tx_id: int
    user_id: int
    amount_cents: int
    created_us: int
    merchant_id: int | None = None


class Operation(msgspec.Struct, frozen=True, omit_defaults=True):
    """One row-level write; `sequence` orders the writes of one transaction `xid` (32 bits, as in the log).

    `key` is the generator's number of an inserted row: it leads from a label to the row's tx_id.
    `outcome` is unknown when the server was lost during COMMIT; `pg_xact_status(full_xid)` settles it.
    """

    intended_us: int
    done_us: int
    full_xid: int
    sequence: int
    op: Literal["insert", "update", "delete"]
    outcome: Outcome
    tx_id: int
    before: LoggedRow | None = None
    after: LoggedRow | None = None
    key: int | None = None

    @property
    def xid(self) -> int:
        """The 32-bit transaction id that the log carries."""
        return self.full_xid % XID_EPOCH


class OperationLog:
    """Appends operations to a file; may be shared by threads."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab")
        self._lock = Lock()
        self._encoder = msgspec.json.Encoder()

    def write(self, operations: list[Operation]) -> None:
        """Append the operations of one transaction."""
        with self._lock:
            self._file.write(self._encoder.encode_lines(operations))

    def flush(self) -> None:
        """Have everything in the file that was written so far."""
        with self._lock:
            self._file.flush()

    def close(self) -> None:
        """Write everything out."""
        self._file.close()


def read_operations(path: Path, behind: int = 0) -> Iterator[Operation]:
    """The operations of a log `behind` the first so many, in the order in which their transactions ended."""
    return read_lines(path, Operation, "operation", behind)
