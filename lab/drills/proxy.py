"""A link that can be cut: a TCP proxy on loopback in front of one loopback port.

What each cut does to the connections that are open, and to those that come while it lasts:

- reset: both ends get an RST; new ones get one, too.
- black hole: nothing passes, and nobody is told; what was held back passes when the link is mended.
- half-open: the server's end is closed and the client is not told: what it sends vanishes. New ones work. When the
  link is mended, the client gets an RST as soon as it sends something, as a host answers that knows no such connection,
  and at the latest when a keepalive probe would have come.
- slow: every piece of up to 64 KiB arrives 200 ms later.
- trickle: 1,000 bytes a second in each direction.
"""

import select
import socket
import struct
import threading
import time
from contextlib import suppress
from typing import Literal

from twinpath.settings import LOOPBACK

Cut = Literal["reset", "black hole", "half-open", "slow", "trickle"]
CUTS: tuple[Cut, ...] = ("reset", "black hole", "half-open", "slow", "trickle")
PIECE_BYTES = 65_536
LOOK_S = 0.05  # how often a waiting connection looks whether the link was cut
DELAY_S = 0.2
TRICKLE_BYTES, TRICKLE_S = 100, 0.1
KEEPALIVE_S = 15.0
RST = struct.pack("ii", 1, 0)  # SO_LINGER: close sends a reset and forgets what is unsent


class _Pair:
    """One connection: the client's socket and the server's, and what has been done to it."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.reset = False
        self.half_open = False
        self.reset_at: float | None = None  # of a half-open one whose link was mended
        self.over = False


class Link:
    """Forwards connections to `target`; safe to cut from another thread."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._cut: Cut | None = None
        self._lock = threading.Lock()
        self._pairs: list[_Pair] = []
        self._over = False
        self._listener = socket.create_server((LOOPBACK, 0))
        self._listener.settimeout(LOOK_S)
        self.port: int = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, name=f"link {self.port}", daemon=True)
        self._acceptor.start()

    @property
    def in_use(self) -> int:
        """Connections that are open."""
        with self._lock:
            return sum(not pair.over for pair in self._pairs)

    def cut(self, how: Cut) -> int:
        """Begin to do so; returns the number of connections that were open."""
        with self._lock:
            live = [pair for pair in self._pairs if not pair.over]
            self._cut = how
            for pair in live:
                pair.reset = how == "reset"
                pair.half_open = pair.half_open or how == "half-open"
        return len(live)

    def mend(self) -> None:
        """Let everything pass again; what was reset or half-open stays so."""
        with self._lock:
            self._cut = None
            for pair in self._pairs:
                if pair.half_open:
                    pair.reset_at = time.monotonic() + KEEPALIVE_S

    def close(self) -> None:
        """End every connection, and listen no more."""
        self._over = True
        self._acceptor.join()
        self._listener.close()

    def _accept(self) -> None:
        while not self._over:
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            if self._cut == "reset":
                _reset(client)
                continue
            try:
                server = socket.create_connection((LOOPBACK, self._target), timeout=1)
            except OSError:  # the server is away: the client hears so
                _reset(client)
                continue
            self._join(_Pair(client, server))

    def _join(self, pair: _Pair) -> None:
        for one in (pair.client, pair.server):
            one.setblocking(False)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._pairs = [one for one in self._pairs if not one.over] + [pair]
        for ends in ((pair.client, pair.server), (pair.server, pair.client)):
            threading.Thread(target=self._pump, args=[pair, *ends], name=f"link {self.port}", daemon=True).start()

    def _pump(self, pair: _Pair, source: socket.socket, sink: socket.socket) -> None:
        """One direction, until either end closes."""
        try:
            while not pair.over:
                if self._over or pair.reset:
                    break
                if pair.half_open and source is pair.server:
                    pair.server.close()
                    return  # the client's direction goes on, and passes nothing
                if pair.reset_at is not None and time.monotonic() > pair.reset_at:
                    pair.reset = True
                    break
                if select.select([source], [], [], LOOK_S)[0]:
                    data = source.recv(PIECE_BYTES)
                    if not data:
                        break
                    pair.reset = pair.reset or pair.reset_at is not None
                    self._pass(pair, sink, data)
        except (OSError, ValueError):  # reset by an end, or closed by the other direction
            pass
        pair.over = True
        for one in (pair.client, pair.server):
            _reset(one) if pair.reset else one.close()

    def _pass(self, pair: _Pair, sink: socket.socket, data: bytes) -> None:
        left = memoryview(data)
        if self._cut == "slow":
            time.sleep(DELAY_S)
        while left and not (pair.reset or pair.half_open or pair.over or self._over):
            cut = self._cut
            if cut == "black hole":
                time.sleep(LOOK_S)
                continue
            piece = left[:TRICKLE_BYTES] if cut == "trickle" else left
            if select.select([], [sink], [], LOOK_S)[1]:
                left = left[sink.send(piece) :]
            if cut == "trickle":
                time.sleep(TRICKLE_S)


def _reset(one: socket.socket) -> None:
    with suppress(OSError):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
    one.close()
