"""TLS as a socket without it: what is written to our end leaves encrypted, and the other way round.

A leg has a socket, whose bytes it reads into a buffer of its own; a TLS connection of Python's has
none. So there is a pair of sockets, and two transports that hand each other what comes. It costs a
copy and a second pass through the kernel, and is for who has no other way out.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from typing import cast


class _Side(asyncio.Protocol):
    """One of two connections: what comes on it leaves on the other, and it ends with that."""

    def __init__(self) -> None:
        self.other: _Side
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self.other.transport is not None:
            self.other.transport.write(data)

    def pause_writing(self) -> None:
        if self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other.transport is not None:
            self.other.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        if self.other.transport is not None:
            self.other.transport.close()


async def encrypted(sock: socket.socket, host: str) -> socket.socket:
    """TLS on a connected socket, which is ours from now on, with a server that must be `host` by a
    certificate that this system trusts (SSL_CERT_FILE names others). Returns the end of a pair.

    Raises OSError.
    """
    ours, theirs = socket.socketpair()
    inner, outer = _Side(), _Side()
    inner.other, outer.other = outer, inner
    loop = asyncio.get_running_loop()
    try:
        ours.setblocking(False)
        context = ssl.create_default_context()
        await loop.connect_accepted_socket(lambda: inner, theirs)
        await loop.create_connection(lambda: outer, sock=sock, ssl=context, server_hostname=host)
    except BaseException as error:
        for one in (ours, sock):
            one.close()
        if inner.transport is not None:
            inner.transport.abort()
        else:
            theirs.close()
        if isinstance(error, ssl.CertificateError):
            raise OSError(errno.EPROTO, f"its certificate: {error.verify_message}") from None
        if isinstance(error, ssl.SSLError):
            raise OSError(errno.EPROTO, "no TLS with it: is it a proxy for https://?") from None
        raise
    return ours
