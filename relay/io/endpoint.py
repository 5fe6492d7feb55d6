"""The joint of one channel and one local socket: on A, on C, and behind B's open ports.

The socket is read straight to where the data of a packet stands, framed and sealed there; in the
other direction the data of an opened packet goes to the socket from the receive buffer. So there
is no copy in user space while both can keep up.

    socket ─recv_into─► [ header | data | padding | tag ] ─► leg
    leg    ─► [ header | data | … ] ─send─► socket

What is to be done when is the `Port`'s to say.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, Protocol

from relay.core.channel import Half
from relay.core.mux import Mux
from relay.core.port import Port
from relay.core.window import ReceiveWindow
from relay.events import Events, StreamClosed
from relay.io.dial import RESET_ON_CLOSE
from relay.io.engine import Engine
from relay.io.local import spare_pacing
from relay.system import AF_UNIX
from relay.wire.packet import DATA_OFFSET, OVERHEAD, frame_data

_FINISH: Final = struct.pack("ii", 0, 0)
"""SO_LINGER off: close() sends what is left and then FIN."""


class Leg(Protocol):
    """What an endpoint's channel is on."""

    @property
    def engine(self) -> Engine: ...

    @property
    def mux(self) -> Mux: ...

    def create_task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do `work` while the leg lives."""


class Endpoint(Port):
    """One stream. `ended` is called once, with the reason if it did not end by itself."""

    def __init__(self, leg: Leg, ended: Callable[[Endpoint, str], None]) -> None:
        engine = self._engine = leg.engine
        self._receive_window = ReceiveWindow(engine.windows)
        super().__init__(leg.mux, self._receive_window)
        self.leg = leg
        self._ended: Callable[[Endpoint, str], None] | None = ended
        self._loop = engine.loop
        self._watch = engine.watch
        # None: not there yet, or not any more.
        self._sock: socket.socket | None = None
        self._reading = False
        self._writing = False
        # What came and the socket has not taken; its bytes are within the channel's window.
        # (One piece of memory: a packet of one byte must not hold a hundred.)
        self._pending = bytearray()

    # -- how it begins

    def open(self, sock: socket.socket, kind: bytes, fields: bytes) -> None:
        """Ask the peer for a channel for the connected `sock`, which is ours from now on."""
        self._adopt(sock)
        self.ask(kind, fields)

    def serve(self, dial: Callable[[], Awaitable[socket.socket]]) -> None:
        """Answer the peer's open, which is to be passed in next, by what `dial` comes to."""
        self._dials = dial

    def _dial(self) -> None:
        self.leg.create_task(self._answer())

    async def _answer(self) -> None:
        try:
            sock = await self._dials()
        except OSError as error:
            self.not_joined(error.strerror or str(error))
            return
        self._adopt(sock)
        self.joined()

    def _adopt(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            spare_pacing(sock)
        self._sock = sock
        self._watch.add(sock, self._broken)

    def _begin(self) -> None:
        self._read()

    def _may_read(self) -> None:
        if not self._reading:
            self._read()

    def leg_has_room(self) -> None:
        """As a `Waiter` of the leg's."""
        self._read()

    def _broken(self) -> None:
        """The socket has an error. While it is read, that is found behind what there is still to
        read, but not by libuv, which tells of an error once and polls no more; else it is asked
        for here."""
        if self._reading:
            before = self.sent_bytes
            self._readable()
            if self.sent_bytes > before:
                self._loop.call_soon(self._broken)
        elif self._sock is not None:
            code = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            self._lost(OSError(code, os.strerror(code)))

    def _lost(self, error: OSError) -> None:
        self._pending.clear()
        self.local_lost(f"local peer: {error.strerror or error}")

    # -- from the socket to the channel

    def _read(self) -> None:
        """Read the socket, exactly while the peer's window and our leg have room."""
        sock = self._sock
        if sock is None or self.channel.sending is not Half.OPEN:
            wanted = False
        elif not self.out.has_room:
            wanted = False
            self.out.await_room(self)
        else:
            wanted = self.channel.send_window > 0
        if wanted != self._reading and sock is not None:
            self._reading = wanted
            if wanted:
                self._loop.add_reader(sock, self._readable)
            else:
                self._loop.remove_reader(sock)

    def _readable(self) -> None:
        engine = self._engine
        flush = engine.begin_read()
        before = self.sent_bytes
        try:
            goes_on = self._read_packets(engine)
        finally:
            if flush:
                engine.flush()
            engine.end_read(self.sent_bytes - before)
        if not goes_on:
            self._read()

    def _read_packets(self, engine: Engine) -> bool:
        """What the socket has, as packets one behind the other in the scratch memory. Returns
        whether that was all, and more may come."""
        out, channel, sock, scratch = self.out, self.channel, self._sock, engine.scratch
        while sock is not None and out.has_room:
            start = engine.scratch_used + out.headroom
            data = start + DATA_OFFSET
            room = min(channel.send_window, channel.send_packet)
            if room == 0 or data + room + out.tailroom > len(scratch):
                return False
            try:
                size = sock.recv_into(scratch[data : data + room])
            except (BlockingIOError, InterruptedError):
                return True
            except OSError as error:
                self._lost(error)
                return False
            if size == 0:
                self.local_eof()
                return False
            channel.send_window -= size
            self.sent_bytes += size
            length = frame_data(scratch, start, size)
            # Nothing stands between two packets that no outer packet has to be written around.
            end = start + length + OVERHEAD
            engine.scratch_used = data + size + out.tailroom if out.headroom else end
            out.send_data(scratch, start, length, channel)
            if size < room:
                return True
        return False

    # -- from the channel to the socket

    def data(self, view: memoryview, start: int, length: int, size: int) -> None:
        self.channel.received_data(size)
        sock = self._sock
        data = view[start + DATA_OFFSET : start + DATA_OFFSET + size]
        if sock is None:
            self.data_unjoined(data)
            return
        self.received_bytes += size
        if self.received_bytes > self._window.next_mark:
            self._window.reached(self.delivered_bytes, self._loop.time())
        sent = 0
        if not self._pending:
            try:
                sent = sock.send(data)
            except (BlockingIOError, InterruptedError):
                pass
            except OSError as error:
                self._lost(error)
                return
        if sent < size:
            self._pending += data[sent:]
            self._await_writable(sock)
        self.delivered_bytes += sent
        if self.delivered_bytes >= self._window.next_opening:
            self._open_window(self._loop.time())

    def data_unjoined(self, data: memoryview) -> None:
        """Data of a channel that has no socket. Here that is one whose CLOSE is on its way."""

    def _await_writable(self, sock: socket.socket) -> None:
        if not self._writing:
            self._writing = True
            self._loop.add_writer(sock, self._writable)

    def _writable(self) -> None:
        sock, pending = self._sock, self._pending
        assert sock is not None
        while pending:
            try:
                sent = sock.send(pending)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._lost(error)
                return
            del pending[:sent]
            self.delivered(sent, self._loop.time())
        self._writing = False
        self._loop.remove_writer(sock)
        self.delivered_all()

    # -- how it ends

    def _shut(self) -> None:
        if self._sock is not None:
            try:
                self._sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # It is gone; reading tells.

    def take_back(self) -> socket.socket | None:
        """Before `failed` is passed on: the socket as it came, for another try. This one is over
        without a word."""
        self._ended = None
        sock, self._sock = self._sock, None
        if sock is not None:
            self._watch.remove(sock)
        return sock

    def _drop(self, *, reset: bool) -> None:
        sock, self._sock = self._sock, None
        if sock is None:
            return
        self._watch.remove(sock)
        if self._reading:
            self._loop.remove_reader(sock)
        if self._writing:
            self._loop.remove_writer(sock)
        self._reading = self._writing = False
        if not reset and sock.family != AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _FINISH)
        sock.close()

    def _ended_for(self, reason: str) -> None:
        ended, self._ended = self._ended, None
        self._engine.windows.forget(self._receive_window)
        if ended is not None:
            ended(self, reason)


def tell_end(
    events: Events, closed: Callable[..., StreamClosed]
) -> Callable[[Endpoint, str], None]:
    """An `ended` that tells what `closed` makes of it: it is given `received`, `sent`, `refused`
    and `reason`."""

    def ended(endpoint: Endpoint, reason: str) -> None:
        events.emit(
            closed(
                received=endpoint.received_bytes, sent=endpoint.sent_bytes,
                refused=endpoint.refused, reason=reason,
            )
        )  # fmt: skip

    return ended
