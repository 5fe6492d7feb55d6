"""trio: the link is in the thread's loop, and streams are pairs of sockets. Imported where trio
runs, and nowhere else."""

from __future__ import annotations

import asyncio
import selectors
import socket
from collections.abc import Callable, Coroutine
from contextlib import contextmanager
from typing import Any, Final, NoReturn, TypeVar

import anyio
import outcome
import trio

from relay.library import thread
from relay.library.joint import PairJoint, RawPair
from relay.library.stream import AT_ONCE, Stream

T = TypeVar("T")


class Closed(anyio.ClosedResourceError, trio.ClosedResourceError):
    """Both libraries' word for it."""


class Broken(anyio.BrokenResourceError, trio.BrokenResourceError):
    """Both libraries' word for it."""


class Busy(anyio.BusyResourceError, trio.BusyResourceError):
    """Both libraries' word for it."""


class OtherThread:
    """trio's `Host`."""

    def __init__(self) -> None:
        self.joint = PairJoint()
        self._thread: thread.LoopThread

    async def __aenter__(self) -> OtherThread:
        self._thread = thread.borrow()
        return self

    async def __aexit__(self, *error: object) -> None:
        thread.give_back()

    async def call(self, work: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
        me, token = trio.lowlevel.current_task(), trio.lowlevel.current_trio_token()
        cancelled: Callable[[], NoReturn] | None = None

        def done(task: asyncio.Task[T]) -> None:
            """In the thread."""
            try:
                token.run_sync_soon(wake, task)
            except trio.RunFinishedError:
                pass  # Nobody waits any more.

        def wake(task: asyncio.Task[T]) -> None:
            if not task.cancelled():
                result = outcome.capture(task.result)
            elif cancelled is not None:
                result = outcome.capture(cancelled)
            else:
                result = outcome.Error(trio.BrokenResourceError("the tunnel's thread has ended"))
            trio.lowlevel.reschedule(me, result)

        def abort(raise_cancel: Callable[[], NoReturn]) -> trio.lowlevel.Abort:
            nonlocal cancelled
            cancelled = raise_cancel
            cancel()
            return trio.lowlevel.Abort.FAILED  # The work says when it is over.

        cancel = self._thread.submit(work, args, done)
        result: T = await trio.lowlevel.wait_task_rescheduled(abort)
        return result

    def soon(self, work: Callable[..., object], *args: Any) -> None:
        self._thread.soon(work, *args)

    def stream(self, raw: RawPair, origin: tuple[str, int] | None = None) -> Stream:
        return TrioStream(raw, origin)


class _Guard:
    """One task at a time."""

    def __init__(self, action: str) -> None:
        self._action: Final = action
        self._taken = False

    def __enter__(self) -> None:
        if self._taken:
            raise Busy(self._action)
        self._taken = True

    def __exit__(self, *_: object) -> None:
        self._taken = False


class TrioStream(Stream, trio.abc.HalfCloseableStream):  # type: ignore[misc]  # __aiter__: alike
    """A stream on trio: one socket of a pair, whose other one the thread joins to its channel."""

    def __init__(self, raw: RawPair, origin: tuple[str, int] | None = None) -> None:
        super().__init__(origin)
        self._pair = raw.stream
        self._socket = trio.socket.from_stdlib_socket(raw.sock)
        self._said_all = False
        self._receiving = _Guard("receiving from")
        self._sending = _Guard("sending to")

    def _readable(self) -> bool:
        with selectors.DefaultSelector() as selector:
            if self._socket.fileno() != -1:
                selector.register(self._socket, selectors.EVENT_READ)
                return bool(selector.select(0))
        return True

    # -- as trio has it

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if max_bytes is None:
            max_bytes = AT_ONCE
        if max_bytes < 1:
            raise ValueError("max_bytes must be 1 or more")
        with self._receiving, self._explained():
            self._check_open()
            data = await self._socket.recv(max_bytes)
        if not data and self._pair.broken:
            raise Broken(self._pair.broken)
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        pair = self._pair
        with self._sending, self._explained(), memoryview(data) as view:
            sent, size = 0, len(view)
            self._check_sending()
            if not size:
                await trio.lowlevel.checkpoint()
            while sent < size:
                sent += await self._socket.send(view[sent:])
                pair.cut = sent < size
                self._check_open()

    async def wait_send_all_might_not_block(self) -> None:
        with self._sending, self._explained():
            self._check_sending()
            await trio.lowlevel.wait_writable(self._socket)

    # -- as anyio has it

    async def receive(self, max_bytes: int = AT_ONCE) -> bytes:
        data = await self.receive_some(max_bytes)
        if not data:
            raise anyio.EndOfStream
        return data

    async def send(self, item: bytes) -> None:
        await self.send_all(item)

    # -- as both have it

    async def send_eof(self) -> None:
        with self._sending, self._explained():
            await trio.lowlevel.checkpoint()
            self._check_open()
            if not self._said_all:
                self._said_all = True
                self._socket.shutdown(socket.SHUT_WR)

    async def aclose(self) -> None:
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
        except BaseException:
            self._pair.cut = True
            raise
        finally:
            self._socket.close()
        await trio.lowlevel.cancel_shielded_checkpoint()

    def _check_open(self) -> None:
        if self._socket.fileno() == -1:
            raise Closed

    def _check_sending(self) -> None:
        self._check_open()
        if self._said_all:
            raise Closed

    @contextmanager
    def _explained(self) -> Any:
        """What the socket raises, in the words of both libraries."""
        try:
            yield
        except Closed:
            raise
        except (OSError, trio.ClosedResourceError) as error:
            if self._socket.fileno() == -1:
                raise Closed from None
            raise Broken(self._pair.broken or str(error)) from error
