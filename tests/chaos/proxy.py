"""A TCP proxy that fails as networks do."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Connection:
    """One connection through the proxy."""

    def __init__(self, link: asyncio.Event, client: Streams, server: Streams) -> None:
        self.ends = (client, server)
        # Is anything carried at the moment on this link, and on this connection?
        self.gates = [link]

    async def carry(self) -> None:
        """Carry both ways until one of them ends; then both ends are closed."""
        (from_client, to_client), (from_server, to_server) = self.ends
        ways = [
            asyncio.create_task(self._carry(from_client, to_server)),
            asyncio.create_task(self._carry(from_server, to_client)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            self.cut()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while True:
                data = await reader.read(1 << 16)
                for gate in self.gates:
                    await gate.wait()
                if not data:
                    return
                writer.write(data)
                await writer.drain()

    def cut(self, *, reset: bool = False) -> None:
        """Close both ends, with FIN or with RST, wherever the streams are."""
        for _, writer in self.ends:
            sock = writer.get_extra_info("socket")
            if reset and sock.fileno() != -1:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()


class Proxy:
    """The link to a port of this machine."""

    def __init__(self, target: int) -> None:
        self.port = 0
        self._target = target
        self._passing = asyncio.Event()
        self._passing.set()
        self._connections: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[Proxy]:
        server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        connection = None
        try:
            await self._passing.wait()
            server = await asyncio.open_connection("127.0.0.1", self._target)
            connection = Connection(self._passing, (reader, writer), server)
            self._connections.add(connection)
            await connection.carry()
        except (OSError, asyncio.CancelledError):
            pass  # The target is away, or the test is over.
        finally:
            writer.transport.abort()
            self._tasks.discard(task)
            if connection is not None:
                self._connections.discard(connection)

    def cut(self, *, reset: bool = False) -> None:
        """End all connections at both ends."""
        for connection in list(self._connections):
            connection.cut(reset=reset)

    def freeze(self) -> None:
        """Carry nothing, not even the end of a connection: half-open. New ones wait too."""
        self._passing.clear()

    def thaw(self) -> None:
        """Go on: what waited comes after all, and so does the news of ends that were closed."""
        self._passing.set()

    def lose(self) -> None:
        """Carry nothing more on the connections of now, as a NAT that has forgotten them."""
        for connection in self._connections:
            connection.gates.append(asyncio.Event())
