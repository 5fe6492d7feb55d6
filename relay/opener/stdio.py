"""`-W`: one stream on standard input and output, so that anyone can use us as a ProxyCommand."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from concurrent.futures import Future
from threading import Condition, Thread
from typing import Final

import anyio

from relay.core.limits import KIB
from relay.errors import PeerError, Refused
from relay.io.memory import MemoryStream
from relay.ssh.client import ClientLeg
from relay.system import as_bytes
from relay.wire.messages import tcpip_fields

CHUNK: Final = 256 * KIB
"""Bytes that are read or written at once. A pipe gives 64 KiB."""

AHEAD: Final = 512 * KIB
"""Bytes that may be on their way between the event loop and a thread."""


async def run_stdio(leg: ClientLeg, host: str, port: int) -> None:
    """Join `host:port` at the far end with standard input and output until both are done.

    Standard input may be a file, a pipe or a terminal, which no event loop waits for alike: it is
    read, and standard output written, in threads. Raises `PeerError` when the stream breaks.
    """
    over = anyio.Event()
    stream = MemoryStream(leg, lambda stream, reason: over.set())
    try:
        await stream.open(b"direct-tcpip", tcpip_fields(host, port, "127.0.0.1", 0))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_copy_in, stream)
            await _copy_out(stream)
            await over.wait()
            # Standard input may never end; nobody listens to it any more.
            tasks.cancel_scope.cancel()
    except PeerError:
        pass  # It was not opened: its reason says why.
    finally:
        stream.abort()
    if stream.refused:
        raise Refused(f"{host}:{port}: {stream.reason}")
    if stream.reason:
        raise PeerError(f"{host}:{port}: {stream.reason}")


class _Handover:
    """Bytes on their way between the event loop and one thread, in either direction: neither waits
    for the other after each chunk. (To go from one to the other and back costs more than to seal
    one.)"""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        # Guards all that follows; the thread waits for it to change.
        self._changed = Condition()
        self._data = bytearray()
        self._at_end = False
        # The event loop waits for it to change.
        self._awaited: anyio.Event | None = None

    def _put(self, data: bytes) -> None:
        self._data += data
        self._at_end = not data

    def _take(self) -> bytearray:
        """All that there is; nothing is the end."""
        data, self._data = self._data, bytearray()
        return data

    @property
    def _full(self) -> bool:
        return len(self._data) >= AHEAD

    @property
    def _empty(self) -> bool:
        return not self._data and not self._at_end

    # -- by the thread

    def put_in_thread(self, data: bytes) -> None:
        with self._changed:
            while self._full:
                self._changed.wait()
            self._put(data)
            self._tell()

    def take_in_thread(self) -> bytearray:
        with self._changed:
            while self._empty:
                self._changed.wait()
            self._tell()
            return self._take()

    def _tell(self) -> None:
        if self._awaited is not None:
            self._loop.call_soon_threadsafe(self._awaited.set)
            self._awaited = None

    # -- by the event loop

    async def put(self, data: bytes) -> None:
        while True:
            with self._changed:
                if not self._full:
                    self._put(data)
                    self._changed.notify()
                    return
                awaited = self._awaited = anyio.Event()
            await awaited.wait()

    async def take(self) -> bytearray:
        while True:
            with self._changed:
                if not self._empty:
                    self._changed.notify()
                    return self._take()
                awaited = self._awaited = anyio.Event()
            await awaited.wait()


async def _in_thread(work: Callable[[_Handover], None], handover: _Handover) -> None:
    """Do it in a thread that the program's end does not wait for, as it does for anyio's: standard
    input may never give any more, nor standard output take it."""
    done: Future[None] = Future()
    done.set_running_or_notify_cancel()  # Whoever waits may leave; that does not cancel it.

    def run() -> None:
        try:
            work(handover)
        except Exception as error:
            done.set_exception(error)
        else:
            done.set_result(None)

    Thread(target=run, daemon=True).start()
    await asyncio.wrap_future(done)


async def _copy_in(stream: MemoryStream) -> None:
    handover = _Handover()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_send_all, handover, stream)
        try:
            await _in_thread(_read, handover)
        except OSError:
            pass  # It cannot be read: that is no end, and the stream goes on the other way.


def _read(handover: _Handover) -> None:
    descriptor, data = as_bytes(sys.stdin.fileno()), b"any"
    while data:
        data = os.read(descriptor, CHUNK)
        handover.put_in_thread(data)


async def _send_all(handover: _Handover, stream: MemoryStream) -> None:
    try:
        while data := await handover.take():
            await stream.send(data)
        await stream.send_eof()
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        pass  # The stream is gone; its reason says why.


async def _copy_out(stream: MemoryStream) -> None:
    handover = _Handover()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_receive_all, handover, stream)
        try:
            await _in_thread(_write, handover)
        except OSError as error:
            # Whoever reads our output is gone: the other side is to learn that nobody listens.
            stream.abort(f"local peer: {error.strerror or error}")
        tasks.cancel_scope.cancel()


async def _receive_all(handover: _Handover, stream: MemoryStream) -> None:
    try:
        while True:
            await handover.put(await stream.receive(CHUNK))
    except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
        await handover.put(b"")


def _write(handover: _Handover) -> None:
    descriptor = as_bytes(sys.stdout.fileno())
    while data := handover.take_in_thread():
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
