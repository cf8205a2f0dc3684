"""How a checkpoint becomes rows and back: epoch, offset, parts of the state, counters.

A bucket of users is kept in parts: the whole of it once, then what changed since, until what changed is
as large as the whole; so a checkpoint writes about as much as has changed.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from psycopg2.extensions import cursor as Cursor
from psycopg2.extras import execute_values

from twinpath.alert_rows import PartitionKey, StatePart
from twinpath.errors import ForeignCheckpoint, OwnershipLost

PAGE_BYTES = 262_144  # of state in one statement: encoding it holds up the other threads of an agent
WHERE = "path = %s AND rule = %s AND rule_version = %s AND topic_id = %s AND partition = %s"


def raise_epoch(
    cursor: Cursor, path: str, key: PartitionKey, partitions: int, buckets: int, setting: str = "STATE_BUCKETS"
) -> tuple[int, int | None]:
    """The new epoch and the stored offset; ForeignCheckpoint when another layout was used.

    `setting` is the name of the setting that the number of buckets comes from.
    """
    cursor.execute(
        "INSERT INTO checkpoints (path, rule, rule_version, topic_id, partition, epoch, partitions, buckets) "
        "VALUES (%s, %s, %s, %s, %s, 1, %s, %s) "
        "ON CONFLICT (path, rule, rule_version, topic_id, partition) "
        "DO UPDATE SET epoch = checkpoints.epoch + 1 RETURNING epoch, next_offset, partitions, buckets",
        [*_names(path, key), partitions, buckets],
    )
    epoch, next_offset, known_partitions, known_buckets = cursor.fetchone() or (0, None, 0, 0)
    if (known_partitions, known_buckets) != (partitions, buckets):
        raise ForeignCheckpoint(
            f"the checkpoint of {key.rule} was made with {known_partitions} partitions and {known_buckets} "
            f"buckets, found {partitions} and {buckets} ({setting}): users would be looked up in the wrong "
            "place. Put the former numbers back, or start a new rule version"
        )
    return epoch, next_offset


def read_state(cursor: Cursor, path: str, key: PartitionKey) -> tuple[dict[int, list[bytes]], Counter[str]]:
    """Parts by bucket, the oldest first, and the counters."""
    names = _names(path, key)
    states: dict[int, list[bytes]] = {}
    cursor.execute(f"SELECT bucket, state FROM state_buckets WHERE {WHERE} ORDER BY bucket, part", names)  # noqa: S608
    for bucket, state in cursor:
        states.setdefault(bucket, []).append(bytes(state))
    cursor.execute(f"SELECT name, value FROM counters WHERE {WHERE}", names)  # noqa: S608  constant
    return states, Counter(dict(cursor.fetchall()))


def move_offset(cursor: Cursor, path: str, key: PartitionKey, epoch: int, next_offset: int) -> None:
    """The offset of a checkpoint; OwnershipLost when this epoch is no longer the newest."""
    cursor.execute(
        f"UPDATE checkpoints SET next_offset = %s, updated_at = now() WHERE {WHERE} AND epoch = %s",  # noqa: S608
        [next_offset, *_names(path, key), epoch],
    )
    if cursor.rowcount != 1:
        raise OwnershipLost(
            f"partition {key.partition} of rule {key.rule}: epoch {epoch} is no longer the newest, another "
            "process owns it; this checkpoint was refused"
        )


def write_parts(cursor: Cursor, path: str, key: PartitionKey, parts: Iterable[StatePart]) -> None:
    """Parts of state, one of a bucket, each of which may be there already; a whole bucket removes its older parts."""
    names = _names(path, key)
    for page in _pages(parts):
        whole = [one.bucket for one in page if one.part == 0]
        if whole:
            cursor.execute(f"DELETE FROM state_buckets WHERE {WHERE} AND bucket = ANY(%s)", [*names, whole])  # noqa: S608
        execute_values(
            cursor,
            "INSERT INTO state_buckets (path, rule, rule_version, topic_id, partition, bucket, part, state) VALUES %s "
            "ON CONFLICT (path, rule, rule_version, topic_id, partition, bucket, part) "
            "DO UPDATE SET state = excluded.state",
            [(*names, *one) for one in page],
            page_size=len(page),
        )


def write_counters(cursor: Cursor, path: str, key: PartitionKey, counters: Mapping[str, int]) -> None:
    """What was counted up to the offset of the checkpoint."""
    write_all_counters(cursor, path, {key: counters})


def write_all_counters(cursor: Cursor, path: str, counters: Mapping[PartitionKey, Mapping[str, int]]) -> None:
    """What was counted, of several partitions in one statement."""
    rows = [(*_names(path, key), name, value) for key, counted in counters.items() for name, value in counted.items()]
    execute_values(
        cursor,
        "INSERT INTO counters (path, rule, rule_version, topic_id, partition, name, value) VALUES %s "
        "ON CONFLICT (path, rule, rule_version, topic_id, partition, name) DO UPDATE SET value = excluded.value",
        rows,
        page_size=1000,
    )


def add_counters(cursor: Cursor, path: str, key: PartitionKey, counted: Mapping[str, int]) -> None:
    """Add to what was counted before."""
    execute_values(
        cursor,
        "INSERT INTO counters (path, rule, rule_version, topic_id, partition, name, value) VALUES %s "
        "ON CONFLICT (path, rule, rule_version, topic_id, partition, name) "
        "DO UPDATE SET value = counters.value + excluded.value",
        [(*_names(path, key), name, value) for name, value in counted.items()],
    )


def _pages(parts: Iterable[StatePart]) -> Iterator[list[StatePart]]:
    page: list[StatePart] = []
    size = 0
    for one in parts:
        page.append(one)
        size += len(one.data)
        if size >= PAGE_BYTES:
            yield page
            page, size = [], 0
    if page:
        yield page


def _names(path: str, key: PartitionKey) -> list[str | int]:
    return [path, key.rule, key.rule_version, key.topic_id, key.partition]
