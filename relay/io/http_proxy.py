"""A connection through an HTTP proxy, in place of one that is dialled."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable
from typing import Final

import anyio

from relay.core.http_connect import HttpConnect
from relay.errors import LegLost
from relay.io.dial import check_host, check_port
from relay.io.tls import encrypted
from relay.sshconfig.proxy import HttpProxy
from relay.trust.secret import read_password

CHUNK: Final = 4096
"""Bytes looked at in one turn; an answer has some hundred."""

Dial = Callable[[str, int], Awaitable[socket.socket]]


async def dial_through(
    proxy: HttpProxy, host: str, port: int, dial: Dial, seconds: float
) -> socket.socket:
    """A connected socket whose other end is `host:port`: not a byte of theirs has been read.

    Args:
        proxy: whom to ask.
        host: a name, which the proxy resolves, or an address.
        port: from 1 to 65535.
        dial: makes the connection to the proxy.
        seconds: how long the proxy may take for its answer.

    Raises:
        OSError: the proxy cannot be reached, or that is no host.
        PeerError: it does not lead there.
        LocalError: the file with the password cannot be used, or no proxy can be asked for `host`.
    """
    check_host(host)
    check_port(port)
    talk = HttpConnect(host, port, _credentials(proxy))
    sock = await dial(proxy.host, proxy.port)
    try:
        with anyio.fail_after(seconds):
            if proxy.tls:
                sock = await encrypted(sock, proxy.host)
            await _ask(sock, talk)
    except BaseException as error:
        sock.close()
        if isinstance(error, TimeoutError) and error.errno is None:
            raise LegLost("the proxy does not answer") from None
        raise
    return sock


def _credentials(proxy: HttpProxy) -> tuple[str, str] | None:
    """Read anew each time: a password changes while a program runs."""
    if not proxy.user:
        return None
    if proxy.password_file is not None:
        return proxy.user, read_password(proxy.password_file)
    return proxy.user, proxy.password


async def _ask(sock: socket.socket, talk: HttpConnect) -> None:
    """Speak to the proxy until it has said yes. What it says is looked at before it is taken, so
    that what is behind it stays in the socket for whoever has that next."""
    await asyncio.get_running_loop().sock_sendall(sock, talk.request)
    while not talk.open:
        await anyio.wait_readable(sock)
        try:
            sock.recv(talk.receive(sock.recv(CHUNK, socket.MSG_PEEK)))
        except (BlockingIOError, InterruptedError):
            pass
        except ConnectionResetError as error:
            raise OSError(errno.ECONNRESET, "the proxy closed the connection") from error
