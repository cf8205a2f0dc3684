"""F20: the links between PostgreSQL, Connect, the broker, the agents and the alert store, cut one after the other."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from pydantic import SecretStr

from lab.drills.faults import Struck, at_work, back
from lab.drills.matrix.scene import Scene
from lab.drills.proxy import CUTS, Cut, Link
from lab.stack import connect, process
from lab.stack.stack import Stack
from twinpath.settings import LOOPBACK

CUT_S = 8.0
LINKS = ("PostgreSQL to Connect", "Connect to broker", "broker to agents", "agents to alert store")


class Links:
    """A proxy on each of the four links of one line."""

    def __init__(self, stack: Stack) -> None:
        from_connect, from_agents = process.free_ports(2)
        pgport = stack.settings.pgport
        targets = (pgport, from_connect, from_agents, pgport)
        self.of = {name: Link(target) for name, target in zip(LINKS, targets, strict=True)}
        stack.kafka.further = {from_connect: self.port("Connect to broker"), from_agents: self.port("broker to agents")}

    def port(self, name: str) -> int:
        """Where the client of a link connects."""
        return self.of[name].port

    def close(self) -> None:
        """End all of them."""
        for link in self.of.values():
            link.close()


@contextmanager
def cuttable(stack: Stack) -> Iterator[Links]:
    """The stack's broker, told to send its clients to the proxies."""
    links = Links(stack)
    try:
        stack.connect.stop()
        stack.kafka.stop()
        stack.kafka.start()
        stack.kafka.wait()
        stack.connect.start()
        stack.connect.wait()
        yield links
    finally:
        links.close()


def links_cut(scene: Scene) -> None:
    """F20: each link once, each in another way; five seeds come to every way on every link."""
    links: Links = scene.stage
    go_through(scene, links)
    for number, name in enumerate(links.of):
        how = CUTS[(number + scene.line.settings.seed) % len(CUTS)]
        scene.blow(partial(cut_link, scene, name, links.of[name], how))


def go_through(scene: Scene, links: Links) -> None:
    """Connector and agents begin to use the proxies; an agent that is started again later does so, too."""
    settings = scene.line.settings
    config = connect.connector_config(scene.home, settings) | {
        "database.port": str(links.port("PostgreSQL to Connect")),
        "producer.override.bootstrap.servers": f"{LOOPBACK}:{links.port('Connect to broker')}",
    }
    connect.put_connector(settings, config)
    connect.wait_for_tasks(settings)
    dsn = scene.stack.credentials.alerts_dsn(settings)
    dsn = dsn.replace(f"port={settings.pgport}", f"port={links.port('agents to alert store')}")
    through = settings.model_copy(
        update={
            "kafka_bootstrap_servers": f"{LOOPBACK}:{links.port('broker to agents')}",
            "alerts_dsn": SecretStr(dsn),
        }
    )
    scene.line.agents = agents = scene.stack.agents(through)
    for rule in scene.rules:
        agents.stop(rule)
        agents.start(rule)
    for rule in scene.rules:
        agents.wait(rule)
    scene.faults.wait_until_delivering()


def cut_link(scene: Scene, name: str, link: Link, how: Cut, seconds: float = CUT_S) -> Struck:
    """One link, when it is in use, for so many seconds."""
    at_work(lambda: link.in_use > 0, f"the link {name} is in use")
    open_before = 0

    def cut() -> None:
        nonlocal open_before
        open_before = link.cut(how)

    struck = scene.hold(f"{name}: {how}", seconds, cut, link.mend)
    struck.acted = open_before > 0
    struck.evidence = f"{open_before} connections, {struck.evidence}"
    return back(struck)
