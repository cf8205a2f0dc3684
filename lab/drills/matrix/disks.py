"""F12, F15: the disk of the broker or of PostgreSQL is full for a while; a tmpfs of a set size is the disk."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.drills.faults import Struck, at_work, back
from lab.drills.matrix.scene import LOUD_S, Scene
from lab.stack import kafka, postgres, process
from lab.stack.stack import Stack
from twinpath.errors import EnvironmentFault, ServiceFault

BROKER_MB, POSTGRES_MB = 400, 2_000
LEFT_BYTES = 256 * 1024
FULL_S = 30.0
FILLER = "filler"
FULL = ("No space left on device", "unsafe memory access")  # the latter: a mapped index had no page to grow into


@contextmanager
def small_disk(folder: Path, size_mb: int, stop: Callable[[], object], start: Callable[[], None]) -> Iterator[None]:
    """What is in a folder goes on a disk of its own, mounted there, while its service is stopped."""
    if os.geteuid() != 0:
        raise EnvironmentFault("F12 and F15 mount a disk of a set size: run them as root, or leave them out")
    stop()
    aside = folder.with_name(f"{folder.name}.aside")
    folder.rename(aside)
    folder.mkdir(mode=0o700)
    _run("mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", str(folder))
    try:
        _run("cp", "-a", f"{aside}/.", str(folder))
        shutil.copystat(aside, folder)
        os.chown(folder, aside.stat().st_uid, aside.stat().st_gid)
        shutil.rmtree(aside)
        start()
        yield
    finally:
        stop()
        _run("umount", str(folder))


@contextmanager
def small_broker_disk(stack: Stack) -> Iterator[None]:
    """F12's broker."""

    def start() -> None:
        stack.kafka.start()
        stack.kafka.wait()

    with small_disk(stack.kafka.log, BROKER_MB, stack.kafka.stop, start):
        yield


@contextmanager
def small_postgres_disk(stack: Stack) -> Iterator[None]:
    """F15's PostgreSQL."""

    def start() -> None:
        stack.postgres.start()
        stack.postgres.wait()

    with small_disk(stack.postgres.data, POSTGRES_MB, stack.postgres.stop, start):
        yield


def broker_disk_full(scene: Scene) -> None:
    """F12: the broker must end or say so; when there is space again and it is started, nothing is missing."""
    folder = scene.stack.kafka.log

    def fill() -> Struck:
        scene.faults.wait_until_delivering()
        struck = scene.faults.begun("broker's disk full")
        _fill(folder)
        try:
            ended = at_work(lambda: process.running(scene.home, kafka.NAME) is None, "the broker gives up")
            loud_s = time.time() - struck.struck_s
            scene.check(
                "I10", f"loud within {LOUD_S:.0f} s", ended and loud_s < LOUD_S, f"it ended after {loud_s:.1f} s"
            )
            scene.check_named(lambda hop: hop.name == "kafka")
        finally:
            (folder / FILLER).unlink()
        said = process.log_of(scene.home, kafka.NAME).read_text(errors="replace")
        words = next((one for one in FULL if one in said), "")
        struck.acted = bool(words)
        struck.evidence = f"the broker's log says: {words}"
        struck.held_s = time.time() - struck.struck_s
        scene.stack.kafka.start()
        scene.stack.kafka.wait()
        return back(struck)

    scene.blow(fill)


def postgres_disk_full(scene: Scene) -> None:
    """F15: commits are refused while there is no space; none that was answered is lost."""
    folder = scene.stack.postgres.data

    def fill() -> Struck:
        struck = scene.faults.begun("PostgreSQL's disk full")
        log = process.log_of(scene.home, postgres.NAME)
        seen_bytes = log.stat().st_size
        _fill(folder)
        try:
            scene.pass_time(FULL_S)
        finally:
            (folder / FILLER).unlink()
        said = log.read_bytes()[seen_bytes:].decode(errors="replace")
        struck.acted = "No space left on device" in said
        loud = [line for line in said.splitlines() if "No space left" in line]
        struck.evidence = f"{len(loud)} lines of its log say so" + (f": {loud[0][-160:]}" if loud else "")
        refused = scene.writers.counts["refused_for_a_full_disk"] + scene.writers.counts["lost_sessions"]
        scene.check("I10", "transactions are refused, not silently dropped", refused > 0, f"{refused} were refused")
        struck.held_s = time.time() - struck.struck_s
        if process.running(scene.home, postgres.NAME) is None:
            scene.stack.postgres.start()
        scene.stack.postgres.wait()
        scene.faults.note_recovery()
        return back(struck)

    scene.blow(fill)


def _fill(folder: Path) -> None:
    """A file that leaves next to nothing of a disk."""
    free = os.statvfs(folder)
    size = free.f_bavail * free.f_frsize - LEFT_BYTES
    with (folder / FILLER).open("wb") as out:
        os.posix_fallocate(out.fileno(), 0, size)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ServiceFault(f"{' '.join(command)} failed: {done.stderr.strip()}")
