"""Is a given PostgreSQL ready for change data capture? Verdicts from facts, each with the SQL that mends it."""

import sys
from collections.abc import Iterator
from typing import Literal

import msgspec

from lab.source_facts import Publication, Role, SourceFacts, Table, Wanted

Level = Literal["ok", "missing", "advice"]
LEAST_VERSION = 150000  # server_version_num; row filters and lists of columns can be read from there on
TRIED_MAJOR = 18
COLUMNS = {
    "id": ("smallint", "integer", "bigint"),
    "user_id": ("smallint", "integer", "bigint"),
    "amount": ("numeric", "smallint", "integer", "bigint", "text", "character varying"),
    "created_at": ("timestamp with time zone", "timestamp without time zone"),
}
RESTART = "-- then restart PostgreSQL"


class Verdict(msgspec.Struct, frozen=True):
    """One thing that capture needs: what was found, what was wanted, the SQL that mends it. Advice may be left."""

    name: str
    level: Level
    found: str
    wanted: str
    mend: list[str] = []


def judge(facts: SourceFacts, wanted: Wanted) -> list[Verdict]:
    """All verdicts, in the order in which they are best mended."""
    return [
        *_server(facts, wanted),
        _role(facts, wanted),
        _rights(facts, wanted),
        *_table(facts, wanted),
        _publication(facts, wanted),
        _slot(facts, wanted),
        _encryption(facts),
    ]


def ready(verdicts: list[Verdict]) -> bool:
    """True when nothing is missing; advice does not count."""
    return all(one.level != "missing" for one in verdicts)


def quoted(name: str) -> str:
    """An SQL identifier, in quotes."""
    return '"' + name.replace('"', '""') + '"'


def _need(holds: bool, name: str, found: str, wanted: str, *mend: str) -> Verdict:
    return Verdict(name, "ok", found, wanted) if holds else Verdict(name, "missing", found, wanted, list(mend))


def _server(facts: SourceFacts, wanted: Wanted) -> Iterator[Verdict]:
    given = facts.settings
    major = facts.version // 10000
    least = LEAST_VERSION // 10000
    yield _need(
        facts.version >= LEAST_VERSION,
        "version",
        f"PostgreSQL {major}",
        f"{least} or later, tried with {TRIED_MAJOR}",
        f"-- upgrade to PostgreSQL {least} or later",
    )
    yield _need(
        not facts.standby,
        "primary",
        "a standby" if facts.standby else "a primary",
        "a primary",
        "-- give the DSN of the primary",
    )
    level = given.get("wal_level", "")
    yield _need(level == "logical", "wal_level", level, "logical", "ALTER SYSTEM SET wal_level = 'logical';", RESTART)
    ours = int(facts.slot is not None)
    reading = int(facts.slot is not None and facts.slot.active)
    yield _room(facts, "max_replication_slots", facts.slots - ours)
    yield _room(facts, "max_wal_senders", facts.walsenders - reading)
    stamped = given.get("track_commit_timestamp", "")
    yield _need(
        stamped == "on",
        "track_commit_timestamp",
        stamped,
        "on: latencies and the batch job read commit times",
        "ALTER SYSTEM SET track_commit_timestamp = on;",
        RESTART,
    )
    keep = given.get("max_slot_wal_keep_size", "")
    if keep == "-1":
        mend = ["ALTER SYSTEM SET max_slot_wal_keep_size = '10GB';", "SELECT pg_reload_conf();"]
        bound = "a bound: else a slot that nobody reads fills the disk; past the bound the slot is lost instead"
        yield Verdict("max_slot_wal_keep_size", "advice", "no bound", bound, mend)
    else:
        yield Verdict("max_slot_wal_keep_size", "ok", f"{keep} MB", "a bound")


def _room(facts: SourceFacts, name: str, taken: int) -> Verdict:
    most = int(facts.settings.get(name) or 0)
    mend = (f"ALTER SYSTEM SET {name} = {max(10, taken + 4)};", RESTART)
    return _need(most > taken, name, f"{most}, {taken} taken by others", "one free", *mend)


def _role(facts: SourceFacts, wanted: Wanted) -> Verdict:
    name, role = quoted(facts.role_name), facts.role
    needs = "LOGIN, REPLICATION"
    if role is None:
        make = f"CREATE ROLE {name} LOGIN REPLICATION; -- then \\password {facts.role_name}"
        return Verdict("role", "missing", f"no role {facts.role_name}", needs, [make])
    has = [word for word, there in (("LOGIN", role.login), ("REPLICATION", role.replication)) if there]
    found = f"{facts.role_name}: {', '.join(has) or 'neither'}"
    return _need(role.login and role.replication, "role", found, needs, f"ALTER ROLE {name} LOGIN REPLICATION;")


def _rights(facts: SourceFacts, wanted: Wanted) -> Verdict:
    name = quoted(facts.role_name)
    role = facts.role or Role(False, False, False, False, False)
    grants = {
        "CONNECT": (role.connect, f"GRANT CONNECT ON DATABASE {quoted(facts.database)} TO {name};"),
        "USAGE": (role.usage, f"GRANT USAGE ON SCHEMA {quoted(wanted.schema)} TO {name};"),
        "SELECT": (role.select, f"GRANT SELECT ON {_full(wanted)} TO {name};"),
    }
    has = [word for word, (there, _) in grants.items() if there]
    mend = [statement for there, statement in grants.values() if not there]
    return _need(not mend, "rights", f"{facts.role_name}: {', '.join(has) or 'none'}", ", ".join(grants), *mend)


def _full(wanted: Wanted) -> str:
    return f"{quoted(wanted.schema)}.{quoted(wanted.table)}"


def _table(facts: SourceFacts, wanted: Wanted) -> Iterator[Verdict]:
    name = f"{wanted.schema}.{wanted.table}"
    if facts.table is None:
        mend = "-- sql/020_transactions.sql makes public.transactions, its publication and its grants"
        yield Verdict("table", "missing", f"no {name} in {facts.database}", "a plain table", [mend])
        return
    table = facts.table
    kinds = {"r": "a plain table", "p": "a partitioned table", "v": "a view", "f": "a foreign table"}
    found = kinds.get(table.kind, f"relkind {table.kind}") + ("" if table.logged else ", not logged")
    mend = f"ALTER TABLE {_full(wanted)} SET LOGGED;" if table.kind == "r" else "-- capture a plain table"
    yield _need(table.kind == "r" and table.logged, "table", f"{name}: {found}", "a plain table, logged", mend)
    yield _columns(table, wanted)
    key = ", ".join(table.primary_key) or "none"
    make = f"ALTER TABLE {_full(wanted)} ADD PRIMARY KEY (id);"
    yield _need(table.primary_key == ["id"], "primary key", key, "id: it tells rows apart", make)
    identities = {"d": "default", "n": "nothing", "f": "full", "i": "an index"}
    yield _need(
        table.identity == "f",
        "replica identity",
        identities.get(table.identity, table.identity),
        "full: corrections need the whole row before",
        f"ALTER TABLE {_full(wanted)} REPLICA IDENTITY FULL;",
    )


def _columns(table: Table, wanted: Wanted) -> Verdict:
    wrong = []
    for column, types in COLUMNS.items():
        found = table.columns.get(column)
        if found is None:
            wrong.append(f"no {column}")
        elif not found.startswith(types) and not _is_timestamp(column, found):
            wrong.append(f"{column} {found}")
    needs = ", ".join(f"{column} {types[0]}" for column, types in COLUMNS.items())
    mend = f"-- a view cannot be captured: bring these columns into {_full(wanted)}"
    if not wrong and "merchant_id" not in table.columns:
        return Verdict("columns", "advice", "no merchant_id", "merchant_id integer: the batch job selects it", [])
    return _need(not wrong, "columns", ", ".join(wrong) or "all that rules read", needs, mend)


def _is_timestamp(column: str, found: str) -> bool:
    """`timestamp(3) with time zone` is one as well."""
    return column == "created_at" and found.startswith("timestamp(")


def _publication(facts: SourceFacts, wanted: Wanted) -> Verdict:
    name, found = quoted(wanted.publication), facts.publication
    needs = "insert, update, delete of the whole table"
    publish = "(publish = 'insert, update, delete')"
    if found is None:
        mend = f"CREATE PUBLICATION {name} FOR TABLE {_full(wanted)} WITH {publish};"
        return Verdict("publication", "missing", f"no publication {wanted.publication}", needs, [mend])
    mends = []
    if not (found.insert and found.update and found.delete):
        mends.append(f"ALTER PUBLICATION {name} SET {publish};")
    if not found.holds_table:
        mends.append(f"ALTER PUBLICATION {name} ADD TABLE {_full(wanted)};")
    elif not found.whole:
        mends.append(f"ALTER PUBLICATION {name} DROP TABLE {_full(wanted)};")
        mends.append(f"ALTER PUBLICATION {name} ADD TABLE {_full(wanted)};")
    return _need(not mends, "publication", f"{wanted.publication}: {_published(found)}", needs, *mends)


def _published(found: Publication) -> str:
    kinds = (("insert", found.insert), ("update", found.update), ("delete", found.delete))
    words = ", ".join(word for word, there in kinds if there) or "nothing"
    if not found.holds_table:
        return f"{words}, not of this table"
    return words + (" of the table" if found.whole else ", with a row filter or a list of columns")


def _slot(facts: SourceFacts, wanted: Wanted) -> Verdict:
    name, slot = "slot", facts.slot
    needs = "none yet (the connector makes it), or its own"
    if slot is None:
        return Verdict(name, "ok", f"no slot {wanted.slot}", needs)
    found = f"{wanted.slot}: {slot.plugin or 'physical'} on {slot.database or 'no database'}, WAL {slot.wal_status}"
    holds = slot.plugin == "pgoutput" and slot.database == facts.database and slot.wal_status != "lost"
    text = wanted.slot.replace("'", "''")
    drop = f"SELECT pg_drop_replication_slot('{text}'); -- changes since it was read last are not in the topic then"
    return _need(holds, name, found, needs, drop)


def _encryption(facts: SourceFacts) -> Verdict:
    offered = facts.settings.get("ssl") == "on"
    if facts.encrypted or facts.local:
        return Verdict("TLS", "ok", "in use" if facts.encrypted else "not in use, on this machine", "in use, or local")
    mend = (
        "-- sslmode=verify-full and sslrootcert in the DSN; database.sslmode in the connector"
        if offered
        else "ALTER SYSTEM SET ssl = on; -- with ssl_cert_file and ssl_key_file; then SELECT pg_reload_conf();"
    )
    return Verdict("TLS", "advice", "offered, not in use" if offered else "not offered", "in use, or local", [mend])


def show(verdicts: list[Verdict], database: str, *, as_json: bool) -> None:
    """A line for each verdict, then the SQL that mends what does not hold."""
    if as_json:
        for one in verdicts:
            sys.stdout.write(f"{msgspec.json.encode(one).decode()}\n")
        return
    for one in verdicts:
        wanted = "" if one.level == "ok" else f"; wanted {one.wanted}"
        sys.stdout.write(f"{one.level:<7} {one.name:<22} {one.found}{wanted}\n")
    mends = [statement for one in verdicts for statement in one.mend]
    if mends:
        sys.stdout.write(f"\n-- as a superuser, or the table's owner, on database {database}:\n")
        last = mends.count(RESTART)
        statements = [statement for statement in mends if statement != RESTART]
        sys.stdout.write("".join(f"{statement}\n" for statement in [*statements, *([RESTART] if last else [])]))
