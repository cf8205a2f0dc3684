"""Do the services run, and is it they who answer on their ports?"""

import socket
from collections.abc import Callable, Iterable

import psutil
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from lab.doctor.hop import RESTART, UP, Check, Finding, broken, holds
from lab.doctor.view import View
from lab.stack import ports, process
from lab.stack.java import jars, java
from twinpath.errors import ChangeLogUnavailable, EnvironmentFault
from twinpath.kafka_topic import LIBRDKAFKA

ANSWER_S = 5.0
OURS: dict[str, Callable[[View], bool]] = {  # does our own server answer?
    "postgres": lambda view: view.stack.postgres.answers(),
    "connect": lambda view: view.stack.connect.answers(),
    "kafka": lambda _view: True,  # the next hop asks it
}


def alive(view: View, name: str, mend: str = UP) -> Finding:
    """The process that we started under this name runs, and was not halted."""
    found = process.running(view.stack.home, name)
    if found is None:
        return _gone(view, name, mend)
    if found.status() == psutil.STATUS_STOPPED:
        return broken(f"pid {found.pid} is halted (SIGSTOP)", f"kill -CONT {found.pid}")
    return holds(f"pid {found.pid}")


def well(view: View, name: str, url: str, says_ok: Callable[[], bool], mend: str = UP) -> Finding:
    """Alive, and its page at `url`/healthz says ok."""
    found = alive(view, name, mend)
    if not found.ok or says_ok():
        return found
    evidence = f"{found.evidence} runs, but {url}/healthz is not ok; {last_words(view, name)}"
    log = process.log_of(view.stack.home, name)
    return broken(evidence, f"kill {found.evidence.removeprefix('pid ')}; {mend}", f"read {log} first")


def last_words(view: View, name: str) -> str:
    """The last line of a log."""
    last = process.tail(view.stack.home, name, 1).partition("\n")[2].strip()
    return f"its log ends: {last}" if last else "its log is empty"


def _gone(view: View, name: str, mend: str) -> Finding:
    known = process.log_of(view.stack.home, name).exists()
    evidence = f"its process is gone; {last_words(view, name)}" if known else "was never started"
    for owner, port, setting in ports.of_services(view.settings, view.stack.kafka.port):
        if owner == name and process.listens(port):
            who = process.port_owner(port)
            note = f"first stop what listens on port {port}, or choose another port with {setting}"
            return broken(f"port {port} is taken by {who}; {evidence}", mend, note)
    return broken(evidence, mend)


def _service(name: str) -> Callable[[View], Finding]:
    def look(view: View) -> Finding:
        found = alive(view, name)
        if found.ok and not OURS[name](view):
            return broken(f"{found.evidence}, but it does not answer; {last_words(view, name)}", RESTART)
        return found

    return look


def _set_up(view: View) -> Finding:
    try:
        return holds(f"{java()}, jars in {jars('broker').parent}, {jars('connect').name}")
    except EnvironmentFault as fault:
        return broken(str(fault).partition("\n")[0], "make setup", "unset JARS_DIR when it names another folder")


def _listener(view: View) -> Finding:
    """A client is sent on to the address that the broker advertises."""
    servers = view.settings.kafka_bootstrap_servers
    client = AdminClient({"bootstrap.servers": servers}, logger=LIBRDKAFKA)
    try:
        found = client.list_topics(timeout=ANSWER_S)
    except KafkaException as error:
        raise ChangeLogUnavailable(f"Kafka at {servers}: {error.args[0].str()}") from None
    if found.cluster_id != view.stack.kafka.cluster_id():
        evidence = f"{servers} is answered by another Kafka: cluster {found.cluster_id}"
        return broken(evidence, RESTART, f"wanted cluster {view.stack.kafka.cluster_id()}: stop the other one first")
    addresses = [(str(broker.host), int(broker.port)) for broker in found.brokers.values()]
    if not addresses:
        return broken(
            f"Kafka at {servers} knows no broker yet", note="a broker that was just started needs some seconds"
        )
    unreachable = list(_unreachable(addresses))
    if unreachable:
        where = ", ".join(f"{host}:{port}" for host, port in unreachable)
        evidence = f"Kafka at {servers} sends clients to {where}, where nobody answers (advertised.listeners)"
        return broken(evidence, RESTART)
    return holds(f"{servers}, advertised as {', '.join(f'{host}:{port}' for host, port in addresses)}")


def _unreachable(addresses: Iterable[tuple[str, int]]) -> Iterable[tuple[str, int]]:
    for address in addresses:
        try:
            socket.create_connection(address, timeout=2).close()
        except OSError:
            yield address


GONE = "its process is gone or halted, another program has its port, it does not answer"
SET_UP = Check(
    "set-up",
    "Java or the jars are not there, and a service has to be started",
    "`make setup`; unset a `JARS_DIR` that names another folder",
    _set_up,
    wanted=lambda view: not view.stack.is_up(),
)
POSTGRES = Check(
    "postgres",
    GONE,
    "`twinpath up`; before that stop what has the port, or `PGPORT`",
    _service("postgres"),
)
KAFKA = Check(
    "kafka",
    GONE,
    "`twinpath up`; before that stop what has the port, or `KAFKA_BOOTSTRAP_SERVERS`",
    _service("kafka"),
)
LISTENER = Check(
    "listener",
    "another Kafka answers, or the broker sends its clients to an address where nobody answers",
    "`twinpath down && twinpath up`",
    _listener,
    needs=("kafka",),
)
CONNECT = Check(
    "connect",
    GONE,
    "`twinpath up`; before that stop what has the port, or `CONNECT_URL`",
    _service("connect"),
    needs=("listener",),
)
