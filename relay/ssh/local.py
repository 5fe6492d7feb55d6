"""Local sockets: the ports that a program opens, and the services that it dials."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
from collections.abc import Callable, Iterable
from typing import Final

from relay.errors import AddressError
from relay.policy.forward import format_address
from relay.policy.limits import LOCAL_BACKLOG

LOOPBACK: Final = ("127.0.0.1", "::1")
EVERY_ADDRESS: Final = ("0.0.0.0", "::")

ACCEPT_PAUSE: Final = 0.5
"""Seconds without accepting after the process ran out of descriptors: long enough for some to be
closed, and not a busy loop."""

ACCEPTS_PER_EVENT: Final = 64
"""Connections accepted before it is another socket's turn."""

_OUT_OF_RESOURCES: Final = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


def addresses_of(bind: str | None, *, default: tuple[str, ...] = LOOPBACK) -> tuple[str, ...]:
    """The addresses that ssh means by a bind address: none given, `localhost`, `*` or empty."""
    if bind is None:
        return default
    if bind in ("", "*"):
        return EVERY_ADDRESS
    return LOOPBACK if bind == "localhost" else (bind,)


def listen(addresses: Iterable[str], port: int) -> list[socket.socket]:
    """Listening sockets on one port of each address; port 0 picks one, the same for all.

    As ssh does, an address that the machine does not have is passed over while another works.
    Raises `AddressError` when one is taken or none works.
    """
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    for address in addresses:
        try:
            sock = _listen_one(address, port)
        except OSError as error:
            if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                missing = error
                continue
            for opened in sockets:
                opened.close()
            raise _cannot(address, port, error) from None
        sockets.append(sock)
        port = sock.getsockname()[1]
    if not sockets:
        assert missing is not None
        raise _cannot(", ".join(addresses), port, missing)
    return sockets


def _cannot(address: str, port: int, error: OSError) -> AddressError:
    where = format_address(address, port)
    return AddressError(f"cannot listen on {where}: {error.strerror or error}")


def _listen_one(address: str, port: int) -> socket.socket:
    family, kind, protocol, _, where = socket.getaddrinfo(
        address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setblocking(False)
        sock.bind(where)
        sock.listen(LOCAL_BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def name_of(sock: socket.socket) -> str:
    """`127.0.0.1:2222`, `[::1]:2222`"""
    host, port = sock.getsockname()[:2]
    return format_address(host, port)


class Acceptor:
    """Takes the connections of one listening socket until it is closed."""

    def __init__(
        self, sock: socket.socket, accepted: Callable[[socket.socket, tuple[str, int]], None]
    ) -> None:
        self._sock = sock
        self._accepted = accepted
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        self._loop.add_reader(sock, self._readable)

    def _readable(self) -> None:
        for _ in range(ACCEPTS_PER_EVENT):
            try:
                sock, address = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _OUT_OF_RESOURCES:
                    raise
                self._loop.remove_reader(self._sock)
                self._pause = self._loop.call_later(ACCEPT_PAUSE, self._resume)
                return
            self._accepted(sock, address[:2])

    def _resume(self) -> None:
        self._pause = None
        self._loop.add_reader(self._sock, self._readable)

    def close(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._sock)
        self._sock.close()


async def dial(host: str, port: int) -> socket.socket:
    """A connected socket to `host:port`, trying its addresses in their order.

    Raises OSError: that of the last address, or of the name's resolution.
    """
    loop = asyncio.get_running_loop()
    if host == "localhost" or _is_literal(host):
        # Answered by this machine at once: a thread would cost more than the answer.
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    else:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    failure: OSError = OSError(errno.EADDRNOTAVAIL, "no address")
    for family, kind, protocol, _, where in found:
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            await loop.sock_connect(sock, where)
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise failure


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
