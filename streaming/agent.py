"""One agent: a standalone consumer that folds one rule over the change log and stores its alerts.

    python -m streaming.agent --rule spending

The loop on one screen: poll, fold, store alerts and dead letters, checkpoint when due. Its own process,
its own consumer group: it can fail, lag or be added without any other agent or PostgreSQL noticing.
While the alert store does not answer, fetching is paused and polling goes on; nothing is dropped.
"""

import argparse
import gc
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from streaming.change_log import ChangeLog, Record
from streaming.checkpoint import Checkpoints, Saver
from streaming.clients import open_change_log
from streaming.fold import Folded, fold
from streaming.metrics import Metrics
from streaming.partition import Partition, check_bounds, offsets_of
from streaming.patience import POLL_S, Patience
from streaming.reader import Reader
from streaming.reporter import Reporter
from streaming.version import rule_to_fold
from twinpath.alert_rows import Checkpoint, Incarnation, PartitionKey
from twinpath.alert_store import AlertStore
from twinpath.detection.envelope import EnvelopeDecoder
from twinpath.detection.rules import RULES, Rule
from twinpath.errors import (
    RESYNC,
    AlertStoreUnavailable,
    ForeignCheckpoint,
    OwnershipLost,
    TwinpathError,
)
from twinpath.exposition import serve
from twinpath.failpoints import fail_at
from twinpath.logs import configure
from twinpath.rule_versions import RuleVersions, reading_of
from twinpath.settings import Settings, load_settings

PATH = "agent"
COLLECTIONS = 10  # of younger objects before a full one: it walks every live user, so it waits for an idle turn
SWITCH_S = 0.001  # the thread that writes checkpoints hands the interpreter back after this


class Agent:
    """Folds one rule over the partitions that its group hands over."""

    def __init__(
        self,
        rule: Rule,
        log: ChangeLog,
        store: AlertStore,
        saver: Saver,
        decoder: EnvelopeDecoder,
        settings: Settings,
        metrics: Metrics,
        logger: Any,
        versions: RuleVersions,
    ) -> None:
        self._rule = rule
        self._log = log
        self._store = store
        self._checkpoints = Checkpoints(saver, log, metrics, logger)
        self._reader = Reader(decoder, settings.topic, rule.key_column, logger)
        self._patience = Patience(log, metrics, logger)
        self._settings = settings
        self._metrics = metrics
        self._logger = logger
        self._versions = versions
        self._topic_id = ""
        self._partition_count = 0
        self._sources: list[Incarnation] = []
        self._partitions: dict[int, Partition] = {}
        self._handed_over: list[int] | None = None
        self._must_rejoin = False
        self._reporter = Reporter(log, rule.name, settings, metrics, logger)

    def stop(self) -> None:
        """Ask the loop to end after this turn."""
        self._patience.stopping = True

    def run(self, turns: int | None = None) -> None:
        """Loop until `stop`, or for a number of turns; ends with a checkpoint and leaves the group."""
        self._topic_id, _ = self._log.describe()
        self._sources = self._patience(lambda: self._store.incarnations(self._settings.topic, self._topic_id))
        reading = reading_of(self._settings.envelope())
        self._patience(lambda: self._versions.activate(self._rule, reading))
        self._log.subscribe(self._on_assigned, self._on_revoked)
        self._logger.info("joined", topic=self._settings.topic, version=self._rule.version)
        try:
            while not self._patience.stopping and turns != 0:
                self._turn()
                turns = None if turns is None else turns - 1
            self._patience(self._finish)
        finally:
            self._log.close()
            self._checkpoints.close()
            self._store.close()

    def _turn(self) -> None:
        if self._must_rejoin:
            self._must_rejoin = False
            self._log.rejoin()
        if self._handed_over is not None:
            self._take_over(self._handed_over)
        records = [*self._patience.take_backlog(), *self._log.poll(0 if self._checkpoints.capturing else POLL_S)]
        if not records and gc.get_count()[2] >= COLLECTIONS:
            gc.collect()
        polled_us = time.time_ns() // 1000
        by_partition: defaultdict[int, list[Record]] = defaultdict(list)
        for record in records:
            by_partition[record.partition].append(record)
        folded = []
        for number, ours in by_partition.items():
            partition = self._partitions.get(number)
            if partition is not None:
                self._reporter.heard()
                folded.append(fold(self._rule, self._reader, partition, ours, polled_us))
        self._keep(folded)
        self._lose(self._checkpoints.turn(self._partitions.values(), self._reporter.idle_s()))
        self._reporter.report(self._partitions)

    # partitions come and go

    def _on_assigned(self, partitions: list[int]) -> None:
        self._handed_over = partitions

    def _on_revoked(self, partitions: list[int]) -> None:
        """Save while the epoch is still ours; what cannot be saved is replayed by the next owner."""
        self._handed_over = None
        self._patience.take_backlog()
        try:
            for refusal in self._checkpoints.finish(self._partitions.values()).values():
                self._logger.warning("stopped writing", reason=str(refusal))
        except AlertStoreUnavailable as problem:
            self._logger.warning("partitions handed back without a checkpoint", problem=str(problem))
        self._checkpoints.forget()
        self._partitions = {}
        self._logger.info("handed back", partitions=partitions)

    def _take_over(self, numbers: list[int]) -> None:
        """Raise each epoch, read its state, and only then read records, from the stored offsets.

        Waiting may take long, and the group may change its mind meanwhile: no epoch is raised for an
        assignment that is no longer ours, for that would fence its new owner.
        """
        topic_id, self._partition_count = self._patience(self._log.describe)
        if topic_id != self._topic_id:
            raise ForeignCheckpoint(f"topic {self._settings.topic} was made anew while we read it. {RESYNC}")
        self._patience(lambda: self._versions.check(self._rule))
        taken: dict[int, Partition] = {}
        for number in numbers:
            partition = self._take(number, numbers)
            if partition is None:
                return
            taken[number] = partition
        if self._handed_over is not numbers:
            return
        self._handed_over = None
        self._partitions = taken
        self._log.assign(offsets_of(taken))
        self._log.resume()  # a pause may have outlived the partitions it was meant for
        self._metrics.joined()
        self._logger.info("owns", partitions=numbers, offsets=offsets_of(taken))

    def _take(self, number: int, numbers: list[int]) -> Partition | None:
        """One partition with its state; None when the assignment `numbers` was superseded."""
        key = PartitionKey(self._rule.name, self._rule.version, self._topic_id, number)
        buckets = self._settings.state_buckets

        def take() -> Checkpoint | None:
            ours = self._handed_over is numbers
            return self._store.take(key, self._partition_count, buckets) if ours else None

        taken = self._patience(take)
        if taken is None:
            return None
        bounds = self._patience(lambda: self._log.bounds(number))
        check_bounds(self._settings.topic, number, taken.next_offset, bounds)
        return Partition(self._rule, key, taken, self._settings, self._sources)

    # records become alerts

    def _keep(self, folded: list[Folded]) -> None:
        """Store what a turn led to, all partitions in one transaction, and only then count their records as done."""
        batches = [(one.alerts, one.letters) for one in folded]
        if any(alerts or letters for alerts, letters in batches):
            fail_at("before_alerts")
            written = self._patience(lambda: self._store.write_all(self._rule, batches, self._topic_id))
            for one, done in zip(folded, written, strict=True):
                one.counts.update(alerts=done.stored, alerts_refused=done.suppressed)
                one.counts["too_old"] -= done.resolved.total()  # each came to something else, or stays too old
                one.counts.update(done.resolved)
            fail_at("after_alerts")
        for partition, records, _, _, counts in folded:
            partition.next_offset = records[-1].offset + 1
            partition.counters.update(counts)
            partition.storable = True
            self._metrics.folded(counts, records[-1].appended_us, len(records))

    # checkpoints

    def _finish(self) -> None:
        """Store everything that was folded."""
        self._lose(self._checkpoints.finish(self._partitions.values()))

    def _lose(self, refused: Mapping[int, OwnershipLost]) -> None:
        """A refused checkpoint ends the ownership of its partition, and we join anew.

        Joining anew makes the group hand every partition out again, so that none is left unread.
        """
        for number, refusal in refused.items():
            self._logger.warning("stopped writing", reason=str(refusal))
            self._partitions.pop(number, None)
            self._patience.take_backlog()  # what was fetched before is read again from these offsets
            self._log.assign(offsets_of(self._partitions))
            self._must_rejoin = True


def build(rule_name: str, settings: Settings) -> Agent:
    """The agent of a rule, with everything real."""
    logger = configure("agent", rule=rule_name, run_id=settings.run_id)
    metrics = Metrics(rule_name)
    server = serve(metrics.registry, metrics.healthy, settings.metrics_host, settings.metrics_port)
    logger.info("serving metrics", port=server.server_port)
    dsn = settings.alerts_dsn.get_secret_value()
    versions = RuleVersions(dsn, PATH)
    rule = rule_to_fold(rule_name, settings, versions, logger)
    return Agent(
        rule=rule,
        log=open_change_log(settings, rule.name),
        store=AlertStore(dsn, PATH),
        saver=Saver(rule, AlertStore(dsn, PATH), ThreadPoolExecutor(1, thread_name_prefix="saver")),
        decoder=EnvelopeDecoder(settings.envelope()),
        settings=settings,
        metrics=metrics,
        logger=logger,
        versions=versions,
    )


def main(arguments: list[str] | None = None) -> int:
    """Run one agent until SIGTERM or SIGINT; the exit status is that of the error that stopped it."""
    parser = argparse.ArgumentParser(prog="python -m streaming.agent", description="Run one agent.")
    parser.add_argument("--rule", required=True, choices=list(RULES), help="the rule that this agent folds")
    given = parser.parse_args(arguments)
    gc.set_threshold(10_000, 50, 1_000_000)
    gc.freeze()  # what was imported stays: no collection walks it again
    sys.setswitchinterval(SWITCH_S)
    try:
        agent = build(given.rule, load_settings())
        for signal_number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(signal_number, lambda *_: agent.stop())
        agent.run()
    except TwinpathError as error:
        sys.stderr.write(f"agent {given.rule} stopped: {type(error).__name__}: {error}\n")
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
