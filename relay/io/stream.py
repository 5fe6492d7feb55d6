"""The socket of a leg: bytes in a reusable buffer on one side, sealed packets out on the other.

A leg reads through a `Stream` and writes through it; its receive buffer is borrowed from the
`Engine`. Asyncio's callbacks only: this is the hot path.
"""

from __future__ import annotations

import socket
from typing import Any, Final, Protocol

from relay.core.output import MAX_IOVECS, Buffer
from relay.io.engine import Engine
from relay.system import send_several

QUICK_ACK: Final = getattr(socket, "TCP_QUICKACK", None)
"""Acknowledge at once. A stock sshd leaves Nagle's algorithm on: until it hears that its last
WINDOW_ADJUST has come it sends no other, and a kernel with nothing to say waits 40 ms to tell it.
Measured on a session through an sshd: 65 MiB/s without, 200 with it; nothing lost elsewhere."""


class Reader(Protocol):
    """What a stream feeds: a leg."""

    def received(self, view: memoryview, start: int, end: int) -> int:
        """Use whole packets of `view[start:end]` and return where the first unused byte is."""

    def flush(self) -> None:
        """The socket takes bytes again."""

    def wake(self) -> None:
        """Tell those who wait for room."""

    def stream_lost(self, error: Exception | None) -> None:
        """The socket is at its end, or broke."""


class Stream:
    """A non-blocking stream socket and the leg on it."""

    def __init__(self, engine: Engine, sock: socket.socket, reader: Reader) -> None:
        sock.setblocking(False)
        self._is_tcp = sock.family in (socket.AF_INET, socket.AF_INET6)
        if self._is_tcp:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._engine = engine
        self._loop = engine.loop
        self._sock = sock
        self._reader = reader
        self._pool = engine.pool
        # The borrowed buffer and the bytes in it that the leg has not used; None: no such byte.
        self._buffer: memoryview | None = None
        self._start = 0
        self._end = 0
        # Why the socket is not read; it is read exactly when this is empty and it is open.
        self._pauses: set[object] = set()
        self._reading = False
        self._writing = False
        self._closed = False
        # The peer has reset the connection; what came before that may still have to be read.
        self._broken = False

    def give_up_after(self, seconds: float) -> None:
        """Break the connection when what was sent is not acknowledged for so long; 0: when the
        system does, which is after a quarter of an hour and more. The kernel sees a dead peer even
        while a keepalive of ours would wait behind a full socket."""
        timeout = getattr(socket, "TCP_USER_TIMEOUT", None)  # Linux's, from RFC 5482.
        if timeout is not None and seconds and self._is_tcp:
            self._sock.setsockopt(socket.IPPROTO_TCP, timeout, round(seconds * 1000))

    def start(self) -> None:
        """Begin to read."""
        self._engine.watch.add(self._sock, self._reset)
        self._set_reading()

    # -- in

    def pause(self, reason: object) -> None:
        """Read no further until `resume` is called with every reason that was given."""
        self._pauses.add(reason)
        self._set_reading()

    def resume(self, reason: object) -> None:
        """Take back a reason; goes on with what is in the buffer, then with the socket, which may
        be at its end: that must not be told before what came before it."""
        if reason not in self._pauses:
            return
        self._pauses.discard(reason)
        if self._pauses or self._closed:
            return
        if self._buffer is not None:
            self._loop.call_soon(self._use_buffered)
        else:
            self._set_reading()

    def _set_reading(self) -> None:
        wanted = not self._pauses and not self._closed
        if wanted and not self._reading:
            self._loop.add_reader(self._sock, self._readable)
            if self._broken:
                self._loop.call_soon(self._reset)
        elif not wanted and self._reading:
            self._loop.remove_reader(self._sock)
        self._reading = wanted

    def _reset(self) -> None:
        """The socket is broken. libuv tells its reader so once, as it tells of data, and is silent
        from then on: read all that there is, and then why."""
        self._broken = True
        if self._reading and self._read() > 0:
            self._loop.call_soon(self._reset)

    def _readable(self) -> None:
        poll = self._engine.poll
        poll.begin()
        poll.end(self._read())

    def _read(self) -> int:
        """Read the socket once and use what came; returns how many bytes that was."""
        buffer = self._buffer
        if buffer is None:
            buffer = self._buffer = self._pool.take()
            self._start = self._end = 0
        try:
            size = self._sock.recv_into(buffer[self._end :])
        except (BlockingIOError, InterruptedError):
            size = -1
        except OSError as error:
            self._reader.stream_lost(error)
            return 0
        if size == 0:
            self._reader.stream_lost(None)
            return 0
        if size > 0:
            self._end += size
            if QUICK_ACK is not None and self._is_tcp:  # The kernel soon forgets it again.
                self._sock.setsockopt(socket.IPPROTO_TCP, QUICK_ACK, 1)
        self._use()
        return max(size, 0)

    def _use_buffered(self) -> None:
        if self._buffer is not None and not self._pauses and not self._closed:
            self._use()
        self._set_reading()

    def _use(self) -> None:
        buffer = self._buffer
        assert buffer is not None
        self._engine.begin()
        try:
            start = self._reader.received(buffer, self._start, self._end)
        finally:
            self._engine.flush()  # What is to be sent may still lie in this buffer.
        end = self._end
        if start == end or self._closed:
            self._buffer = None
            self._pool.give(buffer)
        elif end == len(buffer) or start > len(buffer) // 2:
            # No packet is longer than half the buffer, so there is room for the rest of it.
            buffer[: end - start] = buffer[start:end]
            self._start, self._end = 0, end - start
        else:
            self._start = start

    # -- out

    def send(self, buffers: list[Buffer]) -> int:
        """Give the socket what it takes now; returns how many bytes that was. If it was not
        all, the leg's `flush` is called when there is room."""
        if self._closed:
            return sum(map(len, buffers))  # Nobody will read it: as good as sent.
        sent = 0
        try:
            if len(buffers) == 1:
                sent = self._sock.send(buffers[0])
            else:
                sent = send_several(self._sock, buffers[:MAX_IOVECS])
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:
            # Told later: the caller is in the middle of something.
            self._loop.call_soon(self._reader.stream_lost, error)
            return sum(map(len, buffers))
        return sent

    def await_room(self) -> None:
        """Call the leg's `flush` when the socket takes bytes again."""
        if not self._writing and not self._closed:
            self._writing = True
            self._loop.add_writer(self._sock, self._writable)

    def _writable(self) -> None:
        self._writing = False
        self._loop.remove_writer(self._sock)
        self._engine.mark(self._reader)
        self._engine.flush()

    # -- its end

    def abort(self) -> None:
        """Close the socket; what it has taken is still sent."""
        if self._closed:
            return
        self._reader.flush()  # A DISCONNECT may be waiting: a last try.
        self._closed = True
        self._set_reading()
        if self._writing:
            self._loop.remove_writer(self._sock)
        self._engine.watch.remove(self._sock)
        self._sock.close()
        # With a part of a packet in it. Who holds this stream still must not hold that.
        self._buffer = None

    @property
    def addresses(self) -> dict[str, Any]:
        """The socket's own, by asyncio's names for them; empty once it is closed."""
        try:
            return {"sockname": self._sock.getsockname(), "peername": self._sock.getpeername()}
        except OSError:
            return {}
