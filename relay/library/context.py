"""In which context the link's part of a loop runs: one that says that asyncio runs there.

What is called by the loop itself, and not within a task, cannot be told from what is called in
trio's; so whoever asks (anyio does, through sniffio) is told by a variable of the context. A
program that was begun by `anyio.run` has it everywhere, a caller of ours need not have it.
"""

from __future__ import annotations

from contextvars import Context, copy_context

from sniffio import current_async_library_cvar


def asyncio_context(context: Context | None = None) -> Context:
    """The context, or else a copy of the caller's, with that."""
    context = copy_context() if context is None else context
    context.run(current_async_library_cvar.set, "asyncio")
    return context
