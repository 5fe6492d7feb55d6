"""A stream of bytes in this process: the joint of one channel and memory.

For whoever runs on the event loop of the leg and has no socket. What is sent is copied once, to
where the data of a packet stands, and framed and sealed there; what comes is copied out of the
receive buffer, and waits until it is received.

    send ─► [ header | data | padding | tag ] ─► leg
    leg  ─► [ header | data | … ] ─► pending ─► receive

Both sides are held back: what waits to be received stays within the channel's window, which opens
again as it is received; and `send` waits while the window is shut or the leg is full. Nothing is
awaited between the taking of bytes and the note of it, so that a call that is cancelled has lost
none: what `receive` has not returned is still there, and what of its data `send` has not taken, as
`sent_bytes` counts, was not sent.

It closes as a TCP socket does: what was sent goes out, and EOF behind it. But where something is
lost by that (what came and was not received, what comes yet, data of which a part was sent), the
channel is closed at once, by which the peer knows that the stream broke.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from anyio import (
    BrokenResourceError,
    ClosedResourceError,
    EndOfStream,
    ResourceGuard,
    TypedAttributeSet,
    typed_attribute,
)
from anyio.abc import ByteStream
from anyio.lowlevel import checkpoint

from relay.core.limits import KIB
from relay.core.mux import Mux
from relay.core.output import Buffer
from relay.core.port import State
from relay.core.window import ReceiveWindow
from relay.errors import LegLost
from relay.io.engine import Engine
from relay.io.opening import Opening
from relay.wire.packet import DATA_OFFSET, OVERHEAD, frame_data

UNFINISHED: Final = "closed here before its end"

SMALL: Final = 4 * KIB
"""Bytes up to which data that waits is put together with what came before: each piece costs a
hundred bytes more than is in it, and a peer may send a byte in each."""


class StreamAttribute(TypedAttributeSet):
    """What a stream tells by `extra`, through whatever is wrapped around it."""

    readable: bool = typed_attribute()
    """Would `receive` return, or raise, at once?"""


class Leg(Protocol):
    """What a stream's channel is on."""

    @property
    def alive(self) -> bool: ...

    @property
    def engine(self) -> Engine: ...

    @property
    def mux(self) -> Mux: ...


class MemoryStream(Opening, ByteStream):
    """One stream. Its exceptions are anyio's: `EndOfStream`, the peer said all that it had to say;
    `ClosedResourceError`, it was closed or ended here; `BrokenResourceError`, the peer or the leg
    broke it off; `BusyResourceError`, another task is in the same call."""

    def __init__(
        self, leg: Leg, ended: Callable[[MemoryStream, str], None] = lambda stream, reason: None
    ) -> None:
        """To be opened or served at once. `ended` is called once, with the reason if it did not end
        by itself. Raises `LegLost` when `leg` is gone already."""
        if not leg.alive:
            raise LegLost("the connection to the relay was lost")
        engine = self._engine = leg.engine
        self._receive_window = ReceiveWindow(engine.windows)
        super().__init__(leg.mux, self._receive_window)
        self._ended = ended
        self._loop = engine.loop
        # What came and was not received; its bytes are within the channel's window.
        self._pending: deque[Buffer] = deque()
        # All that the peer has to say is in `_pending`, or was received.
        self._whole = False
        # `aclose` or `abort` was called: no call does anything any more.
        self._closed = False
        # `send_eof` was called.
        self._said_all = False
        # A `send` has taken a part of its data, and no other was done with since.
        self._cut = False
        # Who waits in `receive` and in `send`; the guards see to it that there is one.
        self._receiver: asyncio.Future[None] | None = None
        self._sender: asyncio.Future[None] | None = None
        self._receiving = ResourceGuard("receiving from")
        self._sending = ResourceGuard("sending to")

    # -- how it begins

    async def open(self, kind: bytes, fields: bytes) -> None:
        """Ask the peer for the channel. Raises `Refused`, or for what may be there later
        `NotPublished`, `ServiceUnreachable` or `LegLost`."""
        self._opened = self._loop.create_future()
        self.ask(kind, fields)
        try:
            await self._opened
        except asyncio.CancelledError:
            self.abort()
            raise

    def serve(self, admit: Callable[[MemoryStream], None]) -> None:
        """Have the peer's open, which is to be passed in next, answered by `admit`: at once or
        later it calls `confirm` or `refuse`."""
        self._admit = admit

    def _begin(self) -> None:
        self._answered()
        _wake(self._sender)

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return {StreamAttribute.readable: self._readable}

    # -- in

    def data(self, view: memoryview, start: int, length: int, size: int) -> None:
        self.channel.received_data(size)
        if self.over:
            return
        if self._closed:
            self.local_lost(UNFINISHED)
            return
        self.received_bytes += size
        if self.received_bytes > self._window.next_mark:
            self._window.reached(self.delivered_bytes, self._loop.time())
        data, pending = view[start + DATA_OFFSET : start + DATA_OFFSET + size], self._pending
        if size > SMALL:
            pending.append(bytes(data))
        elif pending and isinstance(last := pending[-1], bytearray) and len(last) <= SMALL:
            last += data
        elif size:
            pending.append(bytearray(data))
        _wake(self._receiver)

    def eof(self) -> None:
        self._whole = True
        super().eof()
        _wake(self._receiver)

    async def receive(self, max_bytes: int = 64 * KIB) -> bytes:
        """What has come, one byte at least and `max_bytes` at most."""
        if max_bytes < 1:
            raise ValueError("max_bytes must be 1 or more")
        with self._receiving:
            if self._pending or self._whole or self._closed or self.over:
                await checkpoint()
            while not self._pending:
                if self._closed:
                    raise ClosedResourceError
                if self._whole:
                    raise EndOfStream
                if self.over:
                    raise BrokenResourceError(self.reason)
                self._receiver = self._loop.create_future()
                await self._receiver
            return self._take(max_bytes)

    def _readable(self) -> bool:
        return bool(self._pending) or self._whole or self._closed or self.over

    def _take(self, most: int) -> bytes:
        pending = self._pending
        taken = [pending.popleft()]
        size = len(taken[0])
        while pending and size + len(pending[0]) <= most:
            taken.append(pending.popleft())
            size += len(taken[-1])
        data = b"".join(taken)  # Of one that is `bytes`, the same.
        if size > most:
            pending.appendleft(memoryview(data)[most:])
            data = data[:most]
        if not self.over:
            self.delivered(len(data), self._loop.time())
            if not pending:
                self.delivered_all()
        return data

    # -- out

    async def send(self, item: Buffer) -> None:
        """Send `item`: return when the leg has taken all of it."""
        with self._sending, memoryview(item) as data:
            sent, size = 0, len(data)
            await checkpoint()
            self._check_sending()
            while sent < size:
                await self._room()
                sent += self._send_packets(data[sent:])
                self._cut = sent < size
                if self._cut:
                    await checkpoint()  # Others have their turn.

    async def send_eof(self) -> None:
        """Say that no more is sent; what the peer sends still comes. To say it again changes
        nothing."""
        with self._sending:
            await checkpoint()
            if self._said_all and not self._closed:
                return
            self._check_sending()
            self._said_all = True
            self.local_eof()

    def _check_sending(self) -> None:
        if self._closed or self._said_all:
            raise ClosedResourceError
        if self.over:
            raise BrokenResourceError(self.reason)

    async def _room(self) -> None:
        """Return when a byte at least would leave at once."""
        while True:
            self._check_sending()
            if not self.out.has_room:
                self.out.await_room(self)
            elif self.channel.send_window:
                return
            self._sender = self._loop.create_future()
            await self._sender

    def _send_packets(self, data: memoryview) -> int:
        """Send what may go now, no more than the scratch memory holds; returns its size. For the
        engine this is as an endpoint's reading, and the memory is used as there."""
        engine, out, channel = self._engine, self.out, self.channel
        scratch, sent = engine.scratch, 0
        flush = engine.begin_read()
        try:
            while out.has_room:
                size = min(len(data) - sent, channel.send_window, channel.send_packet)
                start = engine.scratch_used + out.headroom
                begin = start + DATA_OFFSET
                end = begin + size
                if size == 0 or end + out.tailroom > len(scratch):
                    break
                scratch[begin:end] = data[sent : sent + size]
                sent += size
                channel.send_window -= size
                self.sent_bytes += size
                length = frame_data(scratch, start, size)
                behind = start + length + OVERHEAD
                engine.scratch_used = end + out.tailroom if out.headroom else behind
                out.send_data(scratch, start, length, channel)
        finally:
            if flush:
                engine.flush()
            engine.end_read(sent)
        return sent

    def _may_read(self) -> None:
        _wake(self._sender)

    def leg_has_room(self) -> None:
        """As a `Waiter` of the leg's."""
        _wake(self._sender)

    # -- how it ends

    async def aclose(self) -> None:
        """Close it. Where this is cancelled, at once, as by `abort`."""
        try:
            await checkpoint()
        except asyncio.CancelledError:
            if not self._closed:
                self.abort(UNFINISHED)
            raise
        if self._closed:
            return
        if self._pending or self._cut or self.state is State.DIALLING:
            self.abort(UNFINISHED)
        else:
            self._close()
            self.local_eof()

    def abort(self, reason: str = "") -> None:
        """Close it at once: the peer knows that it is not whole."""
        self._close()
        if self.state is State.DIALLING:
            self.not_joined(reason)
        else:
            self.local_lost(reason)

    def _close(self) -> None:
        self._closed = True
        self._pending.clear()
        _wake(self._receiver)
        _wake(self._sender)

    def _shut(self) -> None:
        """`eof` has told it."""

    def _drop(self, *, reset: bool) -> None:
        self._not_answered()
        _wake(self._receiver)
        _wake(self._sender)

    def _ended_for(self, reason: str) -> None:
        self._engine.windows.forget(self._receive_window)
        self._ended(self, reason)


def _wake(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
