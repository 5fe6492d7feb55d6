"""The streams of one service that this process takes, from B's open to whoever accepts them."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, Generic

from relay.core.handler import ChannelHandler, OpenRefused
from relay.library.joint import Arrival, Joint, Raw
from relay.ssh.client import ClientLeg
from relay.wire.numbers import OpenFailure

BACKLOG: Final = 128
"""Streams that wait to be accepted. Each has been asked for and is not confirmed, so that it holds
no data; who asks for one more is refused, as by a port whose queue is full."""


class Incoming(Generic[Raw]):
    """A queue of streams that nobody has accepted yet."""

    def __init__(self, joint: Joint[Raw]) -> None:
        self._joint = joint
        self._waiting: deque[Arrival[Raw]] = deque()
        # Those who wait to accept, the first first.
        self._accepting: deque[asyncio.Future[None]] = deque()
        self._closed = False

    def stream(self, leg: ClientLeg, host: str, port: int) -> ChannelHandler:
        """Of an `InProcess`."""
        if self._closed:
            raise OpenRefused(OpenFailure.CONNECT_FAILED, "nobody listens any more")
        if len(self._waiting) >= BACKLOG:
            self._waiting = deque(one for one in self._waiting if not one.gone())
        if len(self._waiting) >= BACKLOG:
            raise OpenRefused(OpenFailure.RESOURCE_SHORTAGE, "too many wait to be accepted")
        return self._joint.serve(leg, (host, port), self._arrived)

    def _arrived(self, arrival: Arrival[Raw]) -> None:
        self._waiting.append(arrival)
        self._wake()

    async def accept(self) -> tuple[Raw, tuple[str, int]] | None:
        """The next one, and where it comes from; None: there will be none. Raises OSError."""
        while True:
            while self._waiting:
                arrival = self._waiting.popleft()
                if (raw := arrival.confirm()) is not None:
                    return raw, arrival.origin
            if self._closed:
                return None
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._accepting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn in self._accepting:
                    self._accepting.remove(turn)
                elif self._waiting:
                    self._wake()  # It was our turn, and is the next one's.
                raise

    def _wake(self) -> None:
        while self._accepting:
            turn = self._accepting.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def close(self) -> None:
        """Take no more, and refuse those who wait."""
        self._closed = True
        for arrival in self._waiting:
            arrival.refuse(OpenFailure.CONNECT_FAILED, "nobody listens any more")
        self._waiting.clear()
        while self._accepting:
            self._wake()
