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
from lab.drills.writers import Writers
from lab.measure import fence
from lab.measure.witness import Restart
from lab.stack import connect, kafka, postgres, process
from lab.stack.scope import drop_slot
from twinpath.errors import ServiceFault

AT_WORK_TIMEOUT_S = 60.0
UNCONFIRMED_S = 0.2  # of the load
RECOVERED = "database system was not properly shut down; automatic recovery in progress"


class Struck(msgspec.Struct):
    """One fault that was done; `recovery_s` counts from the blow until the line was fresh again.

    `struck_s` and `back_s`: when it was struck, and when what was broken had been started again (1970 = 0).
    `problem` says what was still behind when the wait for recovery ended in vain.
    """

    fault: str
    at_s: float = 0.0
    acted: bool = False
    evidence: str = ""
    struck_s: float = 0.0
    back_s: float = 0.0
    recovery_s: float | None = None
    problem: str = ""


class Faults:
    """Breaks one line."""

    def __init__(self, line: Line, writers: Writers) -> None:
        self._line = line
        self._writers = writers
        self._stack = line.stack
        self._home = line.stack.home
        self.restarts: list[Restart] = []
        self.snapshot_lsns: list[int] = []

    def strike(self, planned: Planned) -> Struck:
        """Do it; ServiceFault when what is to be broken is not at work, or does not start again."""
        blows: dict[str, Callable[[Struck, Planned], None]] = {
            "agent": self._kill_agent,
            "connect": self._kill_connect,
            "broker": self._kill_broker,
            "postgres": self._restart_postgres,
            "connector": self._make_connector_anew,
        }
        struck = Struck(planned.fault.name)
        blows[planned.fault.kind](struck, planned)
        struck.back_s = time.time()
        return struck

    def _now(self, struck: Struck) -> None:
        struck.struck_s = time.time()
        struck.at_s = round(self._writers.seconds(), 3)

    def _kill(self, struck: Struck, name: str) -> None:
        """SIGKILL; something that had ended by itself is a failure, not a fault."""
        found = process.running(self._home, name)
        self._now(struck)
        if found is None or not process.stop(self._home, name, signal.SIGKILL):
            raise ServiceFault(f"{name} had ended by itself; {process.tail(self._home, name)}")
        struck.evidence = f"pid {found.pid}"

    def _kill_agent(self, struck: Struck, planned: Planned) -> None:
        rule = planned.fault.target
        read = at_work(lambda: (figures(self._line, rule) or {}).get("records_total"), f"agent {rule} reads")
        self._kill(struck, self._line.agents.name(rule))
        struck.acted = True
        struck.evidence += f", which had read {read:.0f} records"
        self._line.agents.start(rule)

    def _kill_connect(self, struck: Struck, _: Planned) -> None:
        reader = at_work(lambda: self._line.slot()[1], "Connect reads the slot")
        self._wait_until_delivering()
        self._wait_until_unconfirmed()
        self._kill(struck, connect.NAME)
        struck.acted = True
        struck.evidence += f", which read the slot by process {reader}"
        self._stack.connect.start()
        self._stack.connect.wait()

    def _kill_broker(self, struck: Struck, _: Planned) -> None:
        self._wait_until_delivering()
        self._kill(struck, kafka.NAME)
        struck.acted = not process.listens(self._stack.kafka.port)
        self._stack.kafka.start()
        self._stack.kafka.wait()

    def _restart_postgres(self, struck: Struck, planned: Planned) -> None:
        """`immediate`: SIGQUIT; no session is asked, nothing is written, recovery follows."""
        log = process.log_of(self._home, postgres.NAME)
        seen_bytes = log.stat().st_size
        self._now(struck)
        if not process.stop(self._home, postgres.NAME, signal.SIGQUIT):
            raise ServiceFault(f"PostgreSQL had ended by itself; {process.tail(self._home, postgres.NAME)}")
        time.sleep(planned.down_s)
        self._stack.postgres.start()
        self._stack.postgres.wait()
        with closing(self._stack.postgres.connect("postgres")) as session, session.cursor() as cursor:
            cursor.execute("SELECT (checkpoint_lsn - '0/0')::bigint FROM pg_control_checkpoint()")
            (lsn,) = cursor.fetchone() or (0,)
        self.restarts.append(Restart(time.time_ns() // 1000, lsn))
        struck.acted = RECOVERED in log.read_bytes()[seen_bytes:].decode(errors="replace")
        struck.evidence = f"down for {planned.down_s} s, recovery ended at {lsn}"

    def _wait_until_delivering(self) -> None:
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

    def _make_connector_anew(self, struck: Struck, _: Planned) -> None:
        """Connector, offsets and slot go, the topic stays; the writers are fenced while there is no slot.

        They go on when the new slot is consistent, beside its snapshot.
        """
        line = self._line
        line.wait_until_captured()  # only a short rest is left for the fence
        self._now(struck)
        self._writers.gate.close()
        try:
            line.wait_until_captured()
            connect.delete_connector(line.settings)
            with closing(line.scope.open_as_lab("postgres")) as session:
                drop_slot(session, line.settings.slot)
            before = fence.current_lsn(line.lab())
            self.snapshot_lsns.append(before)
            connect.put_connector(line.settings, connect.connector_config(self._home, line.settings))
            lsn = at_work(lambda: line.slot()[0], "the new slot is consistent")
        finally:
            self._writers.gate.open()
        struck.acted = lsn >= before
        struck.evidence = f"no slot at {before}, the new one begins at {lsn}"
        line.scope.start_connector()


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
