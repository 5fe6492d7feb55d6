"""An SSH session inside a channel of another: the leg within and the leg without.

`ssh -J b gpu1` runs a second session, from A to C, through the first; B switches its ciphertext.
Here the inner leg's stream is a channel of the outer leg, and on the fast path both are sealed in
one buffer. Data is read 28 bytes into it, not 14: the inner header goes before the data, the inner
tag behind it, and around them, as the data of one outer packet, the outer header and tag:

    | outer header | inner header | data | inner padding, tag | outer padding, tag |
    0              14             28     28+n

In the other direction the outer packet is opened in the receive buffer, and the inner packet in
it is opened where it lies. One receive, two opens, one send. What does not lie so (a stock ssh
splits its inner packets as it likes, a window may be too small) is copied, with the same result.

Flow control is the inner session's: what comes on the outer channel is used at once, so its window
is opened again at once, and is wide enough never to be the narrower of the two.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from relay.core.limits import NESTED_WINDOW
from relay.core.mux import Mux
from relay.core.output import Buffer
from relay.core.window import FixedWindow
from relay.errors import LegLost
from relay.io.engine import Engine
from relay.io.opening import Opening
from relay.io.stream import Reader
from relay.wire.packet import DATA_OFFSET, MAX_DATA, TAIL_ROOM, frame_data

MIN_DATA: Final = 1024
"""The least that an inner packet may hold. To a peer that takes less in an outer packet, an inner
one goes in pieces."""


class OuterLeg(Protocol):
    """The leg without."""

    @property
    def alive(self) -> bool: ...

    @property
    def engine(self) -> Engine: ...

    @property
    def mux(self) -> Mux: ...


class NestedStream(Opening):
    """A channel of `outer` as the stream of an inner leg."""

    min_packet = 1
    """The server that a session goes through is the user's own choice, and slow at worst."""

    def __init__(self, outer: OuterLeg) -> None:
        """Raises `LegLost` when `outer` is gone already."""
        if not outer.alive:
            raise LegLost("the connection to the relay was lost")
        super().__init__(outer.mux, FixedWindow(NESTED_WINDOW))
        self.engine = outer.engine
        self.headroom = self.out.headroom + DATA_OFFSET
        self.tailroom = self.out.tailroom + TAIL_ROOM
        self._reader: Reader | None = None
        self._loop = outer.engine.loop
        # Why the inner leg is not fed, and what came meanwhile or is part of a packet: within
        # the channel's window, which is opened again only for what was used. Of the first memory
        # so much is used; then it stays as it is, since what is to be sent may still lie there, and
        # what comes goes to the second.
        self._pauses: set[object] = set()
        self._pending = bytearray()
        self._used = 0
        self._later = bytearray()
        # Why nothing comes behind what is pending; empty: more may come.
        self._no_more = ""
        # The inner leg waits to be told that there is room.
        self._awaited = False

    @property
    def max_data(self) -> int:
        """The largest data in an inner packet that fits in one outer packet."""
        return max(MIN_DATA, min(MAX_DATA, self.channel.send_packet) - DATA_OFFSET - TAIL_ROOM)

    # -- how it begins

    async def open(self, kind: bytes, fields: bytes) -> None:
        """Ask the outer peer for the channel. Raises `Refused` or `LegLost`."""
        self._opened = self._loop.create_future()
        self.ask(kind, fields)
        try:
            await self._opened
        except asyncio.CancelledError:
            self.give_up()
            self.local_lost("")  # It may have been confirmed in this very turn.
            raise

    def accept(self, admit: Callable[[NestedStream], None]) -> None:
        """Have the peer's open, which is to be passed in next, answered by `admit`: at once or
        later it calls `confirm` and attaches the inner leg, or it calls `refuse`."""
        self._admit = admit

    def _begin(self) -> None:
        self._answered()

    def _not_opened(self) -> LegLost:
        """What is to carry a session is tried again, whatever it was."""
        return LegLost(self.reason)

    def attach(self, reader: Reader) -> None:
        """`reader`, the inner leg, is fed from now on."""
        self._reader = reader

    def start(self) -> None:
        """As a `Stream`'s: what came before is used now."""
        self._use_pending()

    # -- in

    def data(self, view: memoryview, start: int, length: int, size: int) -> None:
        self.channel.received_data(size)
        if self.over:
            return
        self.received_bytes += size
        begin = start + DATA_OFFSET
        end = begin + size
        if self._pending or self._pauses or self._reader is None:
            (self._later if self._used else self._pending).extend(view[begin:end])
            self._use_pending()
            return
        used = self._reader.received(view, begin, end)
        self._pending += view[used:end]
        self.delivered(used - begin, 0.0)

    def _use_pending(self) -> None:
        if self._pauses or self._reader is None:
            return
        while self._pending and not self._pauses:
            pending, before = self._pending, self._used
            used = self._used = self._reader.received(memoryview(pending), before, len(pending))
            if used and (2 * used >= len(pending) or not self._pauses):
                # No more is copied than was used since the last time, and part of a packet.
                self._pending, self._later = pending[used:] + self._later, bytearray()
                self._used = 0
            if used == before:
                break
            self.delivered(used - before, 0.0)
        if self._no_more and not self._pauses:
            self._reader.stream_lost(LegLost(self._no_more))

    def pause(self, reason: object) -> None:
        self._pauses.add(reason)

    def resume(self, reason: object) -> None:
        if reason in self._pauses:
            self._pauses.discard(reason)
            self._loop.call_soon(self._use_pending)

    # -- out

    @property
    def has_room(self) -> bool:
        """An inner packet would begin to leave at once. (To ask for a window that takes a whole
        one would be to wait for ever for a peer whose windows are smaller than its packets.)"""
        return self.channel.send_window > 0 and self.out.has_room

    def carry(self, view: memoryview, start: int, size: int) -> bool:
        """Send the sealed inner packet at `start`, which has room around it for the outer one.
        False: there is no room on the way, nothing was sent."""
        channel = self.channel
        if self.over or size > min(channel.send_window, channel.send_packet):
            return False
        if not self.out.has_room:
            return False
        channel.send_window -= size
        start -= DATA_OFFSET
        self.out.send_data(view, start, frame_data(view, start, size), channel)
        return True

    def send(self, buffers: list[Buffer]) -> int:
        """As a `Stream`'s: give the channel what it takes now."""
        if self.over:
            return sum(map(len, buffers))
        channel, outer = self.channel, self.out
        data = memoryview(buffers[0] if len(buffers) == 1 else b"".join(buffers))
        sent = 0
        while sent < len(data) and outer.has_room:
            size = min(len(data) - sent, channel.send_window, channel.send_packet)
            if size == 0:
                break
            packet = memoryview(bytearray(outer.headroom + DATA_OFFSET + size + self.tailroom))
            start = outer.headroom
            packet[start + DATA_OFFSET : start + DATA_OFFSET + size] = data[sent : sent + size]
            outer.send_data(packet, start, frame_data(packet, start, size), channel)
            channel.send_window -= size
            sent += size
        return sent

    def await_room(self) -> None:
        """Call the inner leg's `flush` when there is room again."""
        self._awaited = True
        if not self.out.has_room:
            self.out.await_room(self)

    def leg_has_room(self) -> None:
        self._may_read()

    def _may_read(self) -> None:
        if self._awaited and self._reader is not None:
            self._awaited = False
            self.engine.mark(self._reader)

    # -- how it ends

    def eof(self) -> None:
        super().eof()
        self._ends("the other side ended the session")

    def _shut(self) -> None:
        """The inner leg ends with what comes: `eof` has told it."""

    def _drop(self, *, reset: bool) -> None:
        self._not_answered()
        if self.reason:
            self._ends(self.reason)

    def peer_closed(self) -> None:
        self._no_more = self._no_more or "the other side closed the session"
        super().peer_closed()

    def _ends(self, reason: str) -> None:
        """Nothing more comes. What came is used first: it may say why."""
        self._no_more = self._no_more or reason
        self._use_pending()

    def abort(self) -> None:
        """Close the channel; what was given to it is still sent."""
        if self.over:
            return
        if self._reader is not None:
            self._reader.flush()
        self.local_lost("")
