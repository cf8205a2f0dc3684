"""How the rounds of a latency bench write, and what is kept of each."""

from typing import NamedTuple

from lab.bench.bed import Bed, Segment
from lab.bench.committing import Commits, write
from lab.bench.cpu import Usage
from lab.bench.result import Figure, Result, flat, per_event

CLIENTS = 4
USERS = 200
"""Few, so that almost every payment has the three before it that the rule spending asks for."""
SLACK_S = 60.0
"""How much longer than a round its last records may take before the bench gives up."""


class Pace(NamedTuple):
    """Commits per second, the seconds that count, and those before them that are dropped; one seed."""

    rate: int
    seconds: float
    settle_s: float
    seed: int

    @property
    def commits(self) -> int:
        """Commits of a round, all connections together."""
        return max(1, int(self.rate * (self.seconds + self.settle_s)) // CLIENTS) * CLIENTS

    def write(self, bed: Bed, segment: Segment) -> Commits:
        """One round's commits, open loop."""
        return write(
            segment,
            bed.folder,
            commits=self.commits,
            rate=self.rate,
            clients=CLIENTS,
            users=USERS,
            seed=self.seed,
        )

    def counts_from(self, first_us: int) -> float:
        """Commits from this time on count, in us, when the first was at `first_us`."""
        return first_us + self.settle_s * 1e6


def keep(
    bed: Bed,
    result: Result,
    place: tuple[str, str, int],
    figures: dict[str, Figure],
    usage: Usage,
    commits: Commits,
) -> None:
    """Add one round (part, variant, number) with the writer's own figures, and say its median."""
    part, variant, number = place
    main = next(iter(figures.values()))
    figures |= {"commits_per_s": commits.per_s, "failed_commits": commits.failed}
    figures |= flat("commit_ms", commits.latency_ms) | flat("late_ms", commits.late_ms)
    figures |= per_event(usage, commits.committed)
    result.add(part, variant, number, figures, usage)
    bed.progress.say(f"{part}, round {number}, {variant}: {main}{' (disturbed)' if usage.disturbed else ''}")
