"""One user at A: python -m benchmarks.users KIND B_PORT KEY KNOWN_HOSTS SERVICE LOCAL_PORT

KIND is one of `USERS`. LOCAL_PORT is that of a relay-connect, for whoever uses it.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio
import anyio.abc

from benchmarks.load import connect
from benchmarks.service import CHUNK
from benchmarks.users.loads import AsyncStream, obey, obey_async


@dataclass(frozen=True)
class Where:
    """What a user is told."""

    b_port: int
    key: str
    known_hosts: str
    service: str
    local_port: int

    def settings(self) -> dict[str, Any]:
        """Of `relay.connect` and `relay.sync.connect`."""
        return {
            "port": self.b_port,
            "identity": self.key,
            "known_hosts": self.known_hosts,
            "config": "none",
        }


B = "bench@127.0.0.1"


class FromAnyio:
    """A stream of anyio's."""

    def __init__(self, stream: anyio.abc.ByteStream) -> None:
        self.send = stream.send
        self.aclose = stream.aclose
        self._receive = stream.receive

    async def receive(self) -> bytes:
        return await self._receive(CHUNK)


class FromAsyncssh:
    """A pair of asyncssh's (or asyncio's)."""

    def __init__(self, reader: Any, writer: Any) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def receive(self) -> bytes:
        data: bytes = await self._reader.read(CHUNK)
        return data

    async def aclose(self) -> None:
        self._writer.close()


async def by_library(where: Where) -> None:
    """`relay.connect`, on whatever loop this is."""
    import relay

    async with relay.connect(B, **where.settings()) as tunnel:

        async def opened() -> AsyncStream:
            return FromAnyio(await tunnel.open(where.service))

        await obey_async(opened)


async def by_port(where: Where) -> None:
    """A local port of relay-connect's."""

    async def opened() -> AsyncStream:
        stream = await anyio.connect_tcp("127.0.0.1", where.local_port)
        return FromAnyio(stream)

    await obey_async(opened)


async def by_asyncssh(where: Where) -> None:
    """asyncssh's `open_connection`, set for speed as its chain is."""
    import asyncssh

    from benchmarks.peers.asyncssh_node import SETTINGS

    host, _, port = where.service.rpartition(":")
    async with asyncssh.connect(
        "127.0.0.1", where.b_port, username="bench", client_keys=[where.key],
        known_hosts=where.known_hosts, config=None, **SETTINGS,
    ) as connection:  # fmt: skip

        async def opened() -> AsyncStream:
            return FromAsyncssh(*await connection.open_connection(host, int(port)))

        await obey_async(opened)


def by_sync(where: Where) -> None:
    """`relay.sync`."""
    import relay.sync

    with relay.sync.connect(B, **where.settings()) as tunnel:

        def opened() -> socket.socket:
            sock: socket.socket = tunnel.open_socket(where.service)
            return sock

        obey(opened)


def by_blocking_port(where: Where) -> None:
    """A local port of relay-connect's, as a program without a loop uses it."""
    obey(partial(connect, where.local_port))


def by_paramiko(where: Where) -> None:
    """paramiko's `direct-tcpip`, which sshtunnel stands on."""
    import paramiko  # type: ignore[import-untyped]

    host, _, port = where.service.rpartition(":")
    with paramiko.SSHClient() as client:
        client.load_host_keys(where.known_hosts)
        client.connect(
            "127.0.0.1", where.b_port, username="bench", key_filename=where.key,
            allow_agent=False, look_for_keys=False,
        )  # fmt: skip
        transport = client.get_transport()
        assert transport is not None
        obey(lambda: transport.open_channel("direct-tcpip", (host, int(port)), ("127.0.0.1", 0)))


def on(backend: str, work: Callable[[Where], Any], **options: Any) -> Callable[[Where], None]:
    """An asynchronous user on this loop."""

    def run(where: Where) -> None:
        anyio.run(work, where, backend=backend, backend_options=options)

    return run


def on_asyncio(work: Callable[[Where], Any]) -> Callable[[Where], None]:
    """One that knows nothing of anyio."""
    return lambda where: asyncio.run(work(where))


USERS: Mapping[str, Callable[[Where], None]] = {
    "asyncio": on("asyncio", by_library),
    "uvloop": on("asyncio", by_library, use_uvloop=True),
    "trio": on("trio", by_library),
    "sync": by_sync,
    "port-asyncio": on("asyncio", by_port),
    "port-uvloop": on("asyncio", by_port, use_uvloop=True),
    "port-trio": on("trio", by_port),
    "port-sync": by_blocking_port,
    "asyncssh": on_asyncio(by_asyncssh),
    "paramiko": by_paramiko,
}


if __name__ == "__main__":
    kind, b_port, key, known_hosts, service, local_port = sys.argv[1:]
    USERS[kind](Where(int(b_port), key, known_hosts, service, int(local_port)))
