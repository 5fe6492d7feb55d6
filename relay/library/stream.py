"""What a user has of a stream, and what it is on asyncio."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Coroutine, Mapping
from types import TracebackType
from typing import Any

from anyio import aclose_forcefully
from anyio.abc import ByteStream, SocketAttribute

from relay.core.limits import KIB
from relay.io.memory import MemoryStream, StreamAttribute

AT_ONCE = 64 * KIB
"""Bytes that are received at once, where nobody says how many."""


class Stream(ByteStream):
    """A stream of bytes between this process and a service, or a service's client.

    It is an `anyio.abc.ByteStream`; on trio it is a `trio.abc.HalfCloseableStream` as well, with
    `send_all`, `receive_some` and `wait_send_all_might_not_block`. Its exceptions are anyio's (on
    trio they are trio's as well):

    * `EndOfStream`: the other side has said all that it had to say;
    * `ClosedResourceError`: it was closed, or its sending ended, on this side;
    * `BrokenResourceError`: the other side broke it off, or the connection was lost: what came is
      not whole. Streams do not outlive the connection that carries them;
    * `BusyResourceError`: another task is in the same call.

    A call that is cancelled loses nothing: what `receive` has not returned is still there. Of a
    `send` that is cancelled a part may have been sent.
    """

    def __init__(self, origin: tuple[str, int] | None = None) -> None:
        self._origin = origin

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """`StreamAttribute.readable`: would `receive` return, or raise, at once? Of a stream that
        was accepted, `SocketAttribute.remote_address`: where it comes from (host and port), as the
        server says."""
        found: dict[Any, Callable[[], Any]] = {StreamAttribute.readable: self._readable}
        if (origin := self._origin) is not None:
            found[SocketAttribute.remote_address] = lambda: origin
        return found

    @abstractmethod
    def _readable(self) -> bool: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it; where an exception is on its way, as broken: the other side must not take half
        an answer for a whole one."""
        if kind is None:
            await self.aclose()
        else:
            await aclose_forcefully(self)

    @abstractmethod
    async def receive(self, max_bytes: int = AT_ONCE) -> bytes:
        """What has come, one byte at least and `max_bytes` at most; waits for it.

        Raises:
            EndOfStream, ClosedResourceError, BrokenResourceError, BusyResourceError: as above.
            ValueError: `max_bytes` is less than 1.
        """

    @abstractmethod
    async def send(self, item: bytes) -> None:
        """Send all of `item` (any buffer of bytes). It returns when it is on its way, and waits
        while the other side takes no more.

        Raises:
            ClosedResourceError, BrokenResourceError, BusyResourceError: as above.
        """

    @abstractmethod
    async def send_eof(self) -> None:
        """Say that no more is sent. What the other side sends still comes; to say it again changes
        nothing."""

    @abstractmethod
    async def aclose(self) -> None:
        """Close it: what was sent arrives, and the end behind it. The other side is told that the
        stream broke where something is lost by that: bytes that came and were not received, or
        came later, or a `send` that was cancelled half-way. To cancel this call tells it so too
        (`anyio.aclose_forcefully`)."""


class LoopStream(Stream):
    """On asyncio: a stream of memory in the caller's own loop."""

    def __init__(self, memory: MemoryStream, origin: tuple[str, int] | None = None) -> None:
        super().__init__(origin)
        self._memory = memory

    def _readable(self) -> bool:
        return self._memory.extra(StreamAttribute.readable)

    # Not `async`, which would be one more coroutine for each call.

    def receive(self, max_bytes: int = AT_ONCE) -> Coroutine[Any, Any, bytes]:
        return self._memory.receive(max_bytes)

    def send(self, item: bytes) -> Coroutine[Any, Any, None]:
        return self._memory.send(item)

    def send_eof(self) -> Coroutine[Any, Any, None]:
        return self._memory.send_eof()

    def aclose(self) -> Coroutine[Any, Any, None]:
        return self._memory.aclose()
