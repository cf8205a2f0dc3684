"""Is there a gap between what Connect has stored and where its slot begins? Debezium reads over one without a word.

It refuses a slot that is gone or lost by itself; one that was moved on by somebody, or dropped and made anew, it takes
as it is. So this is asked before Connect is started, and before a connector is.
"""

from collections.abc import Iterable
from contextlib import closing
from typing import Literal, NamedTuple

import psycopg2

from lab.slot import CONNECT_TIMEOUT_S, Slot, lsn, read_slot, size, slot_at
from lab.stack.offsets import Captured, Found, StoredOffset, captured, offset_of, stored_offset, stored_offsets
from twinpath.errors import RESYNC, GapError
from twinpath.settings import Settings


class SlotGap(NamedTuple):
    """Changes that no connector can read any more, and why; `words` say what was found and what was wanted."""

    kind: Literal["gone", "lost", "moved on"]
    words: str


def gap(name: str, slot: Slot | None, stored: StoredOffset | None) -> SlotGap | None:
    """What the slot of this name lacks of what comes after the stored offset; None when it lacks nothing.

    Without an offset, or within a snapshot, the connector reads the whole table anew: then nothing is lacking. The slot
    is to be read *before* the offset, which only rises.
    """
    if stored is None or stored.within_snapshot:
        return None
    wanted = f"wanted it at or before {lsn(stored.lsn)}, up to where Connect has stored what it read"
    if slot is None:
        return SlotGap("gone", f"found no replication slot {name}, {wanted}")
    if slot.lost:
        return SlotGap("lost", f"slot {name} has lost WAL that it needs (max_slot_wal_keep_size), {wanted}")
    if slot.confirmed_lsn is None or slot.confirmed_lsn <= stored.lsn:
        return None
    past = size(slot.confirmed_lsn - stored.lsn)
    return SlotGap(
        "moved on",
        f"slot {name} begins at {lsn(slot.confirmed_lsn)}, {wanted}: somebody moved it on or made it anew, and changes "
        f"within {past} of WAL were never read. Debezium would pass over them silently",
    )


def own_gap(settings: Settings, dsn: str) -> SlotGap | None:
    """That of our own slot; `dsn` of any role that may log in. Raises psycopg2.Error and ChangeLogUnavailable."""
    slot = slot_at(dsn, settings.slot)
    return gap(settings.slot, slot, stored_offset(settings))


def refuse_own(settings: Settings, dsn: str) -> None:
    """GapError when our connector would go on behind a gap."""
    found = own_gap(settings, dsn)
    if found is not None:
        raise GapError(f"{found.words}. Connector {settings.connector} was not started. {RESYNC}")


def refuse_silent(settings: Settings, dsn: str) -> None:
    """GapError when a worker that is started now would have a connector, ours or a run's, pass over changes."""
    ours = captured(settings)
    slots = _slots(dsn, ours)
    for one, words in silent(ours, slots, stored_offsets(settings, [(one.connector, one.prefix) for one in ours])):
        mend = RESYNC if one.connector == settings.connector else _of_a_run(one)
        raise GapError(f"connector {one.connector}: {words}. Connect was not started. {mend}")


def silent(connectors: Iterable[Captured], slots: dict[str, Slot | None], offsets: Found) -> list[tuple[Captured, str]]:
    """Those of these connectors that would pass over changes silently, each with what was found."""
    found = []
    for one in connectors:
        lacking = gap(one.slot, slots.get(one.slot), offset_of(offsets.get((one.connector, one.prefix))))
        if lacking is not None and lacking.kind == "moved on":
            found.append((one, lacking.words))
    return found


def _slots(dsn: str, connectors: Iterable[Captured]) -> dict[str, Slot | None]:
    with closing(psycopg2.connect(dsn, connect_timeout=CONNECT_TIMEOUT_S)) as session, session.cursor() as cursor:
        return {one.slot: read_slot(cursor, one.slot) for one in connectors}


def _of_a_run(one: Captured) -> str:
    drop = f"SELECT pg_drop_replication_slot('{one.slot}')"
    return f"It is of a measured run. Without its slot it refuses to run by itself, and the rest can start: {drop}"
