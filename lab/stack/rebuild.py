"""Agents follow their rule's version: what the settings call for, and how the whole log is judged anew.

A version that is new begins with empty state at the beginning of the log, and its alerts stand beside those
of the version before it. When the beginning of the log is gone, that is refused before anything is changed.
"""

from contextlib import closing
from dataclasses import dataclass

import msgspec
from kafka import TopicPartition

from lab.console import Progress
from lab.stack.agents import Agents
from lab.topic import open_consumer
from twinpath.detection.rules import Rule, configured
from twinpath.errors import START_AFRESH, ConfigurationError, GapError
from twinpath.rule_versions import Activation, RuleVersions, changed_reading, reading_of
from twinpath.settings import Settings

PATH = "agent"


@dataclass(frozen=True)
class Standing:
    """A rule as the settings call for it, beside what was folded last.

    `changed` says in words why they differ; it is empty when they do not. `begun` is True when the wanted version
    has judged some of the log. `misread` means that it did so by other settings of reading than today's.
    """

    wanted: Rule
    active: Activation | None
    changed: str
    begun: bool
    misread: bool


class Rebuilder:
    """Puts the agents of one stack onto the versions that the settings call for."""

    def __init__(self, settings: Settings, agents: Agents, alerts_dsn: str, progress: Progress) -> None:
        self._settings = settings
        self._agents = agents
        self._progress = progress
        self.versions = RuleVersions(alerts_dsn, PATH)

    def standing(self, name: str) -> Standing:
        """What the settings call for, and what the last agent folded."""
        wanted = configured(name, self._settings.rule_parameters, self.versions.generation(name))
        active = self.versions.active(name)
        known = self.versions.last(wanted)
        reading = reading_of(self._settings.envelope())
        misread = "" if known is None else changed_reading(known.reading, reading)
        changed = misread or self._difference(wanted, active)
        return Standing(wanted, active, changed, self.versions.begun(wanted), misread=bool(misread))

    def follow(self, name: str) -> None:
        """Stop an agent that folds another version than the settings call for, and say what comes instead.

        A change in how records are read raises the generation. Raises GapError, with nothing changed, when
        the new version has to begin at a beginning of the log that is gone.
        """
        found = self.standing(name)
        if found.active is None or not found.changed:
            return
        if found.misread or not found.begun:
            self.check_beginning(name)
        wanted = found.wanted
        if found.misread:
            generation = self.versions.raise_generation(name, found.changed)
            wanted = configured(name, self._settings.rule_parameters, generation)
        goes_on = found.begun and not found.misread
        self._agents.stop(name)
        self._progress.say(
            f"{self._agents.name(name)}: {found.changed}, version {found.active.rule_version} -> {wanted.version}, "
            f"{'going on where that version stood' if goes_on else 'judging from the beginning of the log'}"
        )

    def rebuild(self, name: str, reason: str) -> str:
        """Have the whole log judged anew, by a new generation; returns the new version.

        An agent that runs is started again. Raises ConfigurationError when nothing was judged yet, and
        GapError when the beginning of the log is gone.
        """
        found = self.standing(name)
        if found.active is None:
            raise ConfigurationError(f"rule {name} has judged nothing yet, so there is nothing to judge anew")
        if not found.changed or (found.begun and not found.misread):
            self.check_beginning(name)
            self.versions.raise_generation(name, reason)
        running = self._agents.running(name)
        self.follow(name)
        if running:
            self._agents.start(name, self._agents.port(name))
            self._agents.wait(name)
        else:
            self._progress.say(f"{self._agents.name(name)} does not run; twinpath up starts it")
        return self.standing(name).wanted.version

    def check_beginning(self, name: str) -> None:
        """GapError unless every partition of the topic begins at its first record."""
        topic = self._settings.topic
        with closing(open_consumer(self._settings)) as consumer:
            numbers = consumer.partitions_for_topic(topic) or set()
            begins = consumer.beginning_offsets([TopicPartition(topic, number) for number in sorted(numbers)])
        gone = {place.partition: offset for place, offset in begins.items() if offset > 0}
        if gone:
            ranges = ", ".join(f"partition {number} offsets 0 to {offset - 1}" for number, offset in gone.items())
            raise GapError(
                f"rule {name} would have to be judged from the beginning of {topic}, but {ranges} are gone "
                f"(retention, or records deleted). Nothing was changed. {START_AFRESH}"
            )

    def _difference(self, wanted: Rule, active: Activation | None) -> str:
        if active is None or active.rule_version == wanted.version:
            return ""
        if active.generation != wanted.generation:
            return self.versions.reason(wanted.name, wanted.generation) or "generation changed"
        if active.parameters != msgspec.to_builtins(wanted.parameters):
            return "parameters changed"
        return "code version changed"
