"""F13, F14, F26, F28: PostgreSQL killed and restarted, the table altered, the alert store locked."""

import signal
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial

import psutil

from lab.drills.faults import Struck, at_work, back
from lab.drills.matrix.scene import LOUD_S, Scene
from lab.stack import process
from twinpath.errors import ServiceFault

LOCKED_S = 60.0
LONGEST_DOWN_S = 2.0
GROWN_MB = 100.0  # of an agent's memory while it waits
ADDITIONS = (
    "ALTER TABLE transactions ADD COLUMN note text",
    "ALTER TABLE transactions ALTER COLUMN card_type TYPE varchar(40)",
    "ALTER TABLE transactions ADD COLUMN checked boolean NOT NULL DEFAULT false",
)
INSERT = "INSERT INTO transactions (user_id, card_type, merchant_id) SELECT 7, 'visa', 1 FROM generate_series(1, 20)"


def postgres_killed(scene: Scene) -> None:
    """F13: SIGKILL to the server and each of its processes."""
    for _ in range(scene.rounds):
        down_s = round(scene.rng.uniform(0, LONGEST_DOWN_S), 1)
        scene.blow(partial(scene.faults.restart_postgres, signal.SIGKILL, down_s))


def postgres_restarted(scene: Scene) -> None:
    """F14: an immediate restart, a fast one, and the connector's walsender ended, in an order by the seed."""
    blows = [
        lambda: scene.faults.restart_postgres(signal.SIGQUIT),
        lambda: scene.faults.restart_postgres(signal.SIGINT),
        lambda: end_walsender(scene),
    ]
    scene.rng.shuffle(blows)
    for one in blows:
        scene.blow(one)


def end_walsender(scene: Scene) -> Struck:
    """The process that sends the log to Connect is told to end."""
    scene.faults.wait_until_delivering()
    reader = at_work(lambda: scene.line.slot()[1], "Connect reads the slot")
    struck = scene.faults.begun("walsender")
    with closing(scene.stack.postgres.connect("postgres")) as session, session.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [reader])
        struck.acted = cursor.fetchone() == (True,)
    struck.evidence = f"process {reader} was ended"
    return back(struck)


def table_altered(scene: Scene) -> None:
    """F26: columns are added and widened; afterwards a column that the rules read is dropped, which must be loud."""
    for statement in ADDITIONS:
        scene.blow(partial(_alter, scene, statement))


def used_column_dropped(scene: Scene) -> None:
    """The end of F26, when everything was compared: rows without an amount."""
    alter(scene, "ALTER TABLE transactions DROP COLUMN amount")
    with closing(scene.line.scope.open_as_lab(scene.line.settings.source_database)) as session:
        session.cursor().execute(INSERT)
    began = time.monotonic()
    try:
        reasons = at_work(lambda: dead_letters(scene), "the rows without the column are dead letters")
    except ServiceFault as problem:
        reasons = [str(problem)]
    after_s = time.monotonic() - began
    held = after_s < LOUD_S
    scene.check("I10", "a dropped column that the rules read is loud", held, f"after {after_s:.1f} s: {reasons}")


def dead_letters(scene: Scene) -> list[str]:
    """The reasons of the dead letters of the line, each once."""
    with closing(scene.line.alerts()) as session, session.cursor() as cursor:
        cursor.execute("SELECT DISTINCT reason FROM dead_letters ORDER BY 1")
        return [reason for (reason,) in cursor.fetchall()]


def _alter(scene: Scene, statement: str) -> Struck:
    struck = scene.faults.begun("DDL")
    alter(scene, statement)
    struck.acted = True
    struck.evidence = statement
    return back(struck)


def alter(scene: Scene, statement: str) -> None:
    """One statement in the source database, by the owner of the table."""
    with closing(scene.stack.postgres.connect(scene.line.settings.source_database)) as session:
        session.cursor().execute(statement)


def alert_store_locked(scene: Scene) -> None:
    """F28: nobody reads or writes `alert_log` for a minute: agents wait, keep their group and do not grow."""
    before = {rule: _memory_mb(scene, rule) for rule in scene.rules}
    grown: dict[str, float] = {}

    def look() -> None:
        grown.update({rule: round(_memory_mb(scene, rule) - before[rule], 1) for rule in scene.rules})

    scene.blow(lambda: lock_alerts(scene, LOCKED_S, look))
    scene.check("I8", f"agents grow by less than {GROWN_MB:.0f} MB", max(grown.values()) < GROWN_MB, f"{grown} MB")
    handed_back = [rule for rule in scene.rules if "handed back" in _log(scene, rule)]
    scene.check("I8", "agents keep their place in the group", not handed_back, f"handed back: {handed_back}")


def lock_alerts(scene: Scene, seconds: float, at_the_end: Callable[[], object] = lambda: None) -> Struck:
    """Nobody reads or writes `alert_log` for so many seconds; then something may be done before it is let go."""

    def lock() -> None:
        session.cursor().execute("LOCK TABLE alert_log IN ACCESS EXCLUSIVE MODE")

    def release() -> None:
        at_the_end()
        session.rollback()

    with closing(scene.line.alerts()) as session:
        return scene.hold("alert store locked", seconds, lock, release)


def _memory_mb(scene: Scene, rule: str) -> float:
    name = scene.line.agents.name(rule)
    found = process.running(scene.home, name)
    if found is None:
        raise ServiceFault(f"{name} is not running; {process.tail(scene.home, name)}")
    try:
        return float(found.memory_info().rss / 1_000_000)
    except psutil.NoSuchProcess:
        raise ServiceFault(f"{name} ended; {process.tail(scene.home, name)}") from None


def _log(scene: Scene, rule: str) -> str:
    return process.log_of(scene.home, scene.line.agents.name(rule)).read_text()
