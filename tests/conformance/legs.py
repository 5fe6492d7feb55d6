"""Our connection classes as asyncssh's tests make and drive them.

What is tested is `Leg`: its packet loop, sealing and opening, counters, deferring and re-keying,
under asyncssh's own channels, forwards and authentication. What `ServerLeg` and `ClientLeg` add
(what a relay refuses, grants, known_hosts) has tests of its own.
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any, Final
from weakref import WeakKeyDictionary

import asyncssh

from relay.core.handshake import KeyExchanges
from relay.io.engine import Engine
from relay.io.stream import Buffer, Stream
from relay.ssh.leg import Leg

PIECE: Final = 7
"""Bytes that come at once to a `SplitLeg`: no header comes whole."""


class TransportStream(asyncio.Transport):
    """What a `Stream` is to a leg, on a transport of asyncio's: the tests connect by it, and it
    may be a channel of another connection, or a pipe."""

    def __init__(self, transport: asyncio.Transport, leg: Leg) -> None:
        super().__init__()
        self._transport = transport
        self._leg = leg
        self._pending = b""
        self._pauses: set[object] = set()
        self._closed = False

    def start(self) -> None:
        pass

    # -- in

    def feed(self, data: bytes) -> None:
        self._pending += data
        self._use()

    def pause(self, reason: object) -> None:
        self._pauses.add(reason)
        if isinstance(self._transport, asyncio.ReadTransport):
            self._transport.pause_reading()

    def resume(self, reason: object) -> None:
        if reason in self._pauses:
            self._pauses.discard(reason)
            self._leg.loop.call_soon(self._use)

    def _use(self) -> None:
        if self._pauses or self._closed:
            return
        buffer = bytearray(self._pending)
        used = self._leg.received(memoryview(buffer), 0, len(buffer))
        self._leg.engine.flush()
        self._pending = self._pending[used:]
        if not self._pauses and isinstance(self._transport, asyncio.ReadTransport):
            self._transport.resume_reading()

    # -- out

    def send(self, buffers: list[Buffer]) -> int:
        """Takes everything: asyncio's transports have no bound."""
        data = b"".join(buffers)
        if not self._closed:
            self._transport.write(data)
        return len(data)

    def await_room(self) -> None:
        raise AssertionError("this stream is never full")

    # -- the rest of an asyncio.Transport

    def abort(self) -> None:
        if not self._closed:
            self._leg.flush()
            self._closed = True
            self._transport.abort()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)


class SocketStream(Stream):
    """A `Stream`, on the socket of a transport that is kept idle."""

    def __init__(self, transport: asyncio.Transport, leg: Leg) -> None:
        descriptor = os.dup(transport.get_extra_info("socket").fileno())
        super().__init__(leg.engine, socket.socket(fileno=descriptor), leg)
        self._transport = transport
        transport.pause_reading()

    def abort(self) -> None:
        super().abort()
        self._transport.abort()


ENGINES: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, Engine]] = WeakKeyDictionary()


class StockLeg(Leg):
    """A leg as the tests make one: on a transport, and with options of asyncssh's."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *args: Any, **kwargs: Any) -> None:
        if loop not in ENGINES:
            ENGINES[loop] = Engine(loop)
        super().__init__(ENGINES[loop], *args, **kwargs)
        self.rekey_limit = self._options.rekey_bytes

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.stream = self.stream_on(transport)
        super().connection_made(self.stream)
        self.stream.start()

    def stream_on(self, transport: asyncio.BaseTransport) -> Any:
        on_socket = isinstance(transport, asyncio.Transport)
        return (SocketStream if on_socket else TransportStream)(transport, self)

    def data_received(self, data: bytes, datatype: int | None = None) -> None:
        self.stream.feed(data)

    def stream_lost(self, error: Exception | None) -> None:
        # The tests know asyncssh's ConnectionLost, and not LegLost.
        self.connection_lost(error)


class AnyKeyExchanges(KeyExchanges):
    """As many as come."""

    def begun(self, size: int, now: float) -> None:
        pass


class RekeyLeg(StockLeg):
    """Keys are changed after every few packets."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rekey_limit = 4096
        self.key_exchanges = AnyKeyExchanges()
        # The quickest: what happens around an exchange is tested, and there are thousands.
        self._kex_algs = [b"curve25519-sha256"]


class SlowLeg(StockLeg):
    """The cipher is asyncssh's, and so is the packet code."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._enc_algs = [b"chacha20-poly1305@openssh.com"]


class SplitLeg(StockLeg):
    """Packets come in pieces."""

    def stream_on(self, transport: asyncio.BaseTransport) -> Any:
        return TransportStream(transport, self)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # A line in pieces counts more than once: asyncssh's own limit is the one that is tested.
        self.before_login = None

    def data_received(self, data: bytes, datatype: int | None = None) -> None:
        for start in range(0, len(data), PIECE):
            self.stream.feed(data[start : start + PIECE])


LEGS: Final = {"fast": StockLeg, "rekey": RekeyLeg, "slow": SlowLeg, "split": SplitLeg}


def classes(kind: str) -> dict[str, type]:
    """What stands in for the classes of `asyncssh.connection`, by their names."""
    leg = LEGS[kind]
    return {
        # The tests call methods of the base class by its name.
        "SSHConnection": leg,
        "SSHClientConnection": type("Client", (leg, asyncssh.SSHClientConnection), {}),
        "SSHServerConnection": type("Server", (leg, asyncssh.SSHServerConnection), {}),
    }
