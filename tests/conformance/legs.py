"""Our guests as asyncssh's tests make and drive them.

What is tested is `Guest`: versions, key exchange, re-keying, login, certificates, extensions, over
a `Mux` that opens and seals. What `ServerLeg` and `ClientLeg` add (what a relay refuses, grants,
known_hosts) has tests of its own, and so have channels and global requests, which are ours alone.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, cast
from weakref import WeakKeyDictionary

import asyncssh
from asyncssh.kex import Kex

from relay.core.handshake import BeforeLogin
from relay.core.output import Buffer
from relay.io.engine import Engine
from relay.ssh.guest import ClientGuest, Guest
from relay.ssh.kex import METHODS, ServerKex
from relay.ssh.leg import Leg
from relay.ssh.server_guest import ServerGuest

PIECE: Final = 7
"""Bytes that come at once to a `SplitGuest`: no header comes whole."""

ANY: Final = 10**9


class TransportStream:
    """What a `Stream` is to a leg, on a transport of asyncio's: the tests connect by it, and it
    may be a channel of another connection, or a pipe."""

    def __init__(self, transport: asyncio.Transport, leg: Leg) -> None:
        self._transport = transport
        self._leg = leg
        self._pending = b""
        self._pauses: set[object] = set()
        self._closed = False

    def start(self) -> None:
        """The tests feed it."""

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

    def abort(self) -> None:
        if not self._closed:
            self._leg.flush()
            self._closed = True
            self._transport.abort()


ENGINES: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, Engine]] = WeakKeyDictionary()


class StockGuest(Guest):
    """A guest that makes its own leg, when it is given a transport. What is asyncssh's own."""

    _leg: Leg
    _stream: TransportStream
    _fed_by_leg = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if hasattr(self, "_leg"):
            super().connection_made(transport)
            return
        loop = asyncio.get_running_loop()
        if loop not in ENGINES:
            ENGINES[loop] = Engine(loop)
        self._leg = Leg(ENGINES[loop], self, BeforeLogin(ANY, ANY))
        self._leg.mux.rekey.limit = self._options.rekey_bytes
        self._stream = TransportStream(cast(asyncio.Transport, transport), self._leg)
        names = ("sockname", "peername", "socket")
        addresses = {name: transport.get_extra_info(name) for name in names}
        self._leg.run_on(self._stream, addresses)

    def data_received(self, data: bytes, datatype: Any = None) -> None:
        if self._fed_by_leg:
            super().data_received(data, datatype)
        else:
            self._comes(data)

    def _comes(self, data: bytes) -> None:
        self._stream.feed(data)

    def line(self, data: bytes) -> None:
        self._fed_by_leg = True
        super().line(data)
        self._fed_by_leg = False

    def packet(self, payload: bytes) -> None:
        self._fed_by_leg = True
        super().packet(payload)
        self._fed_by_leg = False


class StockServer(ServerGuest):
    """The server's, with asyncssh's own word on who may log in, and with the key exchanges of
    asyncssh's that ours does not do."""

    validate_public_key = asyncssh.SSHServerConnection.validate_public_key
    send_userauth_failure = asyncssh.SSHServerConnection.send_userauth_failure
    reload_config = asyncssh.SSHServerConnection.reload_config

    def _choose_alg(self, alg_type: str, local_algs: Any, remote_algs: Any) -> bytes:
        chosen = super()._choose_alg(alg_type, local_algs, remote_algs)
        ours = alg_type != "key exchange" or self._kex_chosen in METHODS
        return chosen if ours else self._kex_chosen

    @property
    def _kex(self) -> Kex | None:
        return self._own_kex

    @_kex.setter
    def _kex(self, value: Kex | None) -> None:
        ours = value is not None and self._kex_chosen in METHODS
        self._own_kex = ServerKex(self._kex_chosen, self) if ours else value


class SplitGuest(StockGuest):
    """Packets come in pieces."""

    def _comes(self, data: bytes) -> None:
        for start in range(0, len(data), PIECE):
            super()._comes(data[start : start + PIECE])


LEGS: Final = {"fast": StockGuest, "split": SplitGuest}


def classes(kind: str) -> dict[str, type]:
    """What stands in for the classes of `asyncssh.connection`, by their names."""
    guest = LEGS[kind]
    return {
        # The tests call methods of the base class by its name.
        "SSHConnection": guest,
        "SSHClientConnection": type("Client", (guest, ClientGuest), {}),
        "SSHServerConnection": type("Server", (guest, StockServer), {}),
    }
