"""Verdicts of check-source: each lack is named with the SQL that mends it, and nothing else is."""

from typing import Any

import msgspec
import pytest

from lab.check_source import judge, quoted, ready, show
from lab.source_facts import Publication, Role, Slot, SourceFacts, Table, Wanted, gather
from twinpath.errors import ConfigurationError

COLUMNS = {
    "id": "integer",
    "user_id": "integer",
    "amount": "numeric(10,2)",
    "card_type": "character varying(20)",
    "merchant_id": "integer",
    "created_at": "timestamp with time zone",
}
GOOD = SourceFacts(
    version=180006,
    database="mydb",
    standby=False,
    settings={
        "wal_level": "logical",
        "max_replication_slots": "10",
        "max_wal_senders": "10",
        "max_slot_wal_keep_size": "1024",
        "track_commit_timestamp": "on",
        "ssl": "on",
    },
    slots=0,
    walsenders=0,
    role_name="cdc",
    role=Role(login=True, replication=True, connect=True, usage=True, select=True),
    table=Table(kind="r", logged=True, identity="f", columns=COLUMNS, primary_key=["id"]),
    publication=Publication(insert=True, update=True, delete=True, holds_table=True, whole=True),
    slot=None,
    encrypted=True,
    local=False,
)
WANTED = Wanted()
TABLE = '"public"."transactions"'
RESTART = "-- then restart PostgreSQL"


def setting(name: str, value: str) -> SourceFacts:
    return msgspec.structs.replace(GOOD, settings=GOOD.settings | {name: value})


def part(name: str, **changes: Any) -> SourceFacts:
    return msgspec.structs.replace(GOOD, **{name: msgspec.structs.replace(getattr(GOOD, name), **changes)})


def lacks(facts: SourceFacts) -> dict[str, list[str]]:
    return {one.name: one.mend for one in judge(facts, WANTED) if one.level == "missing"}


def advice(facts: SourceFacts) -> dict[str, list[str]]:
    return {one.name: one.mend for one in judge(facts, WANTED) if one.level == "advice"}


def test_a_ready_source_lacks_nothing_and_gets_no_advice() -> None:
    verdicts = judge(GOOD, WANTED)
    assert ready(verdicts)
    assert {one.level for one in verdicts} == {"ok"}
    assert [one.name for one in verdicts if one.mend] == []


@pytest.mark.parametrize(
    ("facts", "name", "mend"),
    [
        (msgspec.structs.replace(GOOD, version=140010), "version", ["-- upgrade to PostgreSQL 15 or later"]),
        (msgspec.structs.replace(GOOD, standby=True), "primary", ["-- give the DSN of the primary"]),
        (setting("wal_level", "replica"), "wal_level", ["ALTER SYSTEM SET wal_level = 'logical';", RESTART]),
        (
            msgspec.structs.replace(GOOD, slots=10),
            "max_replication_slots",
            ["ALTER SYSTEM SET max_replication_slots = 14;", RESTART],
        ),
        (
            msgspec.structs.replace(setting("max_wal_senders", "0"), walsenders=0),
            "max_wal_senders",
            ["ALTER SYSTEM SET max_wal_senders = 10;", RESTART],
        ),
        (
            setting("track_commit_timestamp", "off"),
            "track_commit_timestamp",
            ["ALTER SYSTEM SET track_commit_timestamp = on;", RESTART],
        ),
        (part("role", login=False), "role", ['ALTER ROLE "cdc" LOGIN REPLICATION;']),
        (part("role", replication=False), "role", ['ALTER ROLE "cdc" LOGIN REPLICATION;']),
        (part("role", connect=False), "rights", ['GRANT CONNECT ON DATABASE "mydb" TO "cdc";']),
        (part("role", select=False), "rights", [f'GRANT SELECT ON {TABLE} TO "cdc";']),
        (part("table", kind="p"), "table", ["-- capture a plain table"]),
        (part("table", logged=False), "table", [f"ALTER TABLE {TABLE} SET LOGGED;"]),
        (part("table", primary_key=[]), "primary key", [f"ALTER TABLE {TABLE} ADD PRIMARY KEY (id);"]),
        (part("table", identity="d"), "replica identity", [f"ALTER TABLE {TABLE} REPLICA IDENTITY FULL;"]),
        (
            msgspec.structs.replace(GOOD, publication=None),
            "publication",
            [f"CREATE PUBLICATION \"transactions\" FOR TABLE {TABLE} WITH (publish = 'insert, update, delete');"],
        ),
        (
            part("publication", delete=False),
            "publication",
            ["ALTER PUBLICATION \"transactions\" SET (publish = 'insert, update, delete');"],
        ),
        (
            part("publication", holds_table=False),
            "publication",
            [f'ALTER PUBLICATION "transactions" ADD TABLE {TABLE};'],
        ),
        (
            part("publication", whole=False),
            "publication",
            [
                f'ALTER PUBLICATION "transactions" DROP TABLE {TABLE};',
                f'ALTER PUBLICATION "transactions" ADD TABLE {TABLE};',
            ],
        ),
    ],
)
def test_one_lack_is_named_with_its_mend(facts: SourceFacts, name: str, mend: list[str]) -> None:
    assert lacks(facts) == {name: mend}
    assert not ready(judge(facts, WANTED))


def test_columns_are_wanted_by_name_and_type() -> None:
    columns = COLUMNS | {"amount": "money", "created_at": "timestamp(3) without time zone"}
    del columns["user_id"]
    (found,) = [one for one in judge(part("table", columns=columns), WANTED) if one.level == "missing"]
    assert (found.name, found.found) == ("columns", "no user_id, amount money")
    without = {name: kind for name, kind in COLUMNS.items() if name != "merchant_id"}
    assert lacks(part("table", columns=without)) == {}
    assert set(advice(part("table", columns=without))) == {"columns"}


def test_a_role_and_a_table_that_are_not_there_lack_everything_of_theirs() -> None:
    assert set(lacks(msgspec.structs.replace(GOOD, role=None))) == {"role", "rights"}
    found = lacks(msgspec.structs.replace(GOOD, role=None))
    assert found["role"] == ['CREATE ROLE "cdc" LOGIN REPLICATION; -- then \\password cdc']
    assert len(found["rights"]) == 3
    assert set(lacks(msgspec.structs.replace(GOOD, table=None))) == {"table"}


def test_a_slot_of_ours_needs_no_other_room_and_a_lost_or_foreign_one_is_named() -> None:
    ours = Slot("pgoutput", "mydb", active=True, wal_status="reserved")
    full = msgspec.structs.replace(GOOD, slot=ours, slots=10, walsenders=10)
    assert lacks(full) == {}
    for wrong in (
        msgspec.structs.replace(ours, wal_status="lost"),
        msgspec.structs.replace(ours, database="other"),
        msgspec.structs.replace(ours, plugin="test_decoding"),
    ):
        (mend,) = lacks(msgspec.structs.replace(GOOD, slot=wrong))["slot"]
        assert mend.startswith("SELECT pg_drop_replication_slot('twinpath_transactions'); -- changes")


def test_tls_and_a_bound_of_the_slot_are_advice() -> None:
    plain = msgspec.structs.replace(GOOD, encrypted=False)
    assert set(advice(plain)) == {"TLS"}
    assert "sslmode=verify-full" in advice(plain)["TLS"][0]
    assert "SET ssl = on" in advice(msgspec.structs.replace(setting("ssl", "off"), encrypted=False))["TLS"][0]
    assert advice(msgspec.structs.replace(plain, local=True)) == {}
    unbound = setting("max_slot_wal_keep_size", "-1")
    assert set(advice(unbound)) == {"max_slot_wal_keep_size"}
    assert ready(judge(unbound, WANTED))


def test_names_are_quoted() -> None:
    assert quoted('we"ird') == '"we""ird"'
    facts = msgspec.structs.replace(part("role", select=False), role_name='Re"ader')
    assert lacks(facts) == {"rights": [f'GRANT SELECT ON {TABLE} TO "Re""ader";']}


def test_what_is_shown_ends_in_sql_with_one_restart(capsys: pytest.CaptureFixture[str]) -> None:
    facts = msgspec.structs.replace(setting("wal_level", "replica"), slots=10)
    show(judge(facts, WANTED), "mydb", as_json=False)
    out = capsys.readouterr().out.splitlines()
    assert "missing wal_level              replica; wanted logical" in out
    assert out[-4:] == [
        "-- as a superuser, or the table's owner, on database mydb:",
        "ALTER SYSTEM SET wal_level = 'logical';",
        "ALTER SYSTEM SET max_replication_slots = 14;",
        RESTART,
    ]
    show(judge(facts, WANTED), "mydb", as_json=True)
    lines = [msgspec.json.decode(line) for line in capsys.readouterr().out.splitlines()]
    assert {line["name"]: line["level"] for line in lines}["wal_level"] == "missing"
    assert len(lines) == len(judge(facts, WANTED))


def test_what_is_no_dsn_is_refused_without_being_repeated() -> None:
    with pytest.raises(ConfigurationError, match="SOURCE_DSN is no DSN") as refused:
        gather("host=db hunter2", WANTED)
    assert "hunter2" not in str(refused.value)
