"""The link that can be cut: what each cut does to connections that are open, and to new ones."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from lab.drills import proxy
from lab.drills.proxy import CUTS, DELAY_S, Cut, Link
from lab.stack import process
from twinpath.settings import LOOPBACK


class Echo:
    """A server that sends back what it gets, and notes which connections ended."""

    def __init__(self) -> None:
        self.listener = socket.create_server((LOOPBACK, 0))
        self.port = self.listener.getsockname()[1]
        self.ended = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                threading.Thread(target=self._answer, args=[connection], daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while data := connection.recv(65_536):
                connection.sendall(data)
        self.ended += 1

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)  # whoever waits in accept() wakes
        self.listener.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    one = Echo()
    yield one
    one.close()


@pytest.fixture
def link(echo: Echo) -> Iterator[Link]:
    one = Link(echo.port)
    yield one
    one.close()


@pytest.fixture
def client(link: Link) -> Iterator[socket.socket]:
    with connected(link) as one:
        assert echoed(one, b"before") == b"before"
        yield one


def connected(link: Link) -> socket.socket:
    one = socket.create_connection((LOOPBACK, link.port))
    one.settimeout(5)
    return one


def echoed(client: socket.socket, data: bytes) -> bytes:
    client.sendall(data)
    got = b""
    while len(got) < len(data):
        piece = client.recv(65_536)
        if not piece:
            break
        got += piece
    return got


def test_what_is_sent_arrives_whole_and_in_order(client: socket.socket) -> None:
    data = bytes(range(256)) * 4_000
    sender = threading.Thread(target=client.sendall, args=[data])
    sender.start()
    got = b""
    while len(got) < len(data):
        got += client.recv(65_536)
    sender.join()
    assert got == data


def test_a_reset_is_felt_by_both_ends_and_by_whoever_comes_meanwhile(
    link: Link, client: socket.socket, echo: Echo
) -> None:
    assert link.cut("reset") == 1
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    with connected(link) as late, pytest.raises(ConnectionResetError):
        late.recv(1)
    link.mend()
    with connected(link) as fresh:
        assert echoed(fresh, b"after") == b"after"
    until(lambda: echo.ended >= 1, "the server's end")


def test_a_black_hole_tells_nobody_and_lets_everything_pass_when_it_is_over(link: Link, client: socket.socket) -> None:
    assert link.cut("black hole") == 1
    client.sendall(b"held")
    client.settimeout(0.3)
    with pytest.raises(TimeoutError):
        client.recv(1)
    link.mend()
    client.settimeout(5)
    assert client.recv(10) == b"held"


def test_half_open_ends_at_the_server_and_stays_silent_at_the_client_until_it_sends(
    link: Link, client: socket.socket, echo: Echo
) -> None:
    assert link.cut("half-open") == 1
    until(lambda: echo.ended == 1, "the server's end")
    client.sendall(b"into nothing")
    client.settimeout(0.3)
    with pytest.raises(TimeoutError):
        client.recv(1)
    with connected(link) as fresh:
        assert echoed(fresh, b"after") == b"after"
    link.mend()
    client.settimeout(5)
    client.sendall(b"nobody knows this connection")
    with pytest.raises(ConnectionResetError):
        client.recv(1)


@pytest.mark.parametrize(("how", "data", "least_s"), [("slow", b"x", 2 * DELAY_S), ("trickle", b"x" * 400, 0.3)])
def test_a_slow_link_takes_its_time_and_loses_nothing(
    link: Link, client: socket.socket, how: Cut, data: bytes, least_s: float
) -> None:
    link.cut(how)
    began = time.monotonic()
    assert echoed(client, data) == data
    assert time.monotonic() - began >= least_s
    link.mend()
    began = time.monotonic()
    assert echoed(client, data) == data
    assert time.monotonic() - began < least_s


def test_a_half_open_client_that_only_waits_hears_of_it_by_a_keepalive(
    link: Link, client: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxy, "KEEPALIVE_S", 0.2)
    link.cut("half-open")
    link.mend()
    with pytest.raises(ConnectionResetError):
        client.recv(1)


def test_a_server_that_is_away_is_felt_at_once() -> None:
    (port,) = process.free_ports(1)
    link = Link(port)
    with connected(link) as client, pytest.raises(ConnectionResetError):
        client.recv(1)
    link.close()


def test_every_cut_is_tried_here() -> None:
    assert set(CUTS) == {"reset", "black hole", "half-open", "slow", "trickle"}


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
