"""F01-F03, F06, F07, F09-F11: agents, Connect and broker, killed or frozen."""

import signal
from functools import partial

import psutil

from lab.drills.faults import Struck, at_work, back
from lab.drills.matrix.scene import Scene
from lab.stack import connect, kafka, process
from twinpath import failpoints
from twinpath.errors import ServiceFault

CONNECT_FROZEN_S, BROKER_FROZEN_S = 60.0, 30.0
FAILPOINT_TIMEOUT_S = 60.0
LATEST_PASS = 8  # a failpoint strikes when it is passed for the first to this time


def agent_killed(scene: Scene) -> None:
    """F01: SIGKILL."""
    for _ in range(scene.rounds):
        rule = scene.rng.choice(scene.rules)
        scene.blow(partial(scene.faults.kill_agent, rule))


def agent_dies_after_alerts(scene: Scene) -> None:
    """F02: alerts are committed, the offset is not."""
    for _ in range(scene.rounds):
        scene.blow(lambda: _die_at(scene, "after_alerts"))


def agent_dies_around_checkpoint(scene: Scene) -> None:
    """F03: the offset is stored; or records are folded, and their alerts are not committed."""
    for number in range(scene.rounds):
        point = ("before_alerts", "after_checkpoint")[number % 2]
        scene.blow(partial(_die_at, scene, point))


def _die_at(scene: Scene, point: str) -> Struck:
    """An agent that kills itself when it comes to a point of its loop for the n-th time; then it starts as usual."""
    agents, rule = scene.line.agents, scene.rng.choice(scene.rules)
    times = scene.rng.randint(1, LATEST_PASS) if point != "after_checkpoint" else 1
    agents.stop(rule)
    agents.start(rule, further={failpoints.NAME: f"{point}:{times}", "CHECKPOINT_EVERY_S": "2"})
    name = agents.name(rule)
    found = process.running(scene.home, name)
    if found is None:
        raise ServiceFault(f"{name} did not start; {process.tail(scene.home, name)}")
    try:
        status = found.wait(FAILPOINT_TIMEOUT_S)
    except psutil.TimeoutExpired:
        raise ServiceFault(f"{name} did not come to {point} within {FAILPOINT_TIMEOUT_S:.0f} s") from None
    struck = scene.faults.begun(f"agent {rule}")
    struck.acted = status == -signal.SIGKILL
    struck.evidence = f"pid {found.pid} died at {point}, the {times}. time, status {status}"
    agents.start(rule)
    return back(struck)


def connect_killed(scene: Scene) -> None:
    """F06: SIGKILL while the slot has not confirmed what arrived."""
    for _ in range(scene.rounds):
        scene.blow(scene.faults.kill_connect)


def connect_ends_amid_bulks(scene: Scene) -> None:
    """F07: SIGKILL and clean stops in turn, while COPY, multi-row VALUES and held transactions interleave."""
    for number in range(scene.rounds):
        how = (signal.SIGKILL, signal.SIGTERM)[number % 2]
        scene.blow(partial(scene.faults.kill_connect, how))


def connect_frozen(scene: Scene) -> None:
    """F09: the slot keeps what nobody reads, and lets it go afterwards."""
    before = scene.retained_bytes()
    kept = 0

    def freeze() -> Struck:
        nonlocal kept
        struck = scene.freeze(connect.NAME, CONNECT_FROZEN_S)
        kept = scene.retained_bytes()
        return struck

    scene.blow(freeze)
    after = at_work(lambda: (left := scene.retained_bytes()) < kept and left, "the slot lets WAL go")
    scene.check("I7", "WAL grows while nobody reads, then goes", before < kept, f"{before}, {kept}, {after} bytes kept")


def broker_killed(scene: Scene) -> None:
    """F10: SIGKILL."""
    for _ in range(scene.rounds):
        scene.blow(scene.faults.kill_broker)


def broker_frozen(scene: Scene) -> None:
    """F11: SIGSTOP."""
    scene.blow(lambda: scene.freeze(kafka.NAME, BROKER_FROZEN_S))
