"""How a link or a server is in an asyncio loop: in which context, and to which end.

The context is one that says that asyncio runs there.

What is called by the loop itself, and not within a task, cannot be told from what is called in
trio's; so whoever asks (anyio does, through sniffio) is told by a variable of the context. A
program that was begun by `anyio.run` has it everywhere, a caller of ours need not have it.
"""

from __future__ import annotations

import asyncio
from contextvars import Context, copy_context
from typing import Any

import anyio
from sniffio import current_async_library_cvar


def asyncio_context(context: Context | None = None) -> Context:
    """The context, or else a copy of the caller's, with that."""
    context = copy_context() if context is None else context
    context.run(current_async_library_cvar.set, "asyncio")
    return context


async def turns() -> None:
    """Let those have their turn who were told that something has ended."""
    for _ in range(3):
        await asyncio.sleep(0)


async def end_of(task: asyncio.Future[Any]) -> None:
    """Return when it has ended, and not before, whatever happens to who waits."""
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as error:
                cancelled = error
    if cancelled is not None:
        raise cancelled
