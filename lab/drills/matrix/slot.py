"""F16-F19, F31: the replication slot dropped, lost, advanced, idle beside a busy table, and wanted by two."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import httpx

from lab.doctor.hop import Hop
from lab.drills.faults import Struck, at_work, back
from lab.drills.matrix.scene import Scene
from lab.measure import fence
from lab.slot import read_slot
from lab.stack import connect, kafka, process
from lab.stack.connect import connector_state
from lab.stack.scope import drop_slot
from lab.stack.stack import Stack
from twinpath.errors import GapError, ServiceFault

UNREAD_ROWS = 1_500
CAP_MB, MAX_WAL_MB = 64, 64
FILLER_MB, FILLERS = 1, 240
BUSY_S, BUSY_ROWS = 40.0, 120  # of 3,200 bytes, ten times a second
IDLE_KEEPS_MB = 64.0
SECOND_TRIES_S = 30.0
NEIGHBOUR = (
    "CREATE TABLE IF NOT EXISTS neighbour (id bigint GENERATED ALWAYS AS IDENTITY, filler text);"
    "ALTER TABLE neighbour ALTER COLUMN filler SET STORAGE PLAIN"  # what was compressed would make no WAL
)
FILL = "INSERT INTO neighbour (filler) SELECT repeat(md5(random()::text), 100) FROM generate_series(1, %s)"


def slot_dropped(scene: Scene) -> None:
    """F16: while Connect is down."""

    def drop(struck: Struck) -> None:
        with closing(scene.line.scope.open_as_lab("postgres")) as session:
            drop_slot(session, scene.line.settings.slot)
        scene.pass_rows(UNREAD_ROWS)
        struck.acted = scene.line.slot() == (None, None)
        struck.evidence = f"dropped, and {UNREAD_ROWS} rows were committed"

    scene.blow(lambda: _while_connect_is_down(scene, "slot dropped", drop), recovers=False)
    scene.check_named(_names_it)


def slot_lost(scene: Scene) -> None:
    """F17: more WAL is written than the cap lets a slot keep, while Connect is down."""
    seen: list[tuple[float, str]] = []

    def overrun(struck: Struck) -> None:
        scene.pass_rows(UNREAD_ROWS)
        with closing(scene.line.scope.open_as_lab(scene.line.settings.source_database)) as session:
            cursor = session.cursor()
            for number in range(FILLERS):
                cursor.execute("SELECT pg_logical_emit_message(false, 'filler', repeat('x', %s))", [FILLER_MB << 20])
                if number % 8 == 0:
                    cursor.execute("CHECKPOINT")
                found = read_slot(cursor, scene.line.settings.slot)
                status = found.wal_status if found else "gone"
                if not seen or seen[-1][1] != status:
                    seen.append((round(time.time() - struck.struck_s, 1), status))
                if status == "lost":
                    break
            cursor.execute("SELECT sum(size)::bigint FROM pg_ls_waldir()")
            (wal,) = cursor.fetchone() or (0,)
        struck.acted = seen[-1][1] == "lost"
        struck.evidence = f"WAL of the slot: {seen}"
        bound = (CAP_MB + 2 * MAX_WAL_MB) << 20
        scene.check("I7", f"pg_wal stays below {bound >> 20} MB", wal < bound, f"{wal / 2**20:.0f} MB")

    scene.blow(lambda: _while_connect_is_down(scene, "slot lost", overrun), recovers=False)
    warned = [status for _, status in seen if status in ("extended", "unreserved")]
    scene.check("I7", "the slot's WAL status warns before it is lost", bool(warned), f"{seen}")
    scene.check_named(_names_it)


@contextmanager
def small_cap(stack: Stack) -> Iterator[None]:
    """F17's PostgreSQL: a slot may keep 64 MB, and nothing else keeps WAL."""
    stack.postgres.stop()
    stack.postgres.options |= {
        "max_slot_wal_keep_size": f"{CAP_MB}MB",
        "wal_keep_size": "0",
        "max_wal_size": f"{MAX_WAL_MB}MB",
        "min_wal_size": "32MB",
    }
    stack.postgres.start()
    stack.postgres.wait()
    yield


def slot_advanced(scene: Scene) -> None:
    """F18: the slot is moved past what Connect has stored, while Connect is down."""

    def advance(struck: Struck) -> None:
        before, _ = scene.line.slot()
        scene.pass_rows(UNREAD_ROWS)
        with closing(scene.line.scope.open_as_lab("postgres")) as session, session.cursor() as cursor:
            cursor.execute(
                "SELECT (end_lsn - '0/0')::bigint FROM pg_replication_slot_advance(%s, pg_current_wal_flush_lsn())",
                [scene.line.settings.slot],
            )
            (after,) = cursor.fetchone() or (0,)
        struck.acted = before is not None and after > before
        struck.evidence = f"advanced from {before} to {after}, past {UNREAD_ROWS} rows"

    scene.blow(lambda: _while_connect_is_down(scene, "slot advanced", advance), recovers=False)
    refused = process.running(scene.home, connect.NAME) is None
    scene.check("I10", "Connect is not started over it", refused, scene.struck[-1].evidence)
    scene.check_named(_names_it)


def start_without_the_slot(scene: Scene) -> None:
    """What F18 leaves: with the slot gone Connect starts, and its connector refuses by itself and can be removed."""
    with closing(scene.line.scope.open_as_lab("postgres")) as session:
        drop_slot(session, scene.line.settings.slot)
    scene.stack.connect.start()
    scene.stack.connect.wait()


def _names_it(hop: Hop) -> bool:
    """The slot itself, or a task that refuses to run; a task that is not up yet is neither."""
    return hop.name == "slot" or (hop.name == "connector" and "FAILED" in hop.evidence)


def _while_connect_is_down(scene: Scene, fault: str, do: Callable[[Struck], None]) -> Struck:
    scene.faults.wait_until_delivering()
    struck = scene.faults.begun(fault)
    scene.faults.end(connect.NAME, signal.SIGKILL)
    at_work(lambda: scene.line.slot()[1] is None, "nobody reads the slot")
    do(struck)
    try:
        scene.stack.connect.start()
    except GapError as refusal:
        struck.evidence += f"; {refusal}"
    else:
        scene.stack.connect.wait()
    return back(struck)


def idle_beside_busy(scene: Scene) -> None:
    """F19: the captured table rests while another table of its database is written; the slot must move all the same."""
    database = scene.line.settings.source_database
    with closing(scene.stack.postgres.connect(database)) as session:
        session.cursor().execute(NEIGHBOUR)

    def busy() -> Struck:
        scene.line.wait_until_captured()
        struck = scene.faults.begun("idle table, busy neighbour")
        scene.writers.gate.close()
        try:
            first = fence.current_lsn(scene.line.lab())
            confirmed, _ = scene.line.slot()
            _write_neighbour(scene, database)
            written = fence.current_lsn(scene.line.lab()) - first
            moved = at_work(lambda: _confirmed_past(scene, first + written), "the slot has confirmed all of it")
        finally:
            scene.writers.gate.open()
        struck.acted = written > IDLE_KEEPS_MB * 2**20 and confirmed is not None
        struck.evidence = f"{written >> 20} MB of WAL beside the table; confirmed from {confirmed} to {moved}"
        struck.held_s = time.time() - struck.struck_s
        return back(struck)

    scene.blow(busy)
    kept_mb = scene.retained_bytes() / 2**20
    scene.check("I7", f"the slot keeps less than {IDLE_KEEPS_MB:.0f} MB", kept_mb < IDLE_KEEPS_MB, f"{kept_mb:.0f} MB")


def _confirmed_past(scene: Scene, lsn: int) -> int | None:
    confirmed, _ = scene.line.slot()
    return confirmed if confirmed is not None and confirmed >= lsn else None


def _write_neighbour(scene: Scene, database: str) -> None:
    """For BUSY_S seconds, ten commits a second."""
    ended = time.monotonic() + BUSY_S
    with closing(scene.stack.postgres.connect(database)) as session, session.cursor() as cursor:
        while time.monotonic() < ended:
            cursor.execute(FILL, [BUSY_ROWS])
            scene.rows_elsewhere += BUSY_ROWS
            time.sleep(0.1)


def two_connectors(scene: Scene) -> None:
    """F31: a second connector wants the slot that the first one reads."""
    settings = scene.line.settings
    second = settings.model_copy(update={"topic_prefix": f"second{settings.topic_prefix}"})
    name = f"second_{settings.connector}"
    url = f"{settings.connect_url}/connectors/{name}"

    def begin() -> Struck:
        reader = at_work(lambda: scene.line.slot()[1], "Connect reads the slot")
        struck = scene.faults.begun("second connector")
        config = connect.connector_config(scene.home, second) | {
            "snapshot.mode": "no_data",
            "slot.max.retries": "1",
            "slot.retry.delay.ms": "1000",
            "errors.max.retries": "0",
        }
        httpx.put(f"{url}/config", json=config, timeout=30).raise_for_status()
        refusal = at_work(lambda: _failure(url), "the second connector is refused")
        struck.acted = "active" in refusal
        struck.evidence = refusal
        scene.pass_rows(UNREAD_ROWS)
        still = scene.line.slot()[1]
        scene.check("I10", "the first connector goes on", still == reader, f"walsender {reader}, then {still}")
        scene.check("I10", "the second is FAILED and says why", "active" in refusal, refusal)
        httpx.delete(url, timeout=30)
        kafka.delete_topics(settings, second.prefix)
        return back(struck)

    scene.blow(begin)
    state, tasks = connector_state(settings)
    scene.check("I10", "the first connector is RUNNING", state == "RUNNING" and bool(tasks), f"{state} {tasks}")


def _failure(url: str) -> str:
    """The whole trace of a task that FAILED; empty while there is none."""
    try:
        found = httpx.get(f"{url}/status", timeout=10).json()
    except (httpx.HTTPError, ValueError) as error:
        raise ServiceFault(f"Connect does not answer ({type(error).__name__})") from None
    traces = [task.get("trace", "") for task in found.get("tasks", []) if task["state"] == "FAILED"]
    lines = [line for trace in traces for line in trace.splitlines() if "Caused by" in line or "active" in line]
    return " ".join(lines) if traces else ""
