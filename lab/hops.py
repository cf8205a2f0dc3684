"""Walk the hops from the table to the agents: each with a verdict, its evidence and its mend."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial

import httpx
import msgspec
import psycopg2
from kafka.errors import KafkaError
from psycopg2.extensions import cursor as Cursor

from lab import hops_beside
from lab.hop import Hop
from lab.measure.fence import end_offsets
from lab.stack import connect, kafka, process
from lab.stack.airflow import COMPONENTS
from lab.stack.stack import Stack
from twinpath.detection.rules import RULES
from twinpath.errors import TwinpathError, first_line

Check = Callable[[Stack], Hop]


def walk(stack: Stack, *, stop_at_first: bool = False) -> list[Hop]:
    """All hops in the order in which a change passes them."""
    found: list[Hop] = []
    for hop in _hops(stack):
        found.append(hop)
        if stop_at_first and not hop.ok:
            break
    return found


def first_broken(found: list[Hop]) -> Hop | None:
    """The first hop that does not hold."""
    return next((hop for hop in found if not hop.ok), None)


def _hops(stack: Stack) -> Iterator[Hop]:
    """Services first, for nothing else can hold without them; then the way of a change."""
    services = [_service(stack, name) for name in ("postgres", "kafka", "connect")]
    yield from services
    postgres, broker, worker = (hop.ok for hop in services)
    if postgres:
        yield from _database_hops(stack)
    else:
        yield _unseen("table to slot", "postgres")
    yield _guarded("connector", _connector, stack) if worker else _unseen("connector", "connect")
    if postgres and worker:
        yield _guarded("slot is read", _reader, stack)
    yield _guarded("topic", _topic, stack) if broker else _unseen("topic", "kafka")
    for rule in RULES:
        yield _guarded(f"agent {rule}", partial(_agent, rule), stack)
    if stack.spark_stream().started():
        yield _guarded("spark stream", hops_beside.spark_stream, stack)
    if stack.airflow.started():
        yield from (_service(stack, name, "twinpath up --with airflow") for name in COMPONENTS)
        yield _guarded("airflow health", hops_beside.airflow_health, stack)
        yield _guarded("airflow DAGs", hops_beside.airflow_dags, stack)


def _service(stack: Stack, name: str, mend: str = "twinpath up") -> Hop:
    found = process.running(stack.home, name)
    if found is not None:
        return Hop(name, True, f"pid {found.pid}")
    known = process.log_of(stack.home, name).exists()
    evidence = f"its process is gone; {process.tail(stack.home, name, 3)}" if known else "was never started"
    return Hop(name, False, evidence, mend)


def _unseen(name: str, service: str) -> Hop:
    return Hop(name, False, f"cannot be seen: {service} does not run", "twinpath up")


def _guarded(name: str, check: Check, stack: Stack) -> Hop:
    """A check that cannot be made is a hop that does not hold."""
    try:
        return check(stack)
    except (TwinpathError, KafkaError, psycopg2.Error, httpx.HTTPError, OSError) as error:
        return Hop(name, False, first_line(error), "twinpath up")


def _database_hops(stack: Stack) -> Iterator[Hop]:
    """wal_level, table, publication and slot, as the lab's role sees them."""
    settings = stack.settings
    try:
        dsn = stack.credentials.dsn("twinpath_lab", settings.source_database)
        with closing(psycopg2.connect(dsn, connect_timeout=5)) as session, session.cursor() as cursor:
            yield _wal_level(cursor)
            yield _table(cursor, settings.source_database)
            yield _publication(cursor, settings.publication)
            yield _slot(cursor, settings.slot)
    except psycopg2.Error as error:
        first = first_line(error)
        yield Hop("database", False, first, "twinpath up")


def _wal_level(cursor: Cursor) -> Hop:
    cursor.execute("SHOW wal_level")
    (level,) = cursor.fetchone() or ("",)
    mend = "ALTER SYSTEM SET wal_level = 'logical', then restart PostgreSQL"
    return Hop("wal_level", level == "logical", f"{level}, wanted logical", mend)


def _table(cursor: Cursor, database: str) -> Hop:
    cursor.execute("SELECT relreplident FROM pg_class WHERE oid = to_regclass('public.transactions')")
    found = cursor.fetchone()
    if found is None:
        return Hop("table", False, f"no table public.transactions in {database}", "twinpath up")
    mend = "ALTER TABLE public.transactions REPLICA IDENTITY FULL"
    return Hop("table", found == ("f",), f"public.transactions, replica identity {found[0]}, wanted f (full)", mend)


def _publication(cursor: Cursor, publication: str) -> Hop:
    cursor.execute(
        "SELECT p.pubinsert, p.pubupdate, p.pubdelete, t.tablename IS NOT NULL FROM pg_publication p "
        "LEFT JOIN pg_publication_tables t ON t.pubname = p.pubname AND t.tablename = 'transactions' "
        "WHERE p.pubname = %s",
        [publication],
    )
    found = cursor.fetchone()
    if found is None:
        mend = f"CREATE PUBLICATION {publication} FOR TABLE public.transactions, or twinpath up"
        return Hop("publication", False, f"no publication {publication}", mend)
    if not found[3]:
        mend = f"ALTER PUBLICATION {publication} ADD TABLE public.transactions"
        return Hop("publication", False, f"{publication} does not publish public.transactions", mend)
    mend = f"ALTER PUBLICATION {publication} SET (publish = 'insert, update, delete')"
    return Hop("publication", all(found[:3]), f"{publication}: insert, update, delete = {found[:3]}", mend)


def _slot(cursor: Cursor, slot: str) -> Hop:
    cursor.execute(
        "SELECT wal_status, pg_size_pretty(pg_current_wal_lsn() - restart_lsn) "
        "FROM pg_replication_slots WHERE slot_name = %s",
        [slot],
    )
    found = cursor.fetchone()
    if found is None:
        mend = "changes since it was dropped are not in the topic; start afresh: twinpath down --purge, twinpath up"
        return Hop("slot", False, f"no replication slot {slot}", mend)
    wal_status, kept = found
    mend = "it fell behind max_slot_wal_keep_size; start afresh: twinpath down --purge, twinpath up"
    return Hop("slot", wal_status != "lost", f"{slot}: WAL {wal_status}, {kept} kept", mend)


def _reader(stack: Stack) -> Hop:
    slot = stack.settings.slot
    dsn = stack.credentials.dsn("twinpath_lab", "postgres")
    with closing(psycopg2.connect(dsn, connect_timeout=5)) as session, session.cursor() as cursor:
        cursor.execute("SELECT active_pid FROM pg_replication_slots WHERE slot_name = %s", [slot])
        (reader,) = cursor.fetchone() or (None,)
    evidence = f"by walsender {reader}" if reader else f"nobody reads {slot}"
    mend = f"restart the connector: curl -X POST '{_restart_url(stack)}'"
    return Hop("slot is read", reader is not None, evidence, mend)


def _restart_url(stack: Stack) -> str:
    settings = stack.settings
    return f"{settings.connect_url}/connectors/{settings.connector}/restart?includeTasks=true"


def _connector(stack: Stack) -> Hop:
    settings = stack.settings
    state, tasks = connect.connector_state(settings)
    if state == "ABSENT":
        return Hop("connector", False, f"Connect knows no connector {settings.connector}", "twinpath up")
    states = [task for task, _ in tasks]
    traces = [trace for _, trace in tasks if trace]
    evidence = f"{settings.connector} is {state}, tasks {states}" + (f": {traces[0]}" if traces else "")
    mend = f"curl -X POST '{_restart_url(stack)}'"
    return Hop("connector", state == "RUNNING" and states == ["RUNNING"], evidence, mend)


def _topic(stack: Stack) -> Hop:
    settings = stack.settings
    with kafka.admin(settings) as client:
        if settings.topic not in client.list_topics():
            return Hop("topic", False, f"Kafka has no topic {settings.topic}", "twinpath up")
    ends = end_offsets(settings)
    return Hop("topic", True, f"{settings.topic}: {len(ends)} partitions, {sum(ends.values())} records")


def _agent(rule: str, stack: Stack) -> Hop:
    agents = stack.agents()
    name = f"agent {rule}"
    if not agents.running(rule):
        return Hop(name, False, f"does not run; {process.tail(stack.home, agents.name(rule), 3)}", "twinpath up")
    if not agents.healthy(rule):
        log = process.log_of(stack.home, agents.name(rule))
        return Hop(name, False, f"runs, but {agents.url(rule)}/healthz is not ok", f"read {log}")
    standing = stack.rebuilder().standing(rule)
    version = standing.active.rule_version if standing.active else standing.wanted.version
    dsn = stack.credentials.alerts_dsn(stack.settings, "twinpath_lab")
    with closing(psycopg2.connect(dsn)) as session, session.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(sum(next_offset), 0)::bigint FROM checkpoints "
            "WHERE path = 'agent' AND rule = %s AND rule_version = %s",
            [rule, version],
        )
        (judged,) = cursor.fetchone() or (0,)
    lag = sum(end_offsets(stack.settings).values()) - judged
    group = stack.settings.group(rule)
    due = f"; {standing.changed}: twinpath up begins the other version" if standing.changed else ""
    return Hop(name, True, f"group {group}, version {version}, {max(0, lag)} records past its checkpoint{due}")


def show(found: list[Hop], *, as_json: bool) -> None:
    """A line for each hop."""
    for hop in found:
        if as_json:
            sys.stdout.write(f"{msgspec.json.encode(hop).decode()}\n")
        else:
            sys.stdout.write(f"{'ok  ' if hop.ok else 'FAIL'} {hop.name:<16} {hop.evidence}\n")
            if not hop.ok:
                sys.stdout.write(f"     {'':<16} mend: {hop.mend}\n")


def show_diagnosis(broken: Hop | None, *, as_json: bool) -> None:
    """The first broken hop, or that there is none."""
    if as_json:
        sys.stdout.write(f"{json.dumps(None if broken is None else msgspec.structs.asdict(broken))}\n")
    elif broken is None:
        sys.stdout.write("every hop from the table to the agents holds\n")
    else:
        sys.stdout.write(f"first broken hop: {broken.name}\nevidence: {broken.evidence}\nmend: {broken.mend}\n")
