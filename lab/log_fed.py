"""The paths of a run that read the change log: an agent for each rule, and the Spark stream where it is wanted."""

from confluent_kafka import Producer

from lab.measure import fence
from lab.measure.verdict import PATH as AGENT
from lab.stack import process
from lab.stack.scope import Scope
from lab.stack.spark_stream import PATH as STREAM
from lab.stack.stack import Stack
from twinpath.detection.rules import RULES, configured
from twinpath.errors import ServiceFault
from twinpath.settings import Settings

TIMEOUT_S = 90.0  # until everything in the topic was judged
STREAM_TIMEOUT_S = 180.0
WARM_UPS = 3
FLUSH_S = 30.0
Usage = tuple[float, float]
"""CPU seconds, and the peak of resident memory in MB."""


class LogFed:
    """Agents and stream of one run."""

    def __init__(self, stack: Stack, settings: Settings, scope: Scope, *, stream: bool) -> None:
        self._progress = stack.progress
        self._home = stack.home
        self._settings = settings
        self._scope = scope
        self._alerts_dsn = stack.credentials.dsn("twinpath_lab", settings.alerts_database)
        self._agents = stack.agents(settings)
        self._stream = stack.spark_stream(settings) if stream else None
        self._rules = [configured(name, settings.rule_parameters) for name in RULES]
        self._agents_usage: dict[str, Usage] = {}
        self._stream_usage: Usage = (0.0, 0.0)

    @property
    def usage(self) -> dict[str, list[Usage]]:
        """What each process of each path took until everything was judged; the keys are the paths of the run."""
        of_stream = {STREAM: [self._stream_usage]} if self._stream else {}
        return {AGENT: list(self._agents_usage.values()), **of_stream}

    def metrics(self) -> dict[str, list[str]]:
        """The pages of /metrics of each path that was started."""
        of_stream = {STREAM: [f"{self._stream.url()}/metrics"]} if self._stream else {}
        return {AGENT: [f"{self._agents.url(rule)}/metrics" for rule in RULES], **of_stream}

    def start(self) -> None:
        """Start all of them; the agents own their partitions when this returns, the stream is on its way."""
        if self._stream:
            self._stream.start()
        for rule in RULES:
            self._agents.start(rule)
        for rule in RULES:
            with self._progress.step(self._agents.name(rule)):
                self._agents.wait(rule)

    def wait(self) -> None:
        """Wait until the stream's queries have begun."""
        if self._stream:
            with self._progress.step(self._stream.name) as step:
                self._stream.wait()
                step.detail = f"log {process.log_of(self._home, self._stream.name)}"

    def warm_up(self) -> None:
        """Tombstones, which every path reads and skips: Java machines compile and workers start before the load."""
        if not self._stream:
            return
        with self._progress.step("warm-up: tombstones, which every path skips") as step:
            producer = Producer({"bootstrap.servers": self._settings.kafka_bootstrap_servers, "partitioner": "murmur2"})
            for _ in range(WARM_UPS):
                for user in range(self._settings.stream_buckets):
                    producer.produce(self._settings.topic, key=b'{"user_id":%d}' % user, value=None)
                producer.flush(FLUSH_S)
                self._wait_until_judged(fence.end_offsets(self._settings))
            step.done = "done"

    def kill_agent(self, rule: str) -> bool:
        """SIGKILL to an agent, which is started again; False when it had ended by itself."""
        self._note_usage(rule)
        killed = self._agents.kill(rule)
        if killed:
            self._agents.start(rule)
        return killed

    def wait_until_judged(self, ends: dict[int, int]) -> None:
        """Wait until everything below `ends` was judged by every rule of every path.

        Then the stream ends: it has done its part, and the batch runs have the machine to themselves.
        """
        self._wait_until_judged(ends)
        for rule in RULES:
            self._note_usage(rule)
        if self._stream:
            self._stream_usage = process.usage(self._home, self._stream.name)
            self._stream.stop()

    def _wait_until_judged(self, ends: dict[int, int]) -> None:
        for rule in RULES:
            self._still_runs(self._agents.running(rule), self._agents.name(rule))
        topic_id = self._scope.topic_id()
        versions = [(rule.name, rule.version) for rule in self._rules]
        fence.wait_for_checkpoints(self._alerts_dsn, topic_id, versions, ends, TIMEOUT_S)
        if self._stream:
            self._still_runs(self._stream.running(), self._stream.name)
            self._stream.wait_until_judged(topic_id, ends, STREAM_TIMEOUT_S)

    def _still_runs(self, running: bool, name: str) -> None:
        if not running:
            raise ServiceFault(f"{name} is not running; {process.tail(self._home, name)}")

    def _note_usage(self, rule: str) -> None:
        """Add up what an agent's process has used, before it ends."""
        cpu_s, peak_mb = self._agents.usage(rule)
        known = self._agents_usage.get(rule, (0.0, 0.0))
        self._agents_usage[rule] = (known[0] + cpu_s, max(known[1], peak_mb))

    def stop(self) -> None:
        """Stop all of them, and forget the stream's checkpoints."""
        for rule in RULES:
            self._agents.stop(rule)
        if self._stream:
            self._stream.stop()
            self._stream.forget()
