"""What a given PostgreSQL says of itself, its table, and the role that is to capture it. Reads only."""

from contextlib import closing
from typing import Any

import msgspec
import psycopg2
from psycopg2.extensions import cursor as Cursor

from twinpath.dsn import checked

SETTINGS = (
    "wal_level",
    "max_replication_slots",
    "max_wal_senders",
    "max_slot_wal_keep_size",
    "track_commit_timestamp",
    "ssl",
)

FILTERS_FROM = 150000  # server_version_num; before there are neither row filters nor lists of columns


class Wanted(msgspec.Struct, frozen=True):
    """Names that the connector is to use; `role` empty: the role of the DSN."""

    schema: str = "public"
    table: str = "transactions"
    publication: str = "transactions"
    slot: str = "twinpath_transactions"
    role: str = ""


class Role(msgspec.Struct, frozen=True):
    """A role's attributes and rights; `replication` also by membership in `rds_replication`, and for superusers."""

    login: bool
    replication: bool
    connect: bool
    usage: bool
    select: bool


class Table(msgspec.Struct, frozen=True):
    """`kind` is pg_class.relkind, `identity` pg_class.relreplident; `columns` maps a name to its type."""

    kind: str
    logged: bool
    identity: str
    columns: dict[str, str]
    primary_key: list[str]


class Publication(msgspec.Struct, frozen=True):
    """Which operations it publishes; whether it holds the table, whole: no row filter, no list of columns."""

    insert: bool
    update: bool
    delete: bool
    holds_table: bool
    whole: bool


class Slot(msgspec.Struct, frozen=True):
    """A replication slot that has the wanted name."""

    plugin: str
    database: str
    active: bool
    wal_status: str


class SourceFacts(msgspec.Struct, frozen=True):
    """Everything that the verdicts are made of; None: there is no such thing."""

    version: int  # server_version_num: 180006
    database: str
    standby: bool
    settings: dict[str, str]
    slots: int
    walsenders: int
    role_name: str
    role: Role | None
    table: Table | None
    publication: Publication | None
    slot: Slot | None
    encrypted: bool  # this session
    local: bool  # this session does not leave the machine


def gather(dsn: str, wanted: Wanted) -> SourceFacts:
    """Ask once, in one session. psycopg2.Error when the server cannot be reached; ConfigurationError for no DSN."""
    with closing(
        psycopg2.connect(checked("SOURCE_DSN", dsn), connect_timeout=10, application_name="twinpath check-source")
    ) as session:
        session.set_session(readonly=True)
        with session.cursor() as cursor:
            role = wanted.role or str(_row(cursor, "SELECT current_user")[0])
            standby, slots, walsenders, database = _row(
                cursor,
                "SELECT pg_is_in_recovery(), (SELECT count(*) FROM pg_replication_slots), "
                "(SELECT count(*) FROM pg_stat_get_wal_senders()), current_database()",
            )
            encrypted, local = _row(
                cursor,
                "SELECT coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false), "
                "coalesce(inet_client_addr() <<= '127.0.0.0/8' OR inet_client_addr() = '::1', true)",
            )
            cursor.execute("SELECT name, setting FROM pg_settings WHERE name = ANY(%s)", [list(SETTINGS)])
            return SourceFacts(
                version=session.server_version,
                database=database,
                standby=standby,
                settings=dict(cursor.fetchall()),
                slots=slots,
                walsenders=walsenders,
                role_name=role,
                role=_role(cursor, role, wanted),
                table=_table(cursor, wanted),
                publication=_publication(cursor, wanted, session.server_version),
                slot=_slot(cursor, wanted.slot),
                encrypted=encrypted,
                local=local,
            )


def _row(cursor: Cursor, query: str, values: list[Any] | None = None) -> tuple[Any, ...]:
    cursor.execute(query, values)
    return cursor.fetchone() or ()


def _role(cursor: Cursor, name: str, wanted: Wanted) -> Role | None:
    found = _row(
        cursor,
        "SELECT rolcanlogin, rolreplication OR rolsuper OR coalesce((SELECT pg_has_role(r.oid, m.oid, 'USAGE') "
        "FROM pg_roles m WHERE m.rolname = 'rds_replication'), false), "
        "has_database_privilege(r.oid, current_database(), 'CONNECT'), "
        "coalesce((SELECT has_schema_privilege(r.oid, n.oid, 'USAGE') FROM pg_namespace n WHERE nspname = %s), false), "
        "coalesce((SELECT has_table_privilege(r.oid, c.oid, 'SELECT') FROM pg_class c JOIN pg_namespace n "
        "ON n.oid = relnamespace WHERE nspname = %s AND relname = %s), false) FROM pg_roles r WHERE rolname = %s",
        [wanted.schema, wanted.schema, wanted.table, name],
    )
    return Role(*found) if found else None


def _table(cursor: Cursor, wanted: Wanted) -> Table | None:
    found = _row(
        cursor,
        "SELECT c.oid, relkind::text, relpersistence = 'p', relreplident::text FROM pg_class c "
        "JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = %s AND relname = %s",
        [wanted.schema, wanted.table],
    )
    if not found:
        return None
    oid, kind, logged, identity = found
    cursor.execute(
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
        "WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        [oid],
    )
    columns = dict(cursor.fetchall())
    cursor.execute(
        "SELECT attname FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey) "
        "WHERE i.indrelid = %s AND indisprimary ORDER BY array_position(i.indkey::int2[], a.attnum)",
        [oid],
    )
    return Table(kind, logged, identity, columns, [name for (name,) in cursor.fetchall()])


def _publication(cursor: Cursor, wanted: Wanted, version: int) -> Publication | None:
    whole = "t.rowfilter IS NULL" if version >= FILTERS_FROM else "true"
    found = _row(
        cursor,
        "SELECT pubinsert, pubupdate, pubdelete, t.tablename IS NOT NULL, "  # noqa: S608  text of ours
        f"coalesce({whole}, false) FROM pg_publication p LEFT JOIN pg_publication_tables t "
        "ON t.pubname = p.pubname AND schemaname = %s AND tablename = %s WHERE p.pubname = %s",
        [wanted.schema, wanted.table, wanted.publication],
    )
    if not found:
        return None
    insert, update, delete, holds, unfiltered = found
    if version >= FILTERS_FROM and holds:
        (listed,) = _row(
            cursor,
            "SELECT coalesce(bool_or(prattrs IS NOT NULL), false) FROM pg_publication_rel r "
            "JOIN pg_publication p ON p.oid = prpubid JOIN pg_class c ON c.oid = prrelid "
            "JOIN pg_namespace n ON n.oid = relnamespace WHERE pubname = %s AND nspname = %s AND relname = %s",
            [wanted.publication, wanted.schema, wanted.table],
        )
        unfiltered = unfiltered and not listed
    return Publication(insert, update, delete, holds, unfiltered)


def _slot(cursor: Cursor, name: str) -> Slot | None:
    found = _row(
        cursor,
        "SELECT coalesce(plugin, ''), coalesce(database, ''), active, coalesce(wal_status, '') "
        "FROM pg_replication_slots WHERE slot_name = %s",
        [name],
    )
    return Slot(*found) if found else None
