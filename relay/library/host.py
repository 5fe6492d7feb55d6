"""In which loop the caller is, and how it gets from there to the link: found out here, and nowhere
else."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from relay.errors import UsageError
from relay.io.memory import MemoryStream
from relay.library.joint import Joint, MemoryJoint, Raw
from relay.library.stream import LoopStream, Stream

T = TypeVar("T")


class Host(Protocol[Raw]):
    """Where a tunnel's user is. It is entered before all else, and left behind it."""

    @property
    def joint(self) -> Joint[Raw]:
        """What makes the streams."""

    async def __aenter__(self) -> Host[Raw]: ...

    async def __aexit__(self, *error: object) -> None: ...

    async def call(self, work: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
        """Run `work` in the link's loop. Where the caller is cancelled, so is the work; and what it
        comes to in spite of that is returned."""

    def soon(self, work: Callable[..., object], *args: Any) -> None:
        """Call `work` in the link's loop, before all that is asked for later."""

    def stream(self, raw: Raw, origin: tuple[str, int] | None = None) -> Stream:
        """A stream as the user has it."""


class SameLoop:
    """asyncio's: the link is in the caller's own loop."""

    def __init__(self) -> None:
        self.joint = MemoryJoint()

    async def __aenter__(self) -> SameLoop:
        return self

    async def __aexit__(self, *error: object) -> None:
        pass

    async def call(self, work: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
        return await work(*args)

    def soon(self, work: Callable[..., object], *args: Any) -> None:
        work(*args)

    def stream(self, raw: MemoryStream, origin: tuple[str, int] | None = None) -> Stream:
        return LoopStream(raw, origin)


def in_trio() -> bool:
    """Is the caller one of trio's tasks?"""
    trio = sys.modules.get("trio")  # Who has not imported it is not in it.
    return trio is not None and trio.lowlevel.in_trio_task()


def current_host() -> Host[Any]:
    """That of the loop which is running. Raises `UsageError` when none is."""
    if in_trio():  # First: as a guest it runs within asyncio's.
        from relay.library.on_trio import OtherThread

        return OtherThread()
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise UsageError(
            "no event loop is running: use it in asyncio or trio, or take relay.sync"
        ) from None
    return SameLoop()
