"""Resets of sockets that nobody reads.

An endpoint stops reading its socket while the peer's window is shut, and for good once the local
peer has half-closed. asyncio watches only what is read or written, so a reset in that time would
be noticed when the next byte comes from the far side, perhaps minutes later: a model server would
go on generating for nobody. The kernel tells of errors whether one asks for input or not; here
is the place that listens to that alone.
"""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Callable
from typing import Final

_EPOLLERR: Final[int] = getattr(select, "EPOLLERR", 0)
_EPOLLET: Final[int] = getattr(select, "EPOLLET", 0)


class ResetWatch:
    """One epoll without interest in input or output, for the sockets of one engine. Where there
    is no epoll, resets are noticed later, as everywhere else."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._epoll = select.epoll() if hasattr(select, "epoll") else None
        # By descriptor; a socket leaves this table before it is closed.
        self._watched: dict[int, Callable[[], None]] = {}
        if self._epoll is not None:
            loop.add_reader(self._epoll.fileno(), self._ready)

    def close(self) -> None:
        """Watch no more."""
        if self._epoll is not None:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._epoll = None

    def add(self, sock: socket.socket, reset: Callable[[], None]) -> None:
        """Call `reset` when `sock` has an error; the error itself is left with the socket."""
        if self._epoll is not None:
            # Edge-triggered: a hang-up, which is told as well, would be told for ever.
            self._epoll.register(sock.fileno(), _EPOLLET)
            self._watched[sock.fileno()] = reset

    def remove(self, sock: socket.socket) -> None:
        """Before `sock` is closed."""
        if self._epoll is not None and sock.fileno() in self._watched:
            del self._watched[sock.fileno()]
            self._epoll.unregister(sock.fileno())

    def _ready(self) -> None:
        assert self._epoll is not None
        for descriptor, events in self._epoll.poll(0):
            watched = self._watched.get(descriptor)
            if watched is not None and events & _EPOLLERR:
                watched()
