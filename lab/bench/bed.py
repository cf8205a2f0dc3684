"""Where a bench works: a stack, and for each measured piece fresh names that are removed when it ends."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2.extensions import make_dsn, parse_dsn

from lab.bench import cpu
from lab.console import Progress
from lab.measure import fence
from lab.runs import new_run
from lab.stack import connect, process
from lab.stack.agents import Agents
from lab.stack.scope import Scope
from lab.stack.stack import Stack
from twinpath.detection.rules import RULES, Rule
from twinpath.errors import ServiceFault
from twinpath.settings import ROOT, Settings, run_settings

CONNECTOR_TIMEOUT_S = 60.0
EVERY_S = 0.02


class Segment:
    """One measured piece of a bench, with its own databases, topic, slot, connector, groups and alert store."""

    def __init__(self, stack: Stack, settings: Settings) -> None:
        self.stack = stack
        self.settings = settings
        self.scope: Scope = stack.scope(settings)
        self.agents: Agents = stack.agents(settings)
        self._programs: list[str] = []

    def dsn(self, database: str, role: str = "twinpath_lab") -> str:
        """A DSN on the stack's PostgreSQL, password included."""
        return self.stack.credentials.dsn(role, database)

    def open_dsn(self, database: str, role: str = "twinpath_lab") -> tuple[str, dict[str, str]]:
        """A DSN that may stand on a command line, and the environment with its password."""
        given = parse_dsn(self.dsn(database, role))
        password = given.pop("password")
        return make_dsn(**given), {"PGPASSWORD": password}

    def rows(self, query: str, parameters: Any = None, database: str | None = None) -> list[tuple[Any, ...]]:
        """Run one statement as the lab's role (alert store by default), autocommit; its rows, if it has any."""
        with closing(psycopg2.connect(self.dsn(database or self.settings.alerts_database))) as session:
            session.autocommit = True
            with session.cursor() as cursor:
                cursor.execute(query, parameters)
                return cursor.fetchall() if cursor.description else []

    def create(self) -> None:
        """Databases, table, publication, alert store and topic; then a CHECKPOINT, so that none falls due soon."""
        self.scope.create_databases(self.scope.open_as_lab)
        self.scope.create_topic()
        self.checkpoint()

    def checkpoint(self) -> None:
        """PostgreSQL's CHECKPOINT."""
        self.rows("CHECKPOINT", database="postgres")

    def start_connector(self, config: dict[str, str]) -> None:
        """Put this connector and wait until its task runs and its slot is read."""
        connect.put_connector(self.settings, config)
        connect.wait_for_tasks(self.settings)
        self.scope.wait_for_slot()

    def walsender(self) -> cpu.Read:
        """CPU of the process that serves our slot; waits until one does."""
        found: cpu.Read = self.wait(self.walsender_now, "the slot is read")
        return found

    def walsender_now(self) -> cpu.Read | None:
        """CPU of the process that serves our slot; None when none does."""
        query = "SELECT active_pid FROM pg_replication_slots WHERE slot_name = %s AND active_pid IS NOT NULL"
        found = self.rows(query, [self.settings.slot], "postgres")
        return cpu.backend(found[0][0]) if found else None

    def arrived(self) -> int:
        """Records in the topic."""
        return sum(fence.end_offsets(self.settings).values())

    def wait_until_judged(self, rules: Iterable[Rule], timeout_s: float, dsn: str | None = None) -> None:
        """Wait until the agents of these rules have checkpointed all that is in the topic; `dsn` of another store."""
        ends = fence.end_offsets(self.settings)
        names = [(rule.name, rule.version) for rule in rules]
        dsn = dsn or self.dsn(self.settings.alerts_database)
        fence.wait_for_checkpoints(dsn, self.scope.topic_id(), names, ends, timeout_s)

    def wait(self, condition: Callable[[], Any], what: str, timeout_s: float = CONNECTOR_TIMEOUT_S) -> Any:
        """The first true value of `condition`; ServiceFault when the deadline passes."""
        deadline = time.monotonic() + timeout_s
        while not (value := condition()):
            if time.monotonic() > deadline:
                raise ServiceFault(f"waited {timeout_s:.0f} s in vain until {what}")
            time.sleep(EVERY_S)
        return value

    def start(self, name: str, module: str, arguments: Sequence[str], env: Mapping[str, str] | None = None) -> str:
        """Start one of our programs beside us; returns the name that it runs under."""
        environment = {**self.settings.environment(), "PYTHONPATH": str(ROOT), **(env or {})}
        return self.run(name, [sys.executable, "-m", module, *arguments], environment)

    def run(self, name: str, command: list[str], env: Mapping[str, str]) -> str:
        """Start any program beside us; returns the name that it runs under."""
        name = f"bench-{name}{self.settings.suffix}"
        process.start(self.stack.home, name, command, env)
        self._programs.append(name)
        return name

    def wait_file(self, name: str, path: Path, timeout_s: float = CONNECTOR_TIMEOUT_S) -> None:
        """Wait until a program has written its file; ServiceFault with the end of its log when it ends before."""

        def written() -> bool:
            ended = process.running(self.stack.home, name) is None  # looked at first: it may write, then end
            if not path.exists() and ended:
                raise ServiceFault(f"{name} ended without {path.name}; {process.tail(self.stack.home, name)}")
            return path.exists()

        self.wait(written, f"{name} had written {path.name}", timeout_s)

    def stop(self, name: str) -> None:
        """SIGTERM to one of our programs; idempotent."""
        process.stop(self.stack.home, name)

    def remove(self) -> None:
        """Stop our programs and agents, and remove what the names own."""
        for name in self._programs:
            self.stop(name)
        for rule in RULES:
            self.agents.stop_all(rule)
        self.scope.drop()


class Bed:
    """The stack of a bench, its run id and its folder: those of `run`, or fresh ones."""

    def __init__(self, stack: Stack, run: tuple[str, Path] | None = None) -> None:
        self.stack = stack
        self.run_id, self.folder = run or new_run()
        self.progress: Progress = stack.progress
        self._numbers = count(1)

    @property
    def private(self) -> bool:
        """True when the stack is ours alone: its services may be restarted, and nobody else uses them."""
        return (self.stack.home.path / "owner").exists()

    @contextmanager
    def segment(self, **settings: Any) -> Iterator[Segment]:
        """Fresh names, removed at the end, whatever happens in between."""
        named = run_settings(self.stack.settings, f"{self.run_id}x{next(self._numbers)}")
        one = Segment(self.stack, named.model_copy(update=settings))
        try:
            one.create()
            yield one
        finally:
            one.remove()

    @contextmanager
    def metered(self, more: Mapping[str, cpu.Read] | None = None) -> Iterator[cpu.Usage]:
        """CPU by process and disturbance of the block."""
        with cpu.metered([self.stack.home], more) as usage:
            yield usage

    def restart_connect(self, heap_mb: int = connect.HEAP_MB) -> None:
        """A cold Connect worker (a private stack only): nothing is compiled yet."""
        if not self.private:
            raise ServiceFault("Connect serves others on this stack and is not restarted; run twinpath down first")
        worker = self.stack.connect
        worker.stop()
        worker.start(heap_mb)
        worker.wait()
