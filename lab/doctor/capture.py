"""The capture: connector and tasks, who reads the slot, the topic, and whether its records can be read."""

from lab.doctor.hop import RESYNC, RESYNC_NOTE, UP, Check, Finding, broken, holds
from lab.doctor.records import config_fault, newest, unreadable
from lab.doctor.view import View
from lab.slot import read_slot
from lab.stack import connect
from twinpath.errors import ConfigurationError, first_line

NEWEST = 3  # records in a row that cannot be read: no longer a single bad row


def _connector(view: View) -> Finding:
    name = view.settings.connector
    state, tasks = view.connector
    if state == "ABSENT":
        return broken(f"Connect knows no connector {name}")
    traces = [trace for _, trace in tasks if trace]
    states = ", ".join(task for task, _ in tasks) or "none"
    evidence = f"{name} is {state}, tasks: {states}" + (f": {traces[0]}" if traces else "")
    if state == "RUNNING" and states == "RUNNING":
        return holds(evidence)
    return broken(evidence, note="first mend what the trace says" if traces else "")


def _reader(view: View) -> Finding:
    slot = view.settings.slot
    with view.cursor(view.lab_dsn("postgres")) as cursor:
        found = read_slot(cursor, slot)
    if found is None or found.reader is None:
        url = f"{view.settings.connect_url}/connectors/{view.settings.connector}/restart?includeTasks=true"
        return broken(f"nobody reads {slot}, though the connector says RUNNING", f"curl -X POST '{url}'")
    return holds(f"by walsender {found.reader}")


def _kept(view: View) -> Finding:
    """That the slot is not on its way to be lost."""
    with view.cursor(view.lab_dsn("postgres")) as cursor:
        found = read_slot(cursor, view.settings.slot)
    if found is None or not found.alarm:
        return holds(f"{found.kept} for the slot" if found else "no slot")
    if found.reader is None:
        return broken(f"nobody reads the slot, and it {found.alarm}")
    note = (
        "its reader is behind, or a transaction has been open for long: SELECT pid, xact_start, query FROM "
        "pg_stat_activity WHERE xact_start IS NOT NULL ORDER BY xact_start. A larger max_slot_wal_keep_size gives time"
    )
    return broken(f"the slot {found.alarm}", "", note)


def _topic(view: View) -> Finding:
    try:
        _, partitions = view.topic
    except ConfigurationError as error:
        note = f"its records are gone: {RESYNC_NOTE}"
        return broken(first_line(error), RESYNC, note)
    return holds(f"{view.settings.topic}: {partitions} partitions, {sum(view.ends.values())} records")


def _records(view: View) -> Finding:
    """What the connector is told to write, and what it wrote last."""
    settings = view.settings
    fault = config_fault(connect.configuration(settings), settings)
    if fault is not None:
        return broken(fault.evidence, UP, fault.note)
    last = newest(settings, view.ends, NEWEST)
    reasons = [reason for one in last if (reason := unreadable(one, settings)) is not None]
    if reasons and len(reasons) == len(last):
        evidence = f"none of the newest {len(last)} records can be read: {reasons[0]}"
        note = (
            "the connector's configuration is put back by this, but agents keep records that they could not read: "
            "twinpath dead-letters. A setting that declares the records (AMOUNT_SCALE, FLATTENED, EVENT_TIME_UNIT) "
            "has them judged anew"
        )
        return broken(evidence, UP, note)
    bad = f", {len(reasons)} of them cannot (twinpath dead-letters)" if reasons else ""
    return holds(f"the newest {len(last)} were read{bad}" if last else "none yet")


CONNECTOR = Check(
    "connector",
    "Connect does not know it, it is paused or stopped, a task is `FAILED`: the evidence has the end of its trace",
    "mend what the trace says, then `twinpath up`",
    _connector,
    needs=("connect",),
)
READER = Check(
    "slot is read",
    "the connector says RUNNING and nobody reads the slot",
    "restart the connector by the command that is printed",
    _reader,
    needs=("postgres", "connector"),
)
KEPT = Check(
    "slot's WAL",
    "more than half of what `max_slot_wal_keep_size` allows is kept for it: the slot will be lost",
    "`twinpath up`, when nobody reads it; else end the transaction that is open, or give it more room",
    _kept,
    needs=("postgres",),
)
TOPIC = Check(
    "topic",
    "deleted",
    "`twinpath resync`: its records are gone",
    _topic,
    needs=("listener",),
)
RECORDS = Check(
    "records",
    "amounts as base64 without `AMOUNT_SCALE`, flattened without `FLATTENED`, another converter or key, or the newest "
    "three cannot be read for another reason",
    "`twinpath up` puts the connector's configuration back; or declare the form: `AMOUNT_SCALE=2`, `FLATTENED=true`",
    _records,
    needs=("connector", "topic"),
)
