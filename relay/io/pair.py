"""A stream whose local side is one socket of a pair, for whoever is on another thread.

    its user ─ socket ═ socket ─ Endpoint ─► leg

The kernel moves the bytes from thread to thread, wakes who waits, and holds both sides back. What a
pair of unix sockets cannot tell is told by two words in memory, each written by one side before it
closes its socket, and read by the other once it has found that closed: that the stream broke
(`broken`), which else looks like an end in good order, and that its user closes it with something
half said (`cut`).
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Final, Protocol

from relay.core.port import State
from relay.errors import LegLost
from relay.io import endpoint
from relay.io.memory import UNFINISHED
from relay.io.opening import Opening
from relay.wire.numbers import OpenFailure

PAIR_TRIES: Final = 16
"""Pairs of TCP sockets that are tried, where strangers of this machine connect in between."""

Pair = Callable[[], tuple[socket.socket, socket.socket]]
"""Makes two sockets that are connected with each other. Raises OSError."""


class Leg(endpoint.Leg, Protocol):
    """What a stream's channel is on."""

    @property
    def alive(self) -> bool: ...


class PairStream(Opening, endpoint.Endpoint):
    """One stream. Its own methods are called in the event loop; its user has the other socket, and
    of this the attributes `broken` and `cut`."""

    def __init__(
        self,
        leg: Leg,
        pair: Pair = socket.socketpair,
        admit: Callable[[PairStream], None] | None = None,
    ) -> None:
        """`admit` answers the peer's open, by `confirm` or `refuse`, at once or later. Raises
        `LegLost` when `leg` is gone already."""
        if not leg.alive:
            raise LegLost("the connection to the relay was lost")
        super().__init__(leg, lambda endpoint, reason: None)
        self._pair = pair
        self._admit = admit
        # The peer said all, and our user can read that.
        self._whole = False
        # Why the stream is not whole, though the user finds it at its end. Ours to write.
        self.broken = ""
        # It is closed with a part of something said. The user's to write.
        self.cut = False

    # -- how it begins

    async def ask_for(self, kind: bytes, fields: bytes) -> socket.socket:
        """Ask the peer for the channel; returns the user's socket. Raises what `MemoryStream.open`
        raises, and OSError."""
        ours, theirs = self._pair()
        self._opened = self._loop.create_future()
        self.open(ours, kind, fields)
        try:
            await self._opened
        except BaseException:
            self.local_lost("")
            theirs.close()
            raise
        return theirs

    def confirm(self) -> socket.socket | None:
        """Confirm the peer's open; returns the user's socket. None: the leg is gone, or the peer.
        Raises OSError when there is no socket to be had, and refuses it."""
        if self.state is not State.DIALLING:
            return None
        try:
            ours, theirs = self._pair()
        except OSError:
            self.refuse(OpenFailure.RESOURCE_SHORTAGE, "too many open files")
            raise
        self._adopt(ours)
        self.joined()
        return theirs

    def _begin(self) -> None:
        self._answered()
        super()._begin()

    # -- how it ends

    def local_eof(self) -> None:
        if self.cut:
            self.local_lost(UNFINISHED)
        else:
            super().local_eof()

    def _shut(self) -> None:
        self._whole = True
        super()._shut()

    def _drop(self, *, reset: bool) -> None:
        if reset and not self._whole:
            self.broken = self.reason or UNFINISHED
        self._not_answered()
        super()._drop(reset=reset)


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Two TCP sockets of this machine. They are for those who know nothing of us: that the stream
    broke is told by a reset, which a unix socket has no word for. Raises OSError.

    Anyone on this machine can connect to a port that listens, if only for a moment: who is not the
    other one of the two is turned away.
    """
    with socket.create_server(("127.0.0.1", 0)) as listening:
        theirs = socket.create_connection(listening.getsockname())
        try:
            for _ in range(PAIR_TRIES):
                ours, peer = listening.accept()
                if peer == theirs.getsockname():
                    theirs.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    return ours, theirs
                ours.close()
            raise ConnectionAbortedError("strangers connect to this machine's loopback")
        except BaseException:
            theirs.close()
            raise
