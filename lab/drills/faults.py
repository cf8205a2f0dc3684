"""The faults of a drill: each waits until what it breaks is at work, breaks it, and starts it again.

What is only killed is started again and nothing more: that the line goes on is its own affair.
"""

import signal
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import msgspec

from lab.drills.line import Line
from lab.drills.plan import Planned
from lab.drills.recovery import FRESH_S, Freshness, figures
from lab.drills.traces import Traces
from lab.drills.writers import Writers
from lab.measure import fence
from lab.measure.witness import Restart
from lab.stack import connect, kafka, postgres, process
from lab.stack.scope import drop_slot
from twinpath.errors import ServiceFault

AT_WORK_TIMEOUT_S = 60.0
UNCONFIRMED_S = 0.2  # of the load
SHUT_DOWN = "database system is shut down"
RECOVERED = "database system was not properly shut down; automatic recovery in progress"


class Struck(msgspec.Struct):
    """One fault that was done; `recovery_s` counts from the blow until the line was fresh again.

    `struck_s` and `back_s`: when it was struck, and when what was broken had been started again (1970 = 0); `held_s`
    is how long it was held before the line was let go, which is no part of the recovery.
    `problem` says what was still behind when the wait for recovery ended in vain.
    """

    fault: str
    at_s: float = 0.0
    acted: bool = False
    evidence: str = ""
    struck_s: float = 0.0
    back_s: float = 0.0
    held_s: float = 0.0
    recovery_s: float | None = None
    problem: str = ""


class Faults:
    """Breaks one line; each method waits until what it breaks is at work, and returns when that was started again.

    ServiceFault when what is to be broken is not at work, or does not start again.
    """

    def __init__(self, line: Line, writers: Writers) -> None:
        self._line = line
        self._writers = writers
        self._stack = line.stack
        self._home = line.stack.home
        self.traces = Traces()

    def strike(self, planned: Planned) -> Struck:
        """What a plan asks for."""
        blows: dict[str, Callable[[], Struck]] = {
            "agent": lambda: self.kill_agent(planned.fault.target),
            "connect": self.kill_connect,
            "broker": self.kill_broker,
            "postgres": lambda: self.restart_postgres(signal.SIGQUIT, planned.down_s),
            "connector": self.make_connector_anew,
        }
        return blows[planned.fault.kind]()

    def kill_agent(self, rule: str) -> Struck:
        """SIGKILL to an agent that has read something."""
        read = at_work(lambda: (figures(self._line, rule) or {}).get("records_total"), f"agent {rule} reads")
        struck = self.begun(f"agent {rule}")
        struck.evidence = f"{self.end(self._line.agents.name(rule))}, which had read {read:.0f} records"
        struck.acted = True
        self._line.agents.start(rule)
        return back(struck)

    def kill_connect(self, how: signal.Signals = signal.SIGKILL) -> Struck:
        """A signal to the worker while records arrive that the slot has not confirmed."""
        reader = at_work(lambda: self._line.slot()[1], "Connect reads the slot")
        self.wait_until_delivering()
        self._wait_until_unconfirmed()
        struck = self.begun("connect")
        struck.evidence = f"{self.end(connect.NAME, how)}, which read the slot by process {reader}"
        struck.acted = True
        self._stack.connect.start()
        self._stack.connect.wait()
        return back(struck)

    def kill_broker(self) -> Struck:
        """SIGKILL while records arrive."""
        self.wait_until_delivering()
        struck = self.begun("broker")
        struck.evidence = self.end(kafka.NAME)
        struck.acted = not process.listens(self._stack.kafka.port)
        self._stack.kafka.start()
        self._stack.kafka.wait()
        return back(struck)

    def restart_postgres(self, how: signal.Signals, down_s: float = 0.0) -> Struck:
        """SIGQUIT (`immediate`: nobody is asked, recovery follows), SIGINT (`fast`), or SIGKILL to each process."""
        log = process.log_of(self._home, postgres.NAME)
        seen_bytes = log.stat().st_size
        struck = self.begun("postgres")
        stop = self._stack.postgres.kill if how is signal.SIGKILL else None
        self.end(postgres.NAME, how, stop)
        time.sleep(down_s)
        self._stack.postgres.start()
        self._stack.postgres.wait()
        lsn = self.note_recovery()
        proof = SHUT_DOWN if how is signal.SIGINT else RECOVERED
        struck.acted = proof in log.read_bytes()[seen_bytes:].decode(errors="replace")
        struck.evidence = f"{how.name}, down for {down_s} s, recovery ended at {lsn}"
        return back(struck)

    def make_connector_anew(self) -> Struck:
        """Connector, offsets and slot go, the topic stays; the writers are fenced while there is no slot.

        They go on when the new slot is consistent, beside its snapshot.
        """
        line = self._line
        line.wait_until_captured()  # only a short rest is left for the fence
        struck = self.begun("connector")
        self._writers.gate.close()
        try:
            before = self.remove_connector()
            connect.put_connector(line.settings, connect.connector_config(self._home, line.settings))
            lsn = at_work(lambda: line.slot()[0], "the new slot is consistent")
        finally:
            self._writers.gate.open()
        struck.acted = lsn >= before
        struck.evidence = f"no slot at {before}, the new one begins at {lsn}"
        line.scope.start_connector()
        return back(struck)

    def remove_connector(self) -> int:
        """Connector, offsets and slot go, when all was captured; the next one takes a snapshot at the LSN returned."""
        line = self._line
        line.wait_until_captured()
        connect.delete_connector(line.settings)
        with closing(line.scope.open_as_lab("postgres")) as session:
            drop_slot(session, line.settings.slot)
        lsn = fence.current_lsn(line.lab())
        self.traces.snapshot_lsns.append(lsn)
        return lsn

    def begun(self, fault: str) -> Struck:
        """A fault that strikes now."""
        return Struck(fault, at_s=round(self._writers.seconds(), 3), struck_s=time.time())

    def note_recovery(self) -> int:
        """PostgreSQL was lost and is back: note where its recovery ended; returns that LSN."""
        with closing(self._stack.postgres.connect("postgres")) as session, session.cursor() as cursor:
            cursor.execute("SELECT (checkpoint_lsn - '0/0')::bigint FROM pg_control_checkpoint()")
            (lsn,) = cursor.fetchone() or (0,)
        self.traces.restarts.append(Restart(time.time_ns() // 1000, lsn))
        return int(lsn)

    def end(self, name: str, how: signal.Signals = signal.SIGKILL, stop: Callable[[], bool] | None = None) -> str:
        """End it; something that had ended by itself is a failure, not a fault. Returns which process it was."""
        found = process.running(self._home, name)
        stop = stop or (lambda: process.stop(self._home, name, how))
        if found is None or not stop():
            raise ServiceFault(f"{name} had ended by itself; {process.tail(self._home, name)}")
        return f"pid {found.pid}"

    def wait_until_delivering(self) -> None:
        """What is committed arrives in the topic: only then something is cut off in the middle."""
        with closing(Freshness(self._line)) as freshness:
            at_work(lambda: (freshness.newest_commit_s() or 0) > time.time() - FRESH_S, "changes arrived in the topic")

    def _wait_until_unconfirmed(self) -> None:
        """Enough arrived since the slot was last confirmed (once a second): it will be delivered again."""
        least = max(1, int(self._line.settings.rate * UNCONFIRMED_S))
        confirmed, known = self._line.slot()[0], -1

        def enough(freshness: Freshness) -> bool:
            nonlocal confirmed, known
            lsn, records = self._line.slot()[0], freshness.records()
            if lsn != confirmed:
                confirmed, known = lsn, records
            return known >= 0 and records >= known + least

        with closing(Freshness(self._line)) as freshness:
            at_work(lambda: enough(freshness), f"{least} records arrived that the slot has not confirmed", every_s=0.02)


def back(struck: Struck) -> Struck:
    """What was broken has been started again."""
    struck.back_s = time.time()
    return struck


def at_work(found: Callable[[], Any], what: str, every_s: float = 0.1) -> Any:
    """The first true value; ServiceFault when the deadline passes."""
    deadline = time.monotonic() + AT_WORK_TIMEOUT_S
    while True:
        value = found()
        if value:
            return value
        if time.monotonic() > deadline:
            raise ServiceFault(f"waited {AT_WORK_TIMEOUT_S:.0f} s in vain until {what}")
        time.sleep(every_s)
