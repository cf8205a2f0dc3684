"""Our connector and some agents on the table of an experiment: from a fresh slot and topic, removed afterwards.

Agents are numbered. The first two fold the two rules. Further ones are consumers of their own: the same rules with
other parameters, in a consumer group of their own (CONSUMER_GROUP), with an alert store of their own. Nothing of it
is known to PostgreSQL.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import closing, contextmanager
from itertools import count
from typing import Any, NamedTuple

from lab.bench import connectors
from lab.bench.bed import Segment
from lab.bench.committing import Commits
from lab.bench.cpu import Read
from lab.experiments.span import Field
from lab.measure import fence
from lab.stack import connect, kafka
from lab.stack.scope import drop_slot
from twinpath.detection.rules import RULES, configured
from twinpath.settings import Settings

GROUPS: tuple[tuple[str, dict[str, dict[str, Any]]], ...] = (
    ("", {}),
    ("second", {"spending": {"ratio": 4}, "velocity": {"window_us": 30_000_000}}),
)
"""Name of a group of consumers, and what its rules have otherwise; each holds every rule once."""
MOST = len(GROUPS) * len(RULES)
CONFIG = connectors.turned({"snapshot.mode": "no_data"})
"""Ours, from now on: what is in the table beforehand is not what a span measures."""
TIMEOUT_S = 120.0
FIRST = "INSERT INTO transactions (user_id, amount, card_type, merchant_id) VALUES (1000, 5, 'visa', 1)"
"""A change that no span counts: on the first one of a table the connector asks PostgreSQL how the table is made."""
_numbers = count(1)


class Group(NamedTuple):
    """Agents that share an alert store: their segment (names and settings), the DSN to look there, their rules."""

    live: Segment
    dsn: str
    rules: tuple[str, ...]


class Pipeline:
    """What is live: it can be waited for."""

    def __init__(self, live: Segment, groups: list[Group]) -> None:
        self._live = live
        self._groups = groups
        self._before = live.arrived()

    def readers(self) -> Mapping[str, Read]:
        """CPU of the process that serves the slot."""
        return {"walsender": self._live.walsender()}

    def deliver(self, writing: "Future[Commits]") -> None:
        """Wait until every agent has judged, and kept, all that the writer commits."""
        commits, live = writing.result().committed, self._live
        live.wait(lambda: live.arrived() >= self._before + commits, "every commit was in the topic", TIMEOUT_S)
        ends, topic_id = fence.end_offsets(live.settings), live.scope.topic_id()
        for group in self._groups:
            rules = [configured(name, group.live.settings.rule_parameters) for name in group.rules]
            names = [(rule.name, rule.version) for rule in rules]
            fence.wait_for_checkpoints(group.dsn, topic_id, names, ends, TIMEOUT_S)


@contextmanager
def pipeline(field: Field, agents: int, *, apart: bool = True) -> Iterator[Pipeline]:
    """A connector and that many agents; `apart`: their alert stores are on the second server, not on the source's."""
    settings = field.segment.settings
    number = next(_numbers)
    live = Segment(field.segment.stack, _named(settings, number))
    groups = [_group(field, live.settings, place, agents, apart=apart) for place in range(len(GROUPS))]
    try:
        live.scope.create_topic()
        live.start_connector(CONFIG(field.segment.stack.home, live.settings))
        members = [(group, rule) for group in groups for rule in group.rules]
        for group, rule in members:
            group.live.agents.start(rule)
        for group, rule in members:
            group.live.agents.wait(rule)
        live.rows(FIRST, database=live.settings.source_database)
        live.wait(live.arrived, "the first change was in the topic", TIMEOUT_S)
        yield Pipeline(live, groups)
    finally:
        for group in groups:
            for rule in group.rules:
                group.live.agents.stop(rule)
        connect.delete_connector(live.settings)
        with closing(field.segment.scope.open_as_lab("postgres")) as session:
            drop_slot(session, live.settings.slot)
        kafka.delete_topics(live.settings, live.settings.prefix)


def rules_of(place: int, agents: int) -> tuple[str, ...]:
    """The rules of one group, when there are so many consumers altogether."""
    before = place * len(RULES)
    return tuple(RULES)[: max(0, agents - before)]


def _named(settings: Settings, number: int) -> Settings:
    """A topic of its own on the same table, so that no record of a span before is in it."""
    return settings.model_copy(update={"topic_prefix": f"{settings.topic_prefix}p{number}"})


def _group(field: Field, settings: Settings, place: int, agents: int, *, apart: bool) -> Group:
    name, parameters = GROUPS[place]
    stack, rules = field.segment.stack, rules_of(place, agents)
    update: dict[str, Any] = {"consumer_group": name, "rule_parameters": settings.rule_parameters | parameters}
    own = settings.model_copy(update=update)
    dsn = field.segment.dsn(settings.alerts_database)
    if apart and rules:
        store = f"{settings.alerts_database}_{name or 'first'}"
        own = field.second.hold(own, store)
        dsn = field.second.dsn(store, "twinpath_lab")
    return Group(Segment(stack, own), dsn, rules)
