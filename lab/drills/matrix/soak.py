"""F32: under a steady load the nemesis strikes for an hour; at each fence everything is held against the oracles."""

import signal
from collections.abc import Callable
from contextlib import closing
from functools import partial

from lab.drills.equality import Found
from lab.drills.faults import Struck
from lab.drills.matrix import database, links, nemesis
from lab.drills.matrix.nemesis import Blow
from lab.drills.matrix.scene import TROUBLE, Scene
from lab.drills.matrix.soaked import Fence, memory_of, watched, write, wrong_at
from lab.drills.oracles import judge
from lab.stack import connect, kafka, process
from twinpath.errors import ServiceFault, first_line

PEAK_MB = 150.0  # of an agent, as goal P12 has it
FLAT_MB_PER_HOUR = 20.0
FLAT_FROM_S = 1_800.0  # a slope over less says nothing about an hour
STORED_TWICE = (
    "SELECT count(*) - count(DISTINCT (path, rule, rule_version, user_id, tx_id, incarnation, previous_commit_lsn, "
    "row_lsn)) FROM alert_log"
)
WAL = (
    "SELECT (SELECT sum(size)::bigint FROM pg_ls_waldir()), pg_size_bytes(current_setting('max_slot_wal_keep_size'))"
    " + pg_size_bytes(current_setting('max_wal_size'))"
)


def soak(scene: Scene) -> None:
    """F32. ServiceFault ends it at the first fence that does not hold, and at a line that is not there to be struck."""
    cut: links.Links = scene.stage
    links.go_through(scene, cut)
    agents = {rule: partial(process.running, scene.home, scene.line.agents.name(rule)) for rule in scene.rules}
    with watched(agents, scene.writers.seconds) as samples:
        try:
            _Soak(scene, cut).run()
        finally:
            scene.memory = [memory_of(rule, found) for rule, found in samples.items()]
            write(samples, scene.folder / "memory.csv")
    _check_bounds(scene)


class _Soak:
    """The nemesis and the fences of one run."""

    def __init__(self, scene: Scene, cut: links.Links) -> None:
        self._scene = scene
        self._links = cut
        self._began_s = scene.writers.seconds()  # the plan's 0, later by what the fences take
        self._fresh = True  # the line had recovered when the last blow was over
        self._since: list[str] = []  # blows behind the last fence

    def run(self) -> None:
        """Blows and fences in the order of their times; a fence stops the plan's clock."""
        duration_s, seed = self._scene.line.settings.duration, self._scene.line.settings.seed
        fenced_s = nemesis.fences(duration_s)
        blows = nemesis.plan(seed, duration_s, fenced_s, self._scene.rules, links.LINKS)
        due: list[tuple[float, Callable[[], None]]] = [(one.at_s, partial(self._strike, one)) for one in blows]
        due += [(at_s, partial(self._fence, number)) for number, at_s in enumerate(fenced_s, 1)]
        self._scene.line.stack.progress.say(f"nemesis: {len(blows)} blows, {len(fenced_s)} fences, seed {seed}")
        for at_s, do in sorted(due, key=lambda one: one[0]):
            self._scene.writers.wait_until(self._began_s + at_s)
            do()

    def _strike(self, one: Blow) -> None:
        """One blow; what is not there to be struck, or does not come back, is what the soak was looking for."""
        scene = self._scene
        alone = self._fresh
        self._fresh = one.patient
        words = f"{one.kind} {one.target} {one.how or ''}".strip()
        try:
            struck = scene.blow(partial(self._struck, one), recovers=one.patient, at_once=True)
        except TROUBLE as problem:
            self._since.append(f"{scene.writers.seconds():.1f} s {words}")
            scene.check("I9", f"{words}, planned at {one.at_s:.1f} s", False, f"{problem}; {self._behind()}")
            raise
        self._since.append(f"{struck.at_s:.1f} s {words}")
        if not alone and struck.recovery_s is not None:
            struck.evidence += f"; with the blow before it, fresh again after {struck.recovery_s:.1f} s"
            struck.recovery_s = None

    def _struck(self, one: Blow) -> Struck:
        scene, faults = self._scene, self._scene.faults
        ways: dict[nemesis.Kind, Callable[[], Struck]] = {
            "agent killed": lambda: faults.kill_agent(one.target),
            "agent frozen": lambda: scene.freeze(scene.line.agents.name(one.target), one.hold_s),
            "connect killed": faults.kill_connect,
            "connect frozen": lambda: scene.freeze(connect.NAME, one.hold_s),
            "broker killed": faults.kill_broker,
            "broker frozen": lambda: scene.freeze(kafka.NAME, one.hold_s),
            "postgres killed": lambda: faults.restart_postgres(signal.SIGKILL, one.hold_s),
            "walsender ended": lambda: database.end_walsender(scene),
            "link cut": lambda: self._cut(one),
            "alert store locked": lambda: database.lock_alerts(scene, one.hold_s),
        }
        return ways[one.kind]()

    def _cut(self, one: Blow) -> Struck:
        how = one.how or "reset"
        return links.cut_link(self._scene, one.target, self._links.of[one.target], how, one.hold_s)

    def _fence(self, number: int) -> None:
        """Nobody writes; what was committed is judged by everyone, and equal to both oracles."""
        scene, one = self._scene, Fence(number, round(self._scene.writers.seconds(), 1))
        with scene.writers.fenced():
            try:
                found, unjudged = judge(scene.line, scene.oracles)
                if found is not None:
                    _look(scene, one, found)
            except TROUBLE as problem:
                found, unjudged = None, first_line(problem)
        one.took_s = round(scene.writers.seconds() - one.at_s, 1)
        one.wrong = wrong_at(found, unjudged, one.stored_twice)
        self._began_s += one.took_s
        scene.fences.append(one)
        what = f"fence {number}, at {one.at_s:.1f} s, {one.took_s:.1f} s long"
        if one.wrong:
            scene.unequal = found, unjudged
            scene.check("I1-I4", what, False, f"{'; '.join(one.wrong)}; {self._behind()}")
            raise ServiceFault(f"fence {number} does not hold: {one.wrong[0]}; {self._behind()}")
        seen = f"{one.rows} rows, {one.delivered_twice} delivered twice; lost 0, extra 0, stored twice 0, states equal"
        scene.check("I1-I4", what, True, f"{seen}; {len(self._since)} blows before it")
        self._since = []

    def _behind(self) -> str:
        """What to run again, and what came before."""
        since = ", ".join(self._since) or "none"
        return f"seed {self._scene.line.settings.seed}, blows since the fence before: {since}"


def _look(scene: Scene, one: Fence, found: Found) -> None:
    """What a fenced line has come to."""
    with closing(scene.line.alerts()) as session, session.cursor() as cursor:
        cursor.execute(STORED_TWICE)
        (one.stored_twice,) = cursor.fetchone() or (0,)
        cursor.execute(WAL)
        one.wal_bytes, one.wal_bound_bytes = cursor.fetchone() or (0, 0)
    one.kept_bytes = scene.retained_bytes()
    one.rows, one.lost, one.extra = found.committed, found.lost, found.extra
    one.delivered, one.delivered_twice = found.changes_delivered, found.delivered_twice
    one.alerts = {agent.rule: agent.alerts for agent in found.agents}


def _check_bounds(scene: Scene) -> None:
    """I7 at every fence, I8 over the whole time."""
    most = max(scene.fences, key=lambda one: one.wal_bytes)
    held = all(one.wal_bytes <= one.wal_bound_bytes for one in scene.fences)
    kept_mb = max(one.kept_bytes for one in scene.fences) / 2**20
    seen = f"{most.wal_bytes / 2**20:.0f} MB at the most, of which the slot kept {kept_mb:.0f} MB at the most"
    scene.check("I7", f"pg_wal stays below {most.wal_bound_bytes / 2**20:.0f} MB", held, seen)
    for one in scene.memory:
        seen = f"{one.peak_mb:.0f} MB at the most, {one.median_mb:.0f} at the median, in {one.lives} processes"
        scene.check("I8", f"agent {one.rule} stays below {PEAK_MB:.0f} MB", one.peak_mb < PEAK_MB, seen)
        if one.slope_mb_per_hour is not None and one.seconds >= FLAT_FROM_S:
            what = f"agent {one.rule} grows by less than {FLAT_MB_PER_HOUR:.0f} MB an hour"
            seen = f"{one.slope_mb_per_hour:.1f} MB an hour over the last 80 % of {one.seconds:.0f} s"
            scene.check("I8", what, one.slope_mb_per_hour < FLAT_MB_PER_HOUR, seen)
