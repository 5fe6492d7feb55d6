"""`-W`: one stream on standard input and output, so that anyone can use us as a ProxyCommand."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from typing import Final

import anyio
import anyio.to_thread

from relay.errors import PeerError, Refused
from relay.io.endpoint import Endpoint
from relay.ssh.client import ClientLeg
from relay.system import as_bytes
from relay.wire.messages import tcpip_fields

CHUNK: Final = 128 * 1024
"""Bytes copied at once."""


async def run_stdio(leg: ClientLeg, host: str, port: int) -> None:
    """Join `host:port` at the far end with standard input and output until both are done.

    Standard input may be a file, a pipe or a terminal, which no event loop waits for alike: two
    threads copy between them and a socket pair. Raises `PeerError` when the stream breaks.
    """
    ours, theirs = socket.socketpair()
    over = anyio.Event()
    reasons: list[str] = []

    def ended(_: Endpoint, reason: str) -> None:
        reasons.append(reason)
        over.set()

    fields = tcpip_fields(host, port, "127.0.0.1", 0)
    endpoint = Endpoint(leg, ended)
    endpoint.open(theirs, b"direct-tcpip", fields)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_in_thread, _copy_in, ours)
            await _in_thread(_copy_out, ours)
            await over.wait()
            # Standard input may never end; nobody listens to it any more.
            tasks.cancel_scope.cancel()
    finally:
        ours.close()
    if endpoint.refused:
        raise Refused(f"{host}:{port}: {reasons[0]}")
    if reasons[0]:
        raise PeerError(f"{host}:{port}: {reasons[0]}")


async def _in_thread(copy: Callable[[socket.socket], None], sock: socket.socket) -> None:
    await anyio.to_thread.run_sync(copy, sock, abandon_on_cancel=True)


def _copy_in(sock: socket.socket) -> None:
    descriptor = as_bytes(sys.stdin.fileno())
    try:
        while data := os.read(descriptor, CHUNK):
            sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # The stream is gone; its endpoint says why.


def _copy_out(sock: socket.socket) -> None:
    descriptor = as_bytes(sys.stdout.fileno())
    try:
        while data := sock.recv(CHUNK):
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
    except OSError:
        # Whoever reads our output is gone, or the stream broke: the endpoint learns by a reset.
        sock.shutdown(socket.SHUT_RDWR)
