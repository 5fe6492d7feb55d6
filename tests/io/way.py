"""A session within a channel: real legs in one event loop, between sockets of this process.

    client socket ─ Endpoint ─ inner leg, within outer leg ══ outer leg, around inner leg ─ service

The far outer leg hands its `direct-tcpip` to a `SessionEndpoint` at once: it is B and C in one.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh

from relay.agent.config import EndpointConfig
from relay.agent.session import SessionEndpoint
from relay.events import Events
from relay.io.endpoint import Endpoint
from relay.io.engine import Engine
from relay.io.local import Acceptor
from relay.io.nested import NestedStream
from relay.life.admission import Startup
from relay.ssh.client import ClientLeg
from relay.ssh.connect import _connect, connect
from relay.ssh.leg import Leg
from relay.ssh.server import ServerLeg
from relay.ssh.server_options import server_options
from relay.ssh.way import HERE
from relay.sshconfig.client import ClientConfig
from relay.trust.keyfile import KeyFile
from relay.trust.known_hosts import line_for
from relay.wire.messages import tcpip_fields

MIB = 1 << 20
KEY = asyncssh.generate_private_key("ssh-ed25519")
GUARD = 20.0
"""Seconds after which a test that waits gives up."""


async def until(happened: Callable[[], object]) -> None:
    async with asyncio.timeout(GUARD):
        while not happened():  # noqa: ASYNC110  # Each turn of the loop does a part of it.
            await asyncio.sleep(0)


class Far:
    """The far end of outer legs. The `Host` of them."""

    def __init__(self, folder: Path, events: Events) -> None:
        (folder / "authorized_keys").write_bytes(KEY.export_public_key())
        self.events = events
        self.key_file = KeyFile(folder / "authorized_keys", events)
        self.sessions = SessionEndpoint(
            EndpointConfig(
                name="gpu1",
                port=22,
                state_dir=folder,
                strict_modes="yes",
                reverse=False,
                resume_for=0,
            ),
            events,
        )
        self.options = server_options([KEY], ())
        self.engine = Engine(asyncio.get_running_loop())
        self.legs: list[ServerLeg] = []
        self.streams: list[NestedStream] = []

    def accept(self, sock: socket.socket, address: tuple[str, int]) -> None:
        leg = ServerLeg(self.engine, self.options)
        startup = Startup(address[0], lambda startup: leg, lambda reason: None, sock)
        leg.introduce(self, startup, address)  # type: ignore[arg-type]
        self.legs.append(leg)
        leg.attach(sock)

    def leg_up(self, leg: ServerLeg) -> None:
        pass

    def leg_down(self, leg: ServerLeg, error: Exception | None) -> None:
        pass

    def open_stream(self, leg: ServerLeg, *asked: Any) -> NestedStream:
        stream = self.sessions.stream(leg, "192.0.2.1", 1)
        self.streams.append(stream)
        return stream

    @property
    def inner(self) -> list[ServerLeg]:
        """The far ends of inner legs that are there."""
        return list(self.sessions._legs)


@dataclass
class Way:
    """An outer leg and an inner one, logged in, and the far end of both."""

    inner: ClientLeg
    outer: ClientLeg
    far: Far
    service: socket.socket
    folder: Path
    reasons: list[str] = field(default_factory=list)

    async def stream(self, leg: ClientLeg | None = None) -> tuple[socket.socket, socket.socket]:
        """A stream through an inner leg: the client's socket and the service's."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        fields = tcpip_fields(HERE, self.service.getsockname()[1], HERE, 0)
        endpoint = Endpoint(leg or self.inner, lambda _, reason: self.reasons.append(reason))
        endpoint.open(theirs, b"direct-tcpip", fields)
        far, _ = await asyncio.get_running_loop().sock_accept(self.service)
        far.setblocking(False)
        return ours, far

    @property
    def near_stream(self) -> NestedStream:
        assert isinstance(self.inner.out.stream, NestedStream)
        return self.inner.out.stream

    async def second(self) -> ClientLeg:
        """Another session within the same outer leg, which outlives the first from now on."""
        self.inner.via = None
        return await _connect(
            (to := hop(self.folder, 22, "gpu1")), EVENTS, self.outer.engine, self.outer, to
        )


async def session_within(outer: ClientLeg, folder: Path) -> ClientLeg:
    """Another session with the endpoint."""
    to = hop(folder, 22, "gpu1")
    return await _connect(to, EVENTS, outer.engine, outer, to)


def hop(folder: Path, port: int, host: str = HERE, **options: Any) -> ClientConfig:
    return ClientConfig(
        host=host, user="x", port=port, identity_files=(folder / "key",), identity_agent="",
        user_known_hosts_files=(folder / "known_hosts",), global_known_hosts_files=(), **options,
    )  # fmt: skip


def write_keys(folder: Path, port: int) -> None:
    (folder / "key").touch(mode=0o600)
    KEY.write_private_key(folder / "key")
    lines = [line_for(HERE, port, KEY), line_for("gpu1", 22, KEY)]
    (folder / "known_hosts").write_text("".join(f"{line}\n" for line in lines))


@contextmanager
def listening() -> Iterator[socket.socket]:
    with socket.create_server((HERE, 0)) as sock:
        sock.setblocking(False)
        yield sock


EVENTS = Events()


@asynccontextmanager
async def a_way(folder: Path) -> AsyncIterator[Way]:
    with listening() as sock, listening() as service:
        port = sock.getsockname()[1]
        write_keys(folder, port)
        (folder / "ssh_host_ed25519_key").touch(mode=0o600)
        KEY.write_private_key(folder / "ssh_host_ed25519_key")
        far = Far(folder, EVENTS)
        engine = Engine(asyncio.get_running_loop())
        acceptor = Acceptor(sock, far.accept)
        try:
            jump = hop(folder, port)
            inner = await connect(hop(folder, 22, "gpu1", proxy_jump=(jump,)), EVENTS, engine)
            assert inner.via is not None
            outer = inner.via
            yield Way(inner, outer, far, service, folder)
            inner.close()
            outer.close()
            await until(lambda: not any(leg.alive for leg in [outer, *far.legs]))
        finally:
            acceptor.close()


async def send(sock: socket.socket, data: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(sock, data)
    sock.shutdown(socket.SHUT_WR)


async def receive(sock: socket.socket) -> bytes:
    loop, data = asyncio.get_running_loop(), bytearray()
    while part := await loop.sock_recv(sock, MIB):
        data += part
    return bytes(data)


async def exchange(one: socket.socket, other: socket.socket, size: int = MIB) -> None:
    """Random bytes each way, which must arrive as they went."""
    there, back = os.urandom(size), os.urandom(size)
    async with asyncio.timeout(GUARD):
        _, _, *came = await asyncio.gather(
            send(one, there), send(other, back), receive(other), receive(one)
        )
    one.close()
    other.close()
    assert came == [there, back]


def endpoints(leg: Leg) -> list[Endpoint]:
    return [handler for handler in leg.mux.channels.values() if isinstance(handler, Endpoint)]
