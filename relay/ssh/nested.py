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
from typing import Any, Final

from relay.core.channel import Channel, Half, Message
from relay.core.limits import NESTED_WINDOW
from relay.errors import LegLost, Refused
from relay.io.stream import Buffer, Reader
from relay.ssh.handler import ChannelHandler
from relay.ssh.leg import Leg
from relay.wire import messages
from relay.wire.numbers import OpenFailure
from relay.wire.packet import DATA_OFFSET, MAX_DATA, TAIL_ROOM, frame_data

GRANT_SIZE: Final = NESTED_WINDOW // 4

MIN_DATA: Final = 1024
"""The least that an inner packet may hold. To a peer that takes less in an outer packet, an inner
one goes in pieces."""


class NestedStream(ChannelHandler, asyncio.Transport):
    """A channel of `outer` as the stream of an inner leg."""

    def __init__(self, outer: Leg) -> None:
        """Raises `LegLost` when `outer` is gone already."""
        asyncio.Transport.__init__(self)
        if not outer.alive:
            raise LegLost("the connection to the relay was lost")
        self.leg = self.outer = outer
        self.channel = Channel()
        self.headroom = outer.headroom + DATA_OFFSET
        self.tailroom = outer.tailroom + TAIL_ROOM
        self._reader: Reader | None = None
        self._loop = asyncio.get_running_loop()
        # Why the inner leg is not fed, and what came meanwhile or is part of a packet: within
        # the channel's window, which is opened again only for what was used.
        self._pauses: set[object] = set()
        self._pending = bytearray()
        # Why nothing comes behind what is pending; empty: more may come.
        self._ended = ""
        # Bytes that the inner leg has used and the peer has not been told of.
        self._used = 0
        # The inner leg waits to be told that there is room.
        self._awaited = False
        # Nothing is sent any more: we have closed the channel, or the outer leg is gone.
        self._closed = False
        self._confirmed: asyncio.Future[None] | None = None
        # Answers the peer's open, and what that was: its number, window and packet size.
        self._admit: Callable[[NestedStream], None] | None = None
        self._asked = (-1, 0, 0)
        self.channel.local_id = outer.add_handler(self)
        self.channel.receive_window = NESTED_WINDOW
        self.channel.receive_packet = outer.max_data

    @property
    def max_data(self) -> int:
        """The largest data in an inner packet that fits in one outer packet."""
        return max(MIN_DATA, min(MAX_DATA, self.channel.send_packet) - DATA_OFFSET - TAIL_ROOM)

    # -- how it begins

    async def open(self, kind: bytes, fields: bytes) -> None:
        """Ask the outer peer for the channel. Raises `Refused` or `LegLost`."""
        channel = self.channel
        channel.ask()
        self._confirmed = self._loop.create_future()
        self.outer.send_payload(
            messages.channel_open(
                kind, channel.local_id, channel.receive_window, channel.receive_packet, fields
            )
        )
        await self._confirmed

    def accept(self, admit: Callable[[NestedStream], None]) -> None:
        """Have the peer's open, which is to be passed in next, answered by `admit`: at once or
        later it calls `confirm` and attaches the inner leg, or it calls `refuse`."""
        self._admit = admit

    def opened_by_peer(self, sender: int, window: int, packet: int) -> None:
        self._asked = sender, window, packet
        assert self._admit is not None
        self._admit(self)

    def confirm(self) -> bool:
        """Confirm the peer's open. False: the outer leg is gone."""
        if self._closed:
            return False
        channel = self.channel
        sender, window, packet = self._asked
        channel.confirm(sender)
        self._may_send(window, packet)
        self.outer.send_payload(
            messages.open_confirmation(
                channel.remote_id, channel.local_id, channel.receive_window, channel.receive_packet
            )
        )
        return True

    def refuse(self, code: int, reason: str) -> None:
        """Refuse the peer's open."""
        if self._closed:
            return
        self._closed = True
        self.outer.send_payload(messages.open_failure(self._asked[0], code, reason))
        self.outer.remove_channel(self.channel.local_id)

    def confirmed(self, sender: int, window: int, packet: int) -> None:
        self.channel.confirmed(sender)
        self._may_send(window, packet)
        assert self._confirmed is not None
        if self._confirmed.cancelled():
            self.abort()
        else:
            self._confirmed.set_result(None)

    def failed(self, code: int, reason: str) -> None:
        self.channel.refused()
        self._closed = True
        self.outer.remove_channel(self.channel.local_id)
        assert self._confirmed is not None
        if not self._confirmed.cancelled():
            # A service that is not there now may be there later; a right hardly will.
            prohibited = code == OpenFailure.ADMINISTRATIVELY_PROHIBITED
            self._confirmed.set_exception(Refused(reason) if prohibited else LegLost(reason))

    def _may_send(self, window: int, packet: int) -> None:
        """What the peer announced."""
        self.channel.send_window = window
        self.channel.send_packet = min(packet, MAX_DATA)

    def attach(self, reader: Reader) -> None:
        """`reader`, the inner leg, is fed from now on."""
        self._reader = reader

    def start(self) -> None:
        """As a `Stream`'s: what came before is used now."""
        self._use_pending()

    # -- in

    def data(self, view: memoryview, start: int, length: int, size: int) -> None:
        self.channel.received_data(size)
        if self._closed:
            return
        begin = start + DATA_OFFSET
        end = begin + size
        if self._pending or self._pauses or self._reader is None:
            self._pending += view[begin:end]
            self._use_pending()
            return
        used = self._reader.received(view, begin, end)
        self._pending += view[used:end]
        self._grant(used - begin)

    def _use_pending(self) -> None:
        if self._pauses or self._reader is None:
            return
        pending = self._pending
        used = self._reader.received(memoryview(pending), 0, len(pending)) if pending else 0
        if used:
            # Other memory for the rest: what is to be sent may still lie in this one.
            self._pending = pending[used:]
            self._grant(used)
        if self._ended and not self._pauses:
            self._lost(self._ended)

    def _grant(self, size: int) -> None:
        self._used += size
        channel = self.channel
        if self._used >= GRANT_SIZE and channel.receiving is Half.OPEN and not self._closed:
            channel.granted(self._used)
            self.outer.send_payload(messages.window_adjust(channel.remote_id, self._used))
            self._used = 0

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
        return self.channel.send_window > 0 and self.outer.has_room

    def carry(self, view: memoryview, start: int, size: int) -> bool:
        """Send the sealed inner packet at `start`, which has room around it for the outer one.
        False: there is no room on the way, nothing was sent."""
        channel = self.channel
        if self._closed or size > min(channel.send_window, channel.send_packet):
            return False
        if not self.outer.has_room:
            return False
        channel.send_window -= size
        start -= DATA_OFFSET
        self.outer.send_data(view, start, frame_data(view, start, size), channel)
        return True

    def send(self, buffers: list[Buffer]) -> int:
        """As a `Stream`'s: give the channel what it takes now."""
        if self._closed:
            return sum(map(len, buffers))
        channel, outer = self.channel, self.outer
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
        if not self.outer.has_room:
            self.outer.await_room(self)

    def leg_has_room(self, leg: Leg) -> None:
        self._tell()

    def window_adjust(self, size: int) -> None:
        self.channel.received_window_adjust(size)
        self._tell()

    def _tell(self) -> None:
        if self._awaited and self._reader is not None:
            self._awaited = False
            self.outer.engine.mark(self._reader)

    # -- how it ends

    def eof(self) -> None:
        self.channel.received(Message.EOF)
        self._end("the other side ended the session")

    def peer_closed(self) -> None:
        self.channel.received(Message.CLOSE)
        self.abort()
        self._end("the other side closed the session")
        if self.channel.finished:
            self.outer.remove_channel(self.channel.local_id)

    def request(self, want_reply: bool) -> None:
        self.channel.received(Message.REQUEST)
        if want_reply and self.channel.sending is not Half.CLOSED:
            self.outer.send_payload(messages.channel_failure(self.channel.remote_id))

    def leg_lost(self) -> None:
        if self._confirmed is not None and not self._confirmed.done():
            self._confirmed.set_exception(LegLost("the connection to the relay was lost"))
        self._lost("the outer connection was lost")
        self._closed = True

    def _end(self, reason: str) -> None:
        """Nothing more comes. What came is used first: it may say why."""
        self._ended = self._ended or reason
        self._use_pending()

    def _lost(self, reason: str) -> None:
        if self._reader is not None:
            self._reader.stream_lost(LegLost(reason))

    def abort(self) -> None:
        """Close the channel; what was given to it is still sent."""
        if self._closed:
            return
        if self._reader is not None:
            self._reader.flush()
        self._closed = True
        if self.channel.sent(Message.CLOSE) and self.outer.alive:
            self.outer.send_payload(messages.close(self.channel.remote_id))

    def close(self) -> None:
        self.abort()

    def is_closing(self) -> bool:
        return self._closed

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default
