"""What the faults of a drill leave that a comparison has to know of."""

import msgspec

from lab.measure.witness import Restart


class Traces(msgspec.Struct):
    """Restarts of the server, and the LSNs of further snapshots, in the order of the log.

    Of an interrupted snapshot, by its LSN: the ids of the rows that had reached the topic. `unreadable` records were
    written into the topic.
    """

    restarts: list[Restart] = []
    snapshot_lsns: list[int] = []
    interrupted: dict[int, frozenset[int]] = {}
    unreadable: int = 0
