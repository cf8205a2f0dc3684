"""What there is in a simulation, and what can happen to it: a source, a topic, a group of agents, an alert store.

Nothing happens here by itself: the scheduler calls.
"""

import random
from collections import Counter
from typing import Any

from streaming.agent import PATH, Agent
from streaming.checkpoint import Saver
from streaming.metrics import Metrics
from streaming.simulation.clock import Clock
from streaming.simulation.log import Group, MemberLog, Topic
from streaming.simulation.process import BesideExecutor, InlineExecutor, Process
from streaming.simulation.records import DATABASE
from streaming.simulation.source import Sent, Source
from streaming.simulation.store import MemoryStore, MemoryVersions, Tables
from streaming.simulation.truth import Truth, Witness
from twinpath.detection.envelope import EnvelopeDecoder
from twinpath.detection.rules import Rule, configured
from twinpath.errors import AlertStoreUnavailable, ChangeLogUnavailable
from twinpath.settings import Settings

SMALL: dict[str, dict[str, Any]] = {
    "spending": {"history": 4, "minimum_payments": 2, "minimum_cents": 100_00, "ratio": 1},
    "velocity": {"history": 5, "payments": 1, "amount_cents": 100_00},
}
RULES: tuple[Rule, ...] = tuple(configured(name, SMALL) for name in SMALL)
METRICS = {rule.name: Metrics(rule.name) for rule in RULES}
SETTINGS = Settings(_env_file=None, pgdatabase=DATABASE, run_id="", idle_warning_s=1e7)  # type: ignore[call-arg]
SOURCE_STEPS = 60
TENDER = {"store.write", "store.write, committed", "store.save", "store.save, committed", "store.take, committed"}


class Quiet:
    """A logger that keeps nothing."""

    def info(self, event: str, **values: object) -> None:
        """Said, and forgotten."""

    warning = error = info


class World:
    """That of one seed, with its habits: how many agents, how often the store fails, when checkpoints are due."""

    def __init__(self, seed: int, source_steps: int = SOURCE_STEPS) -> None:
        self.seed = seed
        self.chance = chance = random.Random(seed)
        self.clock = Clock()
        self.rule = chance.choice(RULES)
        self.source = Source(chance, source_steps)
        self.truth = Truth(self.rule, self.source)
        self.topic = Topic(chance.randint(1, 3))
        self.group = Group(self.topic)
        self.tables = Tables()
        self.witness = Witness(self.truth, self.group, self.tables)
        self.broken = self.witness.broken
        self.events: Counter[str] = Counter()
        self.trace: list[str] = []
        self.processes: list[Process] = []
        self.members: dict[Process, MemberLog] = {}
        self._wanted = chance.choice((1, 2, 2, 3, 3))
        self._beside = chance.random() < 0.7
        self._store_fails = chance.choice((0.0, 0.03, 0.15))
        self._outage_until = 0.0
        self.chaos = True
        self.turn = 0
        self.said = 0
        self._settings = SETTINGS.model_copy(
            update={
                "state_buckets": chance.choice((1, 2, 64)),
                "live_users": chance.choice((1, 3, 1000)),
                "checkpoint_every_s": chance.choice((0.1, 1.0, 60.0)),
                "checkpoint_idle_s": chance.choice((0.2, 1.0)),
            }
        )
        self.trace.append(self._habits())

    def _habits(self) -> str:
        settings = self._settings
        return (
            f"rule {self.rule.name}, {len(self.source.sent)} records for {len(self.topic.records)} partitions, "
            f"agents at most {self._wanted}, checkpoints {'beside the loop' if self._beside else 'in the loop'} every "
            f"{settings.checkpoint_every_s:g} s and after {settings.checkpoint_idle_s:g} s of idleness, "
            f"{settings.state_buckets} buckets, {settings.live_users} live users, "
            f"{self._store_fails:.0%} of the store's calls fail"
        )

    def _note(self, event: str, what: str = "") -> None:
        self.events[event] += 1
        self.trace.append(f"{event} {what}".rstrip())

    def say_more(self) -> None:
        """The connector writes its next records."""
        for sent in self.source.sent[self.said : self.said + self.chance.randint(1, 40)]:
            self._append(sent)
            self.said += 1
        self.trace.append(f"said up to record {self.said}, the topic ends at {self.topic.ends()}")

    def _append(self, sent: Sent) -> None:
        self.topic.append(sent, self.clock.time_ns() // 1000)

    def connector_starts_again(self) -> None:
        """It was killed: some partitions got records that others did not, and it goes back to say them again."""
        lucky = self.chance.randrange(len(self.topic.records))
        for sent in self.source.sent[self.said : self.said + self.chance.randint(0, 5)]:
            if sent.settled:
                break
            if self.topic.partition_of(sent) == lucky:
                self._append(sent)
        back = self.chance.randint(0, 15)
        while back and self.said and not self.source.sent[self.said - 1].settled:
            self.said, back = self.said - 1, back - 1
        self._note("said again", f"from record {self.said}, the topic ends at {self.topic.ends()}")

    def start_a_process(self) -> None:
        if len(self.processes) < self._wanted:
            process = Process(f"{len(self.members)}", self)
            self._note("started", process.name)
            self.processes.append(process)
            process.agent = self._agent(process)
            process.begin(process.agent.run)

    def _agent(self, process: Process) -> Agent:
        log = MemberLog(self.group, process.gate, self.chance, self.clock.advance)
        self.members[process] = log
        executor = (BesideExecutor if self._beside else InlineExecutor)(process, self.clock)
        return Agent(
            rule=self.rule,
            log=log,
            store=MemoryStore(self.tables, PATH, process.gate),  # type: ignore[arg-type]
            saver=Saver(self.rule, MemoryStore(self.tables, PATH, process.gate), executor),  # type: ignore[arg-type]
            decoder=EnvelopeDecoder(self._settings.envelope()),
            settings=self._settings,
            metrics=METRICS[self.rule.name],
            logger=Quiet(),
            versions=MemoryVersions(process.gate),  # type: ignore[arg-type]
        )

    def kill_a_process(self) -> None:
        if self.processes:
            self.kill(self.chance.choice(self.processes))

    def kill(self, process: Process) -> None:
        self._note("killed", process.name)
        process.crash()
        self.processes.remove(process)

    def stop_a_process(self) -> None:
        if self.processes:
            process = self.chance.choice(self.processes)
            self._note("stopped", process.name)
            process.agent.stop()

    def freeze_a_process(self) -> None:
        if self.processes:
            self.freeze(self.chance.choice(self.processes))

    def freeze(self, process: Process) -> None:
        """It stands still for a while; often long enough for the group to give up on it."""
        process.frozen_until = self.turn + self.chance.randint(10, 150)
        self._note("frozen", f"{process.name} until turn {process.frozen_until}")
        process.hampered = True
        if self.chance.random() < 0.5:
            self.group.leave(self.members[process])

    def expel_who_is_silent(self) -> None:
        """A session timeout: the group gives up on a process that is dead or stands still."""
        silent = [
            member
            for process, member in self.members.items()
            if member in self.group.members and (process not in self.processes or process.frozen_until > self.turn)
        ]
        if silent:
            self._note("expelled")
            self.group.leave(self.chance.choice(silent))

    def rebalance(self) -> None:
        """The group hands everything out anew, for reasons of its own."""
        self._note("rebalanced")
        self.group.rebalancing = True

    def take_an_epoch(self) -> None:
        """A zombie's `take` comes late, and fences an owner that the group still believes in."""
        partition = self.chance.randrange(len(self.topic.records))
        self._note("fenced", f"partition {partition}")
        self.tables.raise_epoch(partition)

    def store_goes_away(self) -> None:
        self._note("store away")
        self._outage_until = self.clock.monotonic() + self.chance.choice((0.3, 1.0, 5.0))

    def interrupts(self, call: str) -> bool:
        """Others have their turn before most of what is stored, and before some of the rest."""
        return call in TENDER or self.chance.random() < 0.4

    def fails(self, process: Process, call: str) -> bool:
        """Whether a call fails that is let through now."""
        if not self.chaos:
            return False
        if call.startswith("store."):
            fails = self.clock.monotonic() < self._outage_until or self.chance.random() < self._store_fails
        else:
            fails = call in ("log.describe", "log.bounds") and self.chance.random() < 0.02
        if fails:
            process.hampered = True
            self._note("answer lost" if call.endswith("committed") else "refused", f"{process.name} {call}")
            if call == "store.write" and self.chance.random() < 0.3:  # trouble rarely comes alone
                self.rebalance()
        return fails

    def ended(self, process: Process, error: Exception) -> None:
        """An agent may end for a service that is away when it starts or stops; for nothing else."""
        self._note("ended", f"{process.name}: {type(error).__name__}: {error}")
        if not (process.hampered and isinstance(error, AlertStoreUnavailable | ChangeLogUnavailable)):
            self.broken.append(f"no agent halts: agent {process.name} ended with {type(error).__name__}: {error}")
