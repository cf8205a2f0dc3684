"""The source database: table, wal_level, the role that captures it, publication, slot."""

from collections.abc import Callable

import psycopg2

from lab.check_source import Verdict
from lab.doctor.hop import RESTART, RESYNC, RESYNC_NOTE, UP, Check, Finding, broken, holds
from lab.doctor.view import CAPTURING, View
from lab.slot import read_slot
from lab.stack.offsets import stored_offset
from lab.stack.slot_gap import gap
from twinpath.errors import first_line

BY_UP = {"table", "replica identity", "role"}  # `twinpath up` makes and mends these
BY_RESTART = {"wal_level", "max_replication_slots", "max_wal_senders", "track_commit_timestamp"}
DEBEZIUM = "Debezium Streaming"  # application_name of its walsender


def _verdicts(*names: str) -> Callable[[View], Finding]:
    """The first of these verdicts that says that something is missing."""

    def look(view: View) -> Finding:
        ours = [one for one in view.verdicts if one.name in names]
        missing = next((one for one in ours if one.level == "missing"), None)
        if missing is None:
            return holds("; ".join(one.found for one in ours))
        return _lacking(view, missing)

    return look


def _lacking(view: View, found: Verdict) -> Finding:
    evidence = f"{found.name}: {found.found}; wanted {found.wanted}"
    if found.name in BY_UP:
        return broken(evidence)
    if found.name in BY_RESTART:
        return broken(evidence, RESTART)
    statements = [one for one in found.mend if not one.startswith("--")]
    if not statements:
        return broken(evidence, "", "; ".join(one.removeprefix("-- ") for one in found.mend))
    return broken(evidence, f"{view.sql(*statements)} && {UP}")


def _roles(view: View) -> Finding:
    """Attributes and rights of the role, and that the connector's password opens a session."""
    found = _verdicts("role", "rights")(view)
    if not found.ok:
        return found
    try:
        with view.cursor(view.stack.credentials.dsn(CAPTURING, view.settings.source_database)):
            return found
    except psycopg2.OperationalError as error:
        return broken(f"{CAPTURING} cannot log in: {first_line(error)}")


SLOT = """
SELECT coalesce(plugin, 'none, it is physical'), coalesce(database, 'none'), usename, application_name
FROM pg_replication_slots LEFT JOIN pg_stat_activity ON pid = active_pid WHERE slot_name = %s
"""


def _slot(view: View) -> Finding:
    """That it is ours, and begins where Connect has stored that it read to."""
    name = view.settings.slot
    with view.cursor(view.lab_dsn("postgres")) as cursor:
        cursor.execute(SLOT, [name])
        found = cursor.fetchone()
        ours = read_slot(cursor, name)
    stored = stored_offset(view.settings)
    if ours is None and stored is None:
        return broken(f"no replication slot {name}, and no connector has read one yet")
    if found is None or ours is None:
        return broken(f"no replication slot {name}", RESYNC, RESYNC_NOTE)
    if ours.lost:
        return broken(f"{name}: WAL lost, it fell behind max_slot_wal_keep_size", RESYNC, RESYNC_NOTE)
    another = _of_another(view, ours.reader, *found)
    if another is not None:
        return another
    lacking = gap(name, ours, stored)
    if lacking is not None:
        return broken(lacking.words, RESYNC, RESYNC_NOTE)
    return holds(f"{name}: WAL {ours.wal_status}, {ours.kept} kept")


def _of_another(view: View, pid: int | None, plugin: str, of_database: str, user: str, program: str) -> Finding | None:
    """A slot that somebody else made, or reads."""
    name, database = view.settings.slot, view.settings.source_database
    if (plugin, of_database) != ("pgoutput", database):
        evidence = f"{name}: plugin {plugin} on database {of_database}; wanted pgoutput on {database}"
        return broken(evidence, RESYNC, f"somebody made it anew: {RESYNC_NOTE}")
    if pid is not None and (user != CAPTURING or program != DEBEZIUM):
        evidence = f"{name} is read by another program: pid {pid}, role {user}, {program or 'no application_name'}"
        end = view.sql(f"SELECT pg_terminate_backend({pid})")
        return broken(evidence, f"{end} && {UP}", "what it has confirmed is missing from the topic; stop it for good")
    return None


FORGOTTEN = """
SELECT slot_name, wal_status, pg_current_wal_lsn() - restart_lsn, pg_size_pretty(pg_current_wal_lsn() - restart_lsn)
FROM pg_replication_slots WHERE NOT active AND slot_name <> %s AND restart_lsn IS NOT NULL ORDER BY 3 DESC LIMIT 1
"""
KEPT_BYTES = 256 * 1024 * 1024  # a quarter of what our server's max_slot_wal_keep_size lets a slot keep


def _forgotten(view: View) -> Finding:
    """Slots of others that nobody reads: they keep WAL until the disk is full, or take the room of ours."""
    with view.cursor(view.lab_dsn("postgres")) as cursor:
        cursor.execute(FORGOTTEN, [view.settings.slot])
        found = cursor.fetchone()
    if found is None or found[2] < KEPT_BYTES:
        return holds("none keeps much WAL")
    name, wal_status, _, kept = found
    statement = f"SELECT pg_drop_replication_slot('{name.replace(chr(39), chr(39) * 2)}')"
    evidence = f"nobody reads slot {name}, and it keeps {kept} of WAL ({wal_status})"
    return broken(evidence, view.sql(statement), "ask first whose slot it is: dropping it loses what it has not read")


TABLE = Check(
    "table",
    "no table `transactions`, no primary key `id`, a column of another type, replica identity not full",
    "`twinpath up`; for columns and key the SQL that is printed",
    _verdicts("version", "primary", "table", "columns", "primary key", "replica identity"),
    needs=("postgres",),
)
WAL_LEVEL = Check(
    "wal_level",
    "not `logical`, commit times are off, no free slot or walsender",
    "`twinpath down && twinpath up`",
    _verdicts(*BY_RESTART),
    needs=("table",),
)
ROLES = Check(
    "roles",
    "`twinpath_cdc` lacks LOGIN, REPLICATION or SELECT, or its password was changed",
    "`twinpath up`; for rights the SQL that is printed",
    _roles,
    needs=("table",),
)
PUBLICATION = Check(
    "publication",
    "there is none, it lacks the table or an operation, it filters",
    "the SQL that is printed, then `twinpath up`",
    _verdicts("publication"),
    needs=("table",),
)
SLOT_THERE = Check(
    "slot",
    "dropped, lost (Connect was away while more than 1 GB of WAL was written), moved on or made anew past what Connect "
    "has stored, or read by another program",
    "`twinpath resync`: changes are missing from the topic, and it says which; another program: end it",
    _slot,
    needs=("postgres", "listener"),
)
OTHER_SLOTS = Check(
    "other slots",
    "a slot that nobody reads keeps 256 MB of WAL or more",
    "find out whose it is; the SQL that is printed drops it",
    _forgotten,
    needs=("postgres",),
)
