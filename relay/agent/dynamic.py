"""`-R port` without a target: a SOCKS server for who comes in at B, whose streams leave from here.

The client's SOCKS talk comes through the channel, so what the channel's endpoint is joined with is
one end of a socket pair; at its other end the request is read, obeyed and copied. That is the one
path on which data passes through user space twice: it is for browsing, not for bulk.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Final

import anyio

from relay.log import EventLog
from relay.policy.forward import format_address
from relay.policy.grants import Permit
from relay.ssh.dial import dial_service
from relay.wire.socks import Reply, Request, SocksServer, SocksViolation

NEGOTIATION_TIMEOUT: Final = 30.0
"""Seconds in which a client must have said what it wants."""

CHUNK: Final = 128 * 1024
"""Bytes copied at once."""


class SocksExit:
    """What one dynamic forward dials; `name` is the service that its clients come through."""

    def __init__(self, name: str, permits: tuple[Permit, ...] | None, log: EventLog) -> None:
        """`permits` is PermitRemoteOpen; None permits every target."""
        self._name = name
        self._permits = permits
        self._log = log
        self._tasks: set[asyncio.Task[None]] = set()

    async def dial(self) -> socket.socket:
        """A socket for the endpoint of a stream, with a SOCKS server at its other end."""
        ours, theirs = socket.socketpair()
        task = asyncio.create_task(self._serve(ours))
        # The loop itself holds tasks but weakly.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return theirs

    async def _serve(self, client: socket.socket) -> None:
        with client:
            client.setblocking(False)
            try:
                with anyio.fail_after(NEGOTIATION_TIMEOUT):
                    target, rest = await self._negotiate(client)
            except TimeoutError:
                self._refused("said nothing of what it wants")
                return
            except OSError as error:
                self._refused(error.strerror or str(error))
                return
            if target is None:
                return
            with target:
                await _join(client, target, rest)

    async def _negotiate(self, client: socket.socket) -> tuple[socket.socket | None, bytes]:
        """The target's socket, and what the client sent for it already. Raises OSError."""
        loop = asyncio.get_running_loop()
        socks = SocksServer()
        request: Request | None = None
        while request is None:
            data = await loop.sock_recv(client, CHUNK)
            if not data:
                raise ConnectionError("gone before its request")
            try:
                request, answer = socks.receive(data)
            except SocksViolation as violation:
                await loop.sock_sendall(client, violation.reply)
                self._refused(str(violation))
                return None, b""
            await loop.sock_sendall(client, answer)
        target, reply = await self._reach(request)
        await loop.sock_sendall(client, socks.reply(reply))
        return target, socks.rest

    async def _reach(self, request: Request) -> tuple[socket.socket | None, Reply]:
        where = format_address(request.host, request.port)
        permits = self._permits
        if permits is not None and not any(
            permit.allows_open(request.host, request.port) for permit in permits
        ):
            self._refused(f"{where} is not in PermitRemoteOpen")
            return None, Reply.NOT_ALLOWED
        try:
            return await dial_service(request.host, request.port), Reply.GRANTED
        except OSError as error:
            self._refused(f"{where}: {error.strerror or error}")
            return None, Reply.REFUSED

    def _refused(self, reason: str) -> None:
        text = "{service}: SOCKS client refused: {reason}"
        self._log.warning("socks refused", text, service=self._name, reason=reason)


async def _join(client: socket.socket, target: socket.socket, rest: bytes) -> None:
    """Copy between the two until both are at their ends, or one breaks."""
    try:
        await asyncio.get_running_loop().sock_sendall(target, rest)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_copy, client, target)
            tasks.start_soon(_copy, target, client)
    except* OSError:
        pass  # The endpoint tells how its side ended.


async def _copy(source: socket.socket, sink: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(source, CHUNK):
        await loop.sock_sendall(sink, data)
    sink.shutdown(socket.SHUT_WR)
