"""Sockets to somewhere: which names can be asked for, and which address is tried when.

The addresses are those of the system's resolver in its order (RFC 6724), as with ssh; -4 and -6
leave out the others. Each next one is tried `ATTEMPT_DELAY` after the one before it, or as soon as
that has failed; the first that is connected is used, and the others are closed (RFC 8305 §5). The
families do not take turns as §4 has it: the order is ssh's.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import socket
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import anyio
from aiohappyeyeballs import start_connection

from relay.core.forward import MAX_HOST_LENGTH, MAX_PORT
from relay.system import unix_socket

ATTEMPT_DELAY: Final = 0.25
"""Seconds: RFC 8305 §8, the Connection Attempt Delay that it recommends."""

FAMILIES: Final[Mapping[str, int]] = {
    "any": socket.AF_UNSPEC,
    "inet": socket.AF_INET,
    "inet6": socket.AF_INET6,
}
"""AddressFamily of ssh_config(5)."""

RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
"""SO_LINGER on, zero seconds: close() sends RST. So does the kernel when it closes the sockets of a
process that was killed, and a stream that was cut so is not taken for whole either."""

Where = tuple[Any, ...]
"""An address as the functions of `socket` take it: host and port, for IPv6 two numbers more."""

Found = Sequence[tuple[int, int, int, str, Where]]
"""What the system's resolver says."""


async def dial_service(host: str, port: int) -> socket.socket:
    """A connected socket for a stream, which ends with a reset from its first moment on: a leg that
    is lost, or a program that is killed, between the connection and the stream's begin must not
    look to the service like a client that came, had nothing to say, and went.

    Raises OSError, as `dial`.
    """
    return await dial(host, port, linger=RESET_ON_CLOSE)


async def dial(
    host: str,
    port: int,
    *,
    family: int = socket.AF_UNSPEC,
    bind_address: str = "",
    seconds_each: float | None = None,
    linger: bytes | None = None,
) -> socket.socket:
    """A connected socket to `host:port`, whatever a peer or a user has said these are.

    Args:
        host: a name or an address.
        port: from 1 to 65535.
        family: AF_INET or AF_INET6, to use only that.
        bind_address: an address of this machine, or a name of one, to connect from.
        seconds_each: for how long an address is tried; None: for as long as the system does.
        linger: the socket's SO_LINGER.

    Raises:
        OSError: there is no such name, or none of its addresses answers. `strerror` is for people.
    """
    check_port(port)
    here = host == "localhost" or _is_literal(host)
    found = await resolve(host, port, family)
    sources: dict[int, Where] | None = None
    if bind_address:
        # The first of each family, the order being the resolver's.
        sources = {one[0]: one[4] for one in reversed(await resolve(bind_address, 0, family))}
    attempts = _Attempts(seconds_each, linger, sources)
    try:
        return await start_connection(
            cast(Any, found),
            # This machine answers at once, and a race has its price.
            happy_eyeballs_delay=None if here else ATTEMPT_DELAY,
            interleave=0,
            loop=cast(asyncio.AbstractEventLoop, attempts),
            socket_factory=attempts.new_socket,
        )
    except OSError as error:
        raise attempts.failure(error) from None


class _Attempts:
    """What aiohappyeyeballs asks for each address: a socket, and of the loop that it connects."""

    def __init__(
        self, seconds: float | None, linger: bytes | None, sources: dict[int, Where] | None
    ) -> None:
        """`sources` is where to connect from, for each address family; None: from anywhere."""
        self._seconds = seconds
        self._linger = linger
        self._sources = sources
        # In the order in which the addresses failed.
        self._failures: list[OSError] = []

    def new_socket(self, info: Any) -> socket.socket:
        family, kind, protocol, _, _ = info
        sock = socket.socket(family, kind, protocol)
        try:
            if self._linger is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, self._linger)
            if self._sources is not None:
                if family not in self._sources:
                    text = "the address to connect from is of another family"
                    raise OSError(errno.EAFNOSUPPORT, text)
                sock.bind(self._sources[family])
        except OSError as error:
            sock.close()
            self._failures.append(error)
            raise
        return sock

    async def sock_connect(self, sock: socket.socket, where: Where) -> None:
        try:
            with anyio.fail_after(self._seconds):
                await asyncio.get_running_loop().sock_connect(sock, where)
        except OSError as error:
            # A time-out of ours has no number, and asyncio's text has the address for a reason.
            number = errno.ETIMEDOUT if isinstance(error, TimeoutError) else error.errno
            self._failures.append(OSError(number, os.strerror(number or errno.EIO)))
            raise self._failures[-1] from None

    def failure(self, error: OSError) -> OSError:
        """What became of them all; `error` is the library's word for it."""
        if not self._failures:
            return error
        reasons = dict.fromkeys(one.strerror or str(one) for one in self._failures)
        return OSError(self._failures[-1].errno, ", ".join(reasons))


async def resolve(host: str, port: int, family: int = socket.AF_UNSPEC) -> Found:
    """The addresses of a host. Raises OSError."""
    check_host(host)
    if host == "localhost" or _is_literal(host):
        # Answered by this machine at once: a thread would cost more than the answer.
        return socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
    loop = asyncio.get_running_loop()
    return await loop.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)


def check_port(port: int) -> None:
    """Raises OSError for what is no port to connect to."""
    if not 1 <= port <= MAX_PORT:
        raise OSError(errno.EINVAL, f"there is no port {port}: ports are 1 to {MAX_PORT}")


def check_host(host: str) -> None:
    """Raises OSError for what no resolver can be asked: Python's raises UnicodeError for some of
    it, and takes what stands before a NUL for the name."""
    problem = ""
    if not host:
        problem = "no host is named"
    elif len(host) > MAX_HOST_LENGTH:
        problem = f"a host's name has at most {MAX_HOST_LENGTH} characters"
    elif not host.isprintable():
        problem = "a host's name has no control characters"
    else:
        try:
            host.encode("idna")  # RFC 3490, and for ASCII the lengths of RFC 1035 §2.3.4.
        except UnicodeError:
            problem = "no name of a host: its parts have 1 to 63 characters each"
    if problem:
        raise OSError(errno.EINVAL, problem)


async def dial_unix(path: str) -> socket.socket:
    """A connected unix socket. Raises OSError."""
    sock = unix_socket()
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, path)
    except BaseException:
        sock.close()
        raise
    return sock


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
