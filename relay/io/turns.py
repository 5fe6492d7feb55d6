"""Long work on the event loop, a little in each of its turns."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from itertools import islice
from typing import Final, TypeVar

import anyio.lowlevel

PER_TURN: Final = 128
"""Things that are looked at before it is the streams' turn: a few microseconds each, so that they
wait for half a millisecond at most."""

Item = TypeVar("Item")


async def in_turn(items: Iterable[Item], size: int = PER_TURN) -> AsyncIterator[list[Item]]:
    """As many of them as are for one turn, and so on. What they come from may change meanwhile only
    if it does not mind."""
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some
        await anyio.lowlevel.checkpoint()
