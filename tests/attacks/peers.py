"""The hostile: who they are, and where they stand. Each is one `async with`.

A stranger has no key; it writes bytes. A consumer and an agent have a good key at B. A session's
client has one at the agent's endpoint, to which it comes through B. A relay stands in B's place.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncssh
from asyncssh import SSHClientConnection

from tests.attacks.messages import REQUEST_SUCCESS, publish
from tests.attacks.peer import Peer, ServerGuest, connect
from tests.programs.chain import Chain, Server, Site
from tests.programs.process import GUARD
from tests.programs.stock import USER, login


class Stranger:
    """A TCP connection, and bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        # As it stands in B's log: `127.0.0.1:port`.
        self.address = "{}:{}".format(*writer.get_extra_info("sockname"))

    async def send(self, text: bytes) -> bool:
        """Send bytes, and wait while they are not taken; False: the connection is gone."""
        try:
            self._writer.write(text)
            await self._writer.drain()
        except ConnectionError:
            return False
        return True

    async def gone(self) -> bytes:
        """Send no more, and wait until the other side has closed too; what it said."""
        try:
            self._writer.write_eof()
        except OSError:
            pass  # It is closed already.
        return await self.closed()

    async def closed(self) -> bytes:
        """Wait until the other side has closed, of its own; what it said."""
        said = bytearray()
        try:
            while part := await asyncio.wait_for(self._reader.read(1 << 16), GUARD):
                said += part
        except ConnectionError:
            pass
        return bytes(said)


@asynccontextmanager
async def stranger(b: Server, source: str = "127.0.0.1") -> AsyncIterator[Stranger]:
    """Somebody at B's port who has said nothing yet. `source` is any address of 127/8."""
    reader, writer = await asyncio.open_connection("127.0.0.1", b.port, local_addr=(source, 0))
    try:
        yield Stranger(reader, writer)
    finally:
        writer.transport.abort()


@asynccontextmanager
async def stranger_with_keys(b: Server, **options: Any) -> AsyncIterator[Peer]:
    """Somebody who has done the key exchange, and not logged in."""
    async with peer_at(b, login=False, client_keys=[], username=USER, **options) as peer:
        yield peer


@asynccontextmanager
async def hostile_consumer(
    chain: Chain, key: str = "offender", **options: Any
) -> AsyncIterator[Peer]:
    """Somebody with a good key at B; it may open, and publish."""
    options.setdefault("client_keys", [str(chain.site.key(key))])
    async with peer_at(chain.b, username=USER, **options) as peer:
        yield peer


@asynccontextmanager
async def hostile_agent(
    chain: Chain, name: str = "evil", port: int = 8000, key: str = "offender", **options: Any
) -> AsyncIterator[Peer]:
    """The same, and it has published a service."""
    async with hostile_consumer(chain, key, **options) as peer:
        await peer.send(publish(name, port))
        await peer.expect(REQUEST_SUCCESS)
        yield peer


@asynccontextmanager
async def peer_at(
    b: Server, *, login: bool = True, source: str = "127.0.0.1", **options: Any
) -> AsyncIterator[Peer]:
    """At B, or whatever else listens there. `source` is any address of 127/8."""
    loop = asyncio.get_running_loop()

    async def dial(make: Any) -> None:
        await loop.create_connection(make, "127.0.0.1", b.port, local_addr=(source, 0))

    peer = await connect(dial, login, host="127.0.0.1", port=b.port, **options)
    try:
        yield peer
    finally:
        await peer.vanish()


@asynccontextmanager
async def hostile_session(
    chain: Chain, key: str = "client", name: str = "gpu1", **options: Any
) -> AsyncIterator[Peer]:
    """A's end of a session with the endpoint `name`, within an honest leg to B."""
    async with (
        login(chain.site, chain.b, "client") as leg,
        session_within(leg, chain, key, name, **options) as peer,
    ):
        yield peer


@asynccontextmanager
async def session_within(
    leg: SSHClientConnection, chain: Chain, key: str = "client", name: str = "gpu1", **options: Any
) -> AsyncIterator[Peer]:
    """The same, one of several within a leg."""

    async def dial(make: Any) -> None:
        await leg.create_connection(make, name, 22)

    options.setdefault("client_keys", [str(chain.site.key(key))])
    peer = await connect(dial, host=name, username=USER, **options)
    try:
        yield peer
    finally:
        await peer.vanish()


class HostileRelay:
    """B, played by a test: programs of ours log in at it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.arrivals: asyncio.Queue[Peer] = asyncio.Queue()

    @property
    def server(self) -> Server:
        """For functions that start a program at a B."""
        return Server(None, self.port)  # type: ignore[arg-type]  # It is no process.

    async def leg(self) -> Peer:
        """The next that has logged in, whoever it is."""
        return await asyncio.wait_for(self.arrivals.get(), GUARD)


class _LetsIn(asyncssh.SSHServer):
    def __init__(self, arrived: Any) -> None:
        self._arrived = arrived

    def begin_auth(self, username: str) -> bool:
        return False

    def auth_completed(self) -> None:
        self._arrived()


@asynccontextmanager
async def hostile_relay(site: Site, **given: Any) -> AsyncIterator[HostileRelay]:
    """A relay that lets everybody in; its host key is known at the site. `given` are asyncssh's
    options, such as its version line."""
    loop = asyncio.get_running_loop()
    host_key = asyncssh.generate_private_key("ssh-ed25519")
    peers: list[Peer] = []

    def accepted() -> Any:
        def arrived() -> None:
            relay.arrivals.put_nowait(peer)

        options = asyncssh.SSHServerConnectionOptions(
            config=None, server_host_keys=[host_key], server_factory=lambda: _LetsIn(arrived),
            **given,
        )  # fmt: skip
        peer = Peer(ServerGuest(loop, options))
        peers.append(peer)
        return peer.guest

    listener = await loop.create_server(accepted, "127.0.0.1", 0)
    relay = HostileRelay(listener.sockets[0].getsockname()[1])
    host_key.write_public_key(site.folder / "state" / "ssh_host_ed25519_key.pub")
    site.trust(relay.port)
    try:
        yield relay
    finally:
        listener.close()
        for peer in peers:
            await peer.vanish()
