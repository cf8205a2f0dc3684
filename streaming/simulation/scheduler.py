"""The seeded scheduler: what happens to one to three agents of a group, and whether the log's truth comes of it.

First chaos: records arrive and are said again, processes are killed at any call and started anew, stand
still and go on later as zombies, the alert store fails before and after it did what it was asked, Kafka
does not answer. Then calm: everything is delivered and the agents are given time. A `Witness` looks at
every checkpoint on the way and at everything in the end.

    twinpath simulate --seed 4711        # replays one seed
"""

from typing import NamedTuple

from streaming.simulation.process import Process
from streaming.simulation.world import TENDER, World

CHAOS_TURNS = 400
CALM_TURNS = 4_000
HAPPENINGS = (
    (0.1, "start_a_process"),
    (0.1, "expel_who_is_silent"),
    (0.03, "say_more"),
    (0.015, "connector_starts_again"),
    (0.004, "freeze_a_process"),
    (0.004, "stop_a_process"),
    (0.002, "kill_a_process"),
    (0.002, "store_goes_away"),
    (0.002, "rebalance"),
    (0.001, "take_an_epoch"),
)
ANYTHING = sum(probability for probability, _ in HAPPENINGS)


class Outcome(NamedTuple):
    """How a seed ended: `broken` is empty, or says which checks failed; `events` counts what happened, `steps` the
    turns that agents had."""

    seed: int
    rule: str
    steps: int
    broken: list[str]
    events: dict[str, int]

    def __str__(self) -> str:
        again = f"replay it: twinpath simulate --seed {self.seed}"
        return f"seed {self.seed} ({self.rule}): {'; '.join(self.broken) or 'held'} ({again})"


class Simulation(World):
    """One seed."""

    def run(self) -> Outcome:
        """Chaos, calm, verdict."""
        with self.clock.installed():
            while not self.broken and (self.turn < CHAOS_TURNS or self.said < len(self.source.sent)):
                self._happen()
                self._give_a_turn()
            self._calm_down()
            for process in self.processes:
                process.crash()
        return Outcome(self.seed, self.rule.name, self.turn, self.broken, self.events)

    def _happen(self) -> None:
        """At most one thing, before the next turn of an agent."""
        drawn = self.chance.random()
        if drawn < ANYTHING:
            for probability, name in HAPPENINGS:
                drawn -= probability
                if drawn < 0:
                    getattr(self, name)()
                    return

    def _give_a_turn(self) -> None:
        self.turn += 1
        self.processes = [process for process in self.processes if process.running()]
        able = [process for process in self.processes if process.frozen_until <= self.turn]
        if able:
            process = self.chance.choice(able)
            self.clock.advance(self.chance.choice((0.0, 0.001, 0.02)))
            call = self.chance.choice(process.running()).switch()
            self.trace.append(f"{process.name} {call or 'is done'}")
            if self.chaos and call in TENDER:
                self._hit(process)

    def _hit(self, process: Process) -> None:
        """Faults like the moments at which something is about to be stored, or just was."""
        drawn = self.chance.random()
        if drawn < 0.03:
            self.freeze(process)
        elif drawn < 0.05:
            self.kill(process)

    def _calm_down(self) -> None:
        """No more faults: everything that was said is folded and checkpointed, then everybody stops."""
        self.chaos = False
        for process in self.processes:
            process.frozen_until = 0
        for process, member in self.members.items():
            if process not in self.processes:
                self.group.leave(member)
        last_turn = self.turn + CALM_TURNS
        while not self.broken and not self.witness.settled() and self.turn < last_turn:
            if not self.processes:
                self.start_a_process()
            self._give_a_turn()
        for process in self.processes:
            process.agent.stop()
        while not self.broken and self.processes and self.turn < last_turn:
            self._give_a_turn()
        if self.turn >= last_turn:
            self.broken.append(f"every record is folded: not after {CALM_TURNS} turns of calm")
        if not self.broken:
            self.witness.conclude()


def simulate(seed: int) -> Outcome:
    """Run one seed."""
    return Simulation(seed).run()
