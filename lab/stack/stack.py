"""One whole stack: start in order, say how each part does, stop in reverse order."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from lab.console import Progress, Step
from lab.stack import addresses, ports, process, slot_gap
from lab.stack.agents import Agents
from lab.stack.airflow import API_SERVER, COMPONENTS, Airflow
from lab.stack.connect import Connect
from lab.stack.credentials import Credentials
from lab.stack.home import Home, private_home, standard_home
from lab.stack.kafka import Kafka
from lab.stack.postgres import Postgres
from lab.stack.rebuild import Rebuilder
from lab.stack.scope import Scope
from lab.stack.spark_stream import SparkStream
from lab.stack.sweep import sweep_private
from twinpath.detection.rules import RULES
from twinpath.settings import LOOPBACK, Settings, load_settings


class Stack:
    """PostgreSQL, Kafka and Connect of one home, on the ports of its settings."""

    def __init__(self, home: Home, settings: Settings, progress: Progress) -> None:
        home.make()
        self.home = home
        self.settings = settings
        self.progress = progress
        self.credentials = Credentials(home, settings)
        self.postgres = Postgres(home, settings, self.credentials)
        self.kafka = Kafka(home, settings)
        self.airflow = Airflow(home, settings, self.credentials)

    @property
    def connect(self) -> Connect:
        """The worker; it must know Kafka's cluster id, which exists once Kafka was formatted.

        It is not started while one of its connectors would pass over changes silently (GapError).
        """
        dsn = self.credentials.dsn("twinpath_lab", "postgres")
        return Connect(
            self.home, self.settings, self.kafka.cluster_id(), partial(slot_gap.refuse_silent, self.settings, dsn)
        )

    def scope(self, settings: Settings | None = None) -> Scope:
        """What belongs to one set of names on this stack."""
        return Scope(self.home, settings or self.settings, self.credentials)

    def agents(self, settings: Settings | None = None) -> Agents:
        """The agents of one set of names on this stack."""
        return Agents(self.home, settings or self.settings, self.credentials)

    def spark_stream(self, settings: Settings | None = None) -> SparkStream:
        """The Spark stream of one set of names on this stack."""
        return SparkStream(self.home, settings or self.settings, self.credentials)

    def rebuilder(self) -> Rebuilder:
        """What puts the agents of the standard names onto the versions that the settings call for."""
        return Rebuilder(self.settings, self.agents(), self.credentials.alerts_dsn(self.settings), self.progress)

    def up(self, *, with_airflow: bool = False, with_spark_stream: bool = False) -> None:
        """Services, connector and agents; when it fails or is interrupted, what it had started is stopped."""
        with self._all_or_nothing():
            self._check_ports(with_agents=True, with_airflow=with_airflow, with_spark_stream=with_spark_stream)
            self._start_servers()
            self._start_connect()
            self._start_pipeline()
            if with_spark_stream:
                self.spark_stream().up(self.progress)
            if with_airflow:
                self.airflow.up(self.postgres, self.progress)

    def start_services(self, *, with_connect: bool = True) -> None:
        """PostgreSQL, Kafka and Connect; whatever runs already is left running."""
        with self._all_or_nothing():
            self._check_ports(with_agents=False)
            self._start_servers()
            if with_connect:
                self._start_connect()

    def start_postgres(self) -> None:
        """PostgreSQL alone."""
        with self._all_or_nothing():
            process.check_port(self.settings.pgport, "postgres", "PGPORT")
            with self.progress.step("postgres") as step:
                self.postgres.start()
                self.postgres.wait()
                step.detail = self._where("postgres", self.settings.pgport)
            self.postgres.set_up_roles()

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        before = {name for name in process.names(self.home) if process.running(self.home, name)}
        try:
            yield
        except BaseException:
            self.progress.say("stopping what this command had started")
            with process.uninterrupted():
                for name in reversed(process.names(self.home)):
                    if name not in before:
                        process.stop(self.home, name)
            raise

    def _check_ports(self, *, with_agents: bool, with_airflow: bool = False, with_spark_stream: bool = False) -> None:
        """Every port of what does not run yet, before anything is started."""
        wanted = ports.of_services(self.settings, self.kafka.port)
        if with_agents:
            wanted += ports.of_agents(self.settings, [self.agents().name(rule) for rule in RULES])
        if with_airflow:
            wanted.append((API_SERVER, self.settings.airflow_port, "AIRFLOW_PORT"))
        if with_spark_stream:
            wanted += ports.of_spark_stream(self.settings, self.spark_stream().name)
        ports.check(self.home, wanted)

    def _start_connect(self) -> None:
        if not self._says_running("connect"):
            with self.progress.step("connect") as step:
                self.connect.start()
                self.connect.wait()
                step.detail = self._where("connect", self.settings.connect_url)
        addresses.save(self.home, self.settings)

    def _start_servers(self) -> None:
        """PostgreSQL and Kafka, side by side."""
        steps: dict[str, Step] = {}
        services: tuple[tuple[str, Postgres | Kafka, object], ...] = (
            ("postgres", self.postgres, self.settings.pgport),
            ("kafka", self.kafka, self.settings.kafka_bootstrap_servers),
        )
        for name, service, _ in services:
            if not self._says_running(name):
                steps[name] = self.progress.step(name)
                service.start()
        for name, service, address in services:
            if name in steps:
                with steps[name] as step:
                    service.wait()
                    step.detail = self._where(name, address)
        self.postgres.set_up_roles()

    def _start_pipeline(self) -> None:
        """The standard names on our own server: databases, topic, connector, agents."""
        scope = self.scope()
        scope.create_temperatures(self.postgres.connect)
        with self.progress.step("connector") as step:
            scope.create_line(self.postgres.connect)
            step.done = "RUNNING"
            step.detail = f"each task and slot {self.settings.slot}"
        for number, rule in enumerate(RULES):
            self.start_agent(rule, self.settings.agent_metrics_port + number)

    def start_agent(self, rule: str, port: int) -> None:
        """One agent, unless one of the wanted version runs already."""
        agents = self.agents()
        self.rebuilder().follow(rule)
        if self._says_running(agents.name(rule)):
            return
        with self.progress.step(agents.name(rule)) as step:
            agents.start(rule, port)
            agents.wait(rule)
            step.detail = self._where(agents.name(rule), f"{agents.url(rule)}/metrics")

    def stop(self) -> list[str]:
        """Stop everything that was started here, newest first; returns the names of what ran."""
        stopped = []
        services = {"postgres": self.postgres.stop, "kafka": self.kafka.stop}
        services[self.spark_stream().name] = self.spark_stream().stop
        services |= {name: partial(self.airflow.stop, name) for name in COMPONENTS}
        order = [name for name in process.names(self.home) if name not in ("postgres", "kafka", "connect")]
        order = [*reversed(order), "connect", "kafka", "postgres"]
        ran = {name: process.running(self.home, name) for name in order}
        for name, found in ran.items():
            stop = services.get(name, lambda name=name: process.stop(self.home, name))
            stop()
            if found is not None:
                stopped.append(name)
                self.progress.say(f"{name}: stopped (pid {found.pid})")
        return stopped

    def is_up(self) -> bool:
        """True when all three services run."""
        return all(process.running(self.home, name) for name in ("postgres", "kafka", "connect"))

    def _says_running(self, name: str) -> bool:
        found = process.running(self.home, name)
        if found is not None:
            self.progress.say(f"{name}: already running (pid {found.pid})")
        return found is not None

    def _where(self, name: str, port: object) -> str:
        found = process.running(self.home, name)
        return f"pid {found.pid if found else '?'}, {port}, log {process.log_of(self.home, name)}"


def standard_stack(progress: Progress, **overrides: object) -> Stack:
    """The checkout's own stack; while it runs, on the addresses it was started with."""
    overrides = {**overrides, "run_id": ""}  # a RUN_ID of the environment is for agents started by hand
    settings = load_settings(**overrides)
    home = standard_home(settings)
    if any(process.running(home, name) for name in process.names(home)):
        settings = load_settings(**{**overrides, **addresses.saved(home)})
    return Stack(home, settings, progress)


@contextmanager
def running_stack(progress: Progress, postgres_only: bool = False, /, **overrides: object) -> Iterator[Stack]:
    """The checkout's stack when it is up; else a private one on free ports, removed afterwards.

    `postgres_only`: the private one has no Kafka and no Connect.
    """
    stack = standard_stack(progress, **overrides)
    if stack.is_up():
        progress.say(f"using the running stack (PostgreSQL on port {stack.settings.pgport})")
        yield stack
        return
    with private_stack(progress, postgres_only, **overrides) as private:
        yield private


@contextmanager
def private_stack(progress: Progress, postgres_only: bool = False, /, **overrides: object) -> Iterator[Stack]:
    """A stack of its own on free ports, or its PostgreSQL alone; stopped and removed at the end."""
    sweep_private(progress)
    postgres, broker, controller, connect, airflow = process.free_ports(5)
    own = {
        "pghost": LOOPBACK,
        "pgport": postgres,
        "kafka_bootstrap_servers": f"{LOOPBACK}:{broker}",
        "kafka_controller_port": controller,
        "connect_url": f"http://{LOOPBACK}:{connect}",
        "airflow_port": airflow,
        "alerts_dsn": "",
        "postgres_password": "",
    }
    home = private_home()
    stack = Stack(home, load_settings(**{**overrides, **own}), progress)
    try:
        if postgres_only:
            stack.start_postgres()
        else:
            stack.start_services()
        yield stack
    finally:
        with process.uninterrupted():
            stack.stop()
            home.remove()
