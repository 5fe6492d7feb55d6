"""The connections of `--http`: HTTP/1.1 by uvicorn, in the program's own loop.

Of uvicorn it is the protocol alone. Its server has signal handlers, a tick and an end of its own,
and the program has these already. What the protocol lacks is here: how many connections there are,
and how long each may take.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any, Final, cast

import anyio
import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from relay.system import AF_UNIX
from relay.web.access import Door
from relay.web.limits import (
    ANSWER_TIMEOUT,
    CONNECTIONS,
    LOOKED_AFTER,
    MAX_HEAD,
    REQUEST_TIMEOUT,
)

_SILENT: Final = logging.Logger("relay.web")
"""What strangers send is not worth a line of uvicorn's, and faults of ours are told by who made
them."""
_SILENT.addHandler(logging.NullHandler())


class Connection(H11Protocol):
    """One connection, that ends when it takes too long."""

    def __init__(self, config: Config, state: ServerState, door: Door) -> None:
        super().__init__(config, state, {"door": door})
        self.logger = _SILENT
        self.access_log = False
        # Since when the next request is waited for.
        self._asked_since = self.loop.time()
        # Since when there has been something in the buffer that the client does not take.
        self._stuck_since: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast(asyncio.Transport, transport))
        if len(self.connections) > CONNECTIONS:
            self._make_room()

    def _make_room(self) -> None:
        """End the eldest that has not asked yet, which may be this one."""
        asking = [one for one in self._others() if one.is_asking]
        eldest = min(asking, key=lambda one: one._asked_since, default=self)
        # (At once: many may come before it is told that it is lost.)
        self.connections.discard(eldest)
        eldest.transport.abort()

    def _others(self) -> list[Connection]:
        return [one for one in self.connections if isinstance(one, Connection)]

    @property
    def is_asking(self) -> bool:
        """Its request is not there as a whole."""
        return self.conn.their_state is not h11.DONE

    def on_response_complete(self) -> None:
        self._asked_since = self.loop.time()
        super().on_response_complete()

    def is_overdue(self, now: float) -> bool:
        if self.is_asking and now - self._asked_since > REQUEST_TIMEOUT:
            return True
        if not self.transport.get_write_buffer_size():
            self._stuck_since = None
        elif self._stuck_since is None:
            self._stuck_since = now
        return self._stuck_since is not None and now - self._stuck_since > ANSWER_TIMEOUT


class Connections:
    """All of them, and the sockets where they come. Belongs to one loop; ended by `aclose`."""

    def __init__(self, app: Any) -> None:
        self._config = Config(
            app, interface="asgi3", lifespan="off", ws="none", http="h11", log_config=None,
            access_log=False, proxy_headers=False, server_header=False, date_header=False,
            h11_max_incomplete_event_size=MAX_HEAD, timeout_keep_alive=int(REQUEST_TIMEOUT),
        )  # fmt: skip
        self._config.load()
        self._state = ServerState()
        self._loop = asyncio.get_running_loop()
        self._servers: list[asyncio.Server] = []
        self._timer: asyncio.TimerHandle | None = None
        self._look()

    def __len__(self) -> int:
        return len(self._state.connections)

    async def listen(self, sock: socket.socket, door: Door) -> None:
        """Serve who connects. The socket stays its owner's to close, behind `aclose`."""
        made = self._made(door)
        if sock.family == AF_UNIX:
            server = await self._loop.create_unix_server(made, sock=sock)
        else:
            server = await self._loop.create_server(made, sock=sock)
        self._servers.append(server)

    async def serve(self, sock: socket.socket, door: Door) -> None:
        """Serve who is connected to this socket, which is ours from now on."""
        await self._loop.connect_accepted_socket(self._made(door), sock)

    def _made(self, door: Door) -> Callable[[], Connection]:
        return lambda: Connection(self._config, self._state, door)

    def _look(self) -> None:
        now = self._loop.time()
        for one in list(self._state.connections):
            if isinstance(one, Connection) and one.is_overdue(now):
                one.transport.abort()
        self._timer = self._loop.call_later(LOOKED_AFTER, self._look)

    async def aclose(self) -> None:
        """End all."""
        if self._timer is not None:
            self._timer.cancel()
        for server in self._servers:
            server.close()
        with anyio.CancelScope(shield=True):
            for one in list(self._state.connections):
                one.transport.close()
            await asyncio.sleep(0)  # What there is room for has left.
            for one in list(self._state.connections):
                one.transport.abort()
            for task in self._state.tasks:
                task.cancel()
            await asyncio.gather(*self._state.tasks, return_exceptions=True)
