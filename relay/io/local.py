"""Local sockets: the ports and paths that a program opens."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Iterable
from typing import Final

from relay.core.forward import format_address
from relay.core.limits import LOCAL_BACKLOG
from relay.errors import AddressError
from relay.io.dial import check_host
from relay.system import AF_UNIX, keep_port, unix_socket

LOOPBACK: Final = ("127.0.0.1", "::1")
EVERY_ADDRESS: Final = ("0.0.0.0", "::")

UNIX_ORIGIN: Final = ("127.0.0.1", 65535)
"""Where a connection to a unix socket is said to come from: what ssh says, since a peer may want
an address there."""

BIND_MASK: Final = 0o177
"""StreamLocalBindMask's default: "readable and writable only by the owner"."""

ACCEPT_PAUSE: Final = 0.1
"""Seconds without accepting after the process ran out of descriptors: long enough for some to be
closed, and not a busy loop."""

ACCEPTS_PER_EVENT: Final = 16
"""Connections accepted before it is another socket's turn: 4 ms, if each becomes a leg."""

PORT_PICKS: Final = 16
"""Ports that are tried where any will do: even where every other one is taken at the next address,
one in sixty thousand is refused."""

_OUT_OF_RESOURCES: Final = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class _PortTaken(AddressError):
    """Another one might be free."""


def addresses_of(
    bind: str | None, *, default: tuple[str, ...] = LOOPBACK, family: str = "any"
) -> tuple[str, ...]:
    """The addresses that ssh means by a bind address: none given, `localhost`, `*` or empty; of
    them, those of the family (of AddressFamily, -4 and -6)."""
    if bind is None:
        addresses = default
    elif bind in ("", "*"):
        addresses = EVERY_ADDRESS
    elif bind == "localhost":
        addresses = LOOPBACK
    else:
        return (bind,)
    return tuple(one for one in addresses if family in ("any", "inet6" if ":" in one else "inet"))


def listen(addresses: Iterable[str], port: int) -> list[socket.socket]:
    """Listening sockets on one port of each address; port 0 picks one, the same for all.

    As ssh does, an address that the machine does not have is passed over while another works.
    Raises `AddressError` when one is taken or none works.
    """
    wanted = tuple(addresses)
    for _ in range(PORT_PICKS - 1 if port == 0 else 0):
        try:
            return _listen_all(wanted, port)
        except _PortTaken:
            pass  # What is free at one address may be somebody's at the next.
    return _listen_all(wanted, port)


def _listen_all(addresses: tuple[str, ...], port: int) -> list[socket.socket]:
    """Raises `AddressError`: `_PortTaken` if another port might do."""
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
    kind = _PortTaken if error.errno == errno.EADDRINUSE else AddressError
    return kind(f"cannot listen on {where}: {error.strerror or error}")


def _listen_one(address: str, port: int) -> socket.socket:
    check_host(address)
    family, kind, protocol, _, where = socket.getaddrinfo(
        address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    sock = socket.socket(family, kind, protocol)
    try:
        keep_port(sock)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setblocking(False)
        sock.bind(where)
        sock.listen(LOCAL_BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def listen_unix(path: str, *, mask: int = BIND_MASK, unlink: bool = False) -> socket.socket:
    """A listening unix socket, whose file has the mode that `mask` leaves.

    `unlink` is StreamLocalBindUnlink: a file that is there already is removed first. Raises
    `AddressError`.
    """
    try:
        sock = unix_socket()
    except OSError as error:
        raise AddressError(f"cannot listen on {path}: {error.strerror}") from None
    try:
        if unlink:
            _unlink(path)
        sock.setblocking(False)
        # Of the whole process, for two calls: no other thread of ours makes files.
        before = os.umask(mask)
        try:
            sock.bind(path)
        finally:
            os.umask(before)
        sock.listen(LOCAL_BACKLOG)
    except OSError as error:
        sock.close()
        raise AddressError(f"cannot listen on {path}: {error.strerror or error}") from None
    return sock


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def name_of(sock: socket.socket) -> str:
    """`127.0.0.1:2222`, `[::1]:2222`, or the path of a unix socket"""
    if sock.family == AF_UNIX:
        return str(sock.getsockname())
    host, port = sock.getsockname()[:2]
    return format_address(host, port)


class Acceptor:
    """Takes the connections of one listening socket until it is closed."""

    def __init__(
        self,
        sock: socket.socket,
        accepted: Callable[[socket.socket, tuple[str, int]], None],
        out_of_descriptors: Callable[[], None] | None = None,
    ) -> None:
        """`out_of_descriptors` is called when a connection waits and there is no descriptor for
        it; then comes a pause, after which there may be one."""
        self._sock = sock
        self._accepted = accepted
        self._out_of_descriptors = out_of_descriptors
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
                if self._out_of_descriptors is not None:
                    self._out_of_descriptors()
                self._loop.remove_reader(self._sock)
                self._pause = self._loop.call_later(ACCEPT_PAUSE, self._resume)
                return
            self._accepted(sock, address[:2] if address else UNIX_ORIGIN)

    def _resume(self) -> None:
        self._pause = None
        self._loop.add_reader(self._sock, self._readable)

    def close(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._sock)
        if self._sock.family == AF_UNIX:
            _unlink(self._sock.getsockname())
        self._sock.close()


_CONGESTION: Final = getattr(socket, "TCP_CONGESTION", None)

NO_PACING: Final = b"reno"
"""A congestion control that every Linux has, lets every user choose, and that sends as soon as the
window permits."""


def spare_pacing(sock: socket.socket) -> None:
    """Do not space out what goes to a peer on this very machine, where the system's congestion
    control does that: BBR takes the processor's pauses for a narrow path, and sets a timer for each
    send. Measured, where BBR is the default: 14 % more throughput with this for the one socket at
    each end of a stream."""
    if _CONGESTION is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    try:
        if sock.getpeername()[0] == sock.getsockname()[0]:
            sock.setsockopt(socket.IPPROTO_TCP, _CONGESTION, NO_PACING)
    except OSError:
        pass  # Not permitted here, or the peer is gone already, which reading tells.
