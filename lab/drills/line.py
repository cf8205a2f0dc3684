"""The line that a drill breaks: database, topic, slot, agents and alert store of its own, named by its run."""

import psycopg2
from psycopg2.extensions import connection as Connection

from lab.measure import fence
from lab.slot import slot_at
from lab.stack import process
from lab.stack.agents import Agents
from lab.stack.connect import wait_for_tasks
from lab.stack.scope import Scope
from lab.stack.stack import Stack
from twinpath.detection.rules import RULES, Rule, configured
from twinpath.errors import ServiceFault, TwinpathError
from twinpath.settings import Settings

FENCE_TIMEOUT_S = 120.0


class Line:
    """One run's line on one stack."""

    def __init__(self, stack: Stack, settings: Settings) -> None:
        self.stack = stack
        self.settings = settings
        self.scope: Scope = stack.scope(settings)
        self.agents: Agents = stack.agents(settings)
        self.rules: list[Rule] = [configured(name, settings.rule_parameters) for name in RULES]

    def set_up(self) -> None:
        """Databases, topic, connector, agents; returns when each owns its partitions."""
        with self.stack.progress.step("run's database, topic and connector") as step:
            self.scope.create_line(self.scope.open_as_lab)
            step.done = "RUNNING"
        for rule in self.rules:
            self.agents.start(rule.name)
        for rule in self.rules:
            with self.stack.progress.step(self.agents.name(rule.name)):
                self.agents.wait(rule.name)

    def clean_up(self, *, verdict_stands: bool = False) -> None:
        """Stop the run's agents and remove what the run made.

        What a line that never recovered does not let go is only told when a verdict stands already.
        """
        try:
            self._clean_up()
        except (TwinpathError, psycopg2.Error) as problem:
            if not verdict_stands:
                raise
            self.stack.progress.say(f"not removed: {problem}")

    def _clean_up(self) -> None:
        with self.stack.progress.step("removing what the run made") as step:
            for rule in self.rules:
                self.agents.stop(rule.name)
            self.scope.drop()
            step.done = "done"

    def lab(self, database: str = "postgres") -> str:
        """DSN of the lab's role."""
        return self.stack.credentials.dsn("twinpath_lab", database)

    def alerts(self) -> Connection:
        """A session of the lab's role on the run's alert store."""
        return psycopg2.connect(self.lab(self.settings.alerts_database))

    def slot(self) -> tuple[int | None, int | None]:
        """(LSN that the slot has confirmed, process that reads it); (None, None) without a slot."""
        found = slot_at(self.lab(), self.settings.slot)
        return (found.confirmed_lsn, found.reader) if found else (None, None)

    def wait_until_captured(self) -> int:
        """Wait until everything committed so far is in the topic; returns the LSN of the marker."""
        lsn = fence.mark(self.lab(self.settings.source_database))
        wait_for_tasks(self.settings)
        self.scope.wait_for_slot()
        fence.wait_for_slot(self.lab(), self.settings.slot, lsn, FENCE_TIMEOUT_S)
        return lsn

    def wait_until_judged(self) -> dict[int, int]:
        """Wait until every agent has checkpointed everything committed so far; returns the topic's ends."""
        with self.stack.progress.step("fence: everything committed is judged") as step:
            self.wait_until_captured()
            ends = fence.end_offsets(self.settings)
            for rule in self.rules:
                name = self.agents.name(rule.name)
                if not self.agents.running(rule.name):
                    raise ServiceFault(f"{name} is not running; {process.tail(self.stack.home, name)}")
            fence.wait_for_checkpoints(
                self.lab(self.settings.alerts_database),
                self.scope.topic_id(),
                [(rule.name, rule.version) for rule in self.rules],
                ends,
                FENCE_TIMEOUT_S,
            )
            step.done = "reached"
            step.detail = f"{sum(ends.values())} records in the topic"
        return ends
