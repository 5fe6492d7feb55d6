"""The two kinds of streams, as a link makes them in its loop: of memory, and pairs of sockets."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from relay.core.handler import ChannelHandler
from relay.io.memory import MemoryStream
from relay.io.pair import Pair, PairStream
from relay.ssh.client import ClientLeg
from relay.wire.numbers import OpenFailure

Raw = TypeVar("Raw")
"""A stream as it is handed from the link to its user."""


@dataclass(frozen=True, slots=True)
class Arrival(Generic[Raw]):
    """A stream that the peer has asked for, and nobody has answered yet."""

    origin: tuple[str, int]
    confirm: Callable[[], Raw | None]
    """Accept it. None: it is gone. Raises OSError."""
    refuse: Callable[[OpenFailure, str], None]
    gone: Callable[[], bool]
    """Nobody waits for an answer any more."""


class Joint(Protocol[Raw]):
    """Makes streams of one kind."""

    async def open(self, leg: ClientLeg, kind: bytes, fields: bytes) -> Raw:
        """One that we ask for. Raises `RelayError`, OSError."""

    def serve(
        self, leg: ClientLeg, origin: tuple[str, int], arrived: Callable[[Arrival[Raw]], None]
    ) -> ChannelHandler:
        """Stands for one that the peer asks for, of which `arrived` is told."""


class MemoryJoint:
    """For users in the link's own loop."""

    async def open(self, leg: ClientLeg, kind: bytes, fields: bytes) -> MemoryStream:
        stream = MemoryStream(leg)
        await stream.open(kind, fields)
        return stream

    def serve(
        self,
        leg: ClientLeg,
        origin: tuple[str, int],
        arrived: Callable[[Arrival[MemoryStream]], None],
    ) -> ChannelHandler:
        stream = MemoryStream(leg)
        confirm = lambda: stream if stream.confirm() else None  # noqa: E731
        arrival = Arrival(origin, confirm, stream.refuse, lambda: stream.over)
        stream.serve(lambda stream: arrived(arrival))
        return stream


@dataclass(frozen=True, slots=True)
class RawPair:
    """The user's socket, and what it knows of the other one."""

    sock: socket.socket
    stream: PairStream


class PairJoint:
    """For users in other threads."""

    def __init__(self, pair: Pair = socket.socketpair) -> None:
        self._pair = pair

    async def open(self, leg: ClientLeg, kind: bytes, fields: bytes) -> RawPair:
        stream = PairStream(leg, self._pair)
        return RawPair(await stream.ask_for(kind, fields), stream)

    def serve(
        self, leg: ClientLeg, origin: tuple[str, int], arrived: Callable[[Arrival[RawPair]], None]
    ) -> ChannelHandler:
        def confirm() -> RawPair | None:
            sock = stream.confirm()
            return None if sock is None else RawPair(sock, stream)

        stream = PairStream(leg, self._pair, lambda stream: arrived(arrival))
        arrival = Arrival(origin, confirm, stream.refuse, lambda: stream.over)
        return stream
