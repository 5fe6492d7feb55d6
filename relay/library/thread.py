"""The thread whose asyncio loop has the links of all who are in no asyncio loop themselves.

There is one, from the first of its users to the last.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, Final, TypeVar

from relay.library.context import asyncio_context
from relay.system import new_event_loop

T = TypeVar("T")

NAME: Final = "relay"


class LoopThread:
    """A thread with an asyncio loop."""

    def __init__(self) -> None:
        self.loop = new_event_loop()
        self._thread = threading.Thread(target=self._run, name=NAME, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        loop = self.loop
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
        finally:
            loop.run_until_complete(_end_all(loop))
            asyncio.set_event_loop(None)
            # Who looks up a name may take long; the thread is not kept for that.
            loop.close()

    def soon(self, work: Callable[..., object], *args: object) -> None:
        """Call it in the loop, behind all that was asked for before."""
        # In a context of its own: the caller's may say that trio runs.
        self.loop.call_soon_threadsafe(work, *args, context=asyncio_context(Context()))

    def submit(
        self,
        work: Callable[..., Coroutine[Any, Any, T]],
        args: tuple[Any, ...],
        done: Callable[[asyncio.Task[T]], object],
    ) -> Callable[[], None]:
        """Run `work` in the loop. `done` is called there with the task when that is over. Returns
        what cancels it, to be called from any thread."""
        task: asyncio.Task[T] | None = None

        def start() -> None:
            nonlocal task
            task = self.loop.create_task(work(*args))
            task.add_done_callback(done)

        def cancel() -> None:
            assert task is not None
            task.cancel()

        self.soon(start)
        return lambda: self.soon(cancel)

    def close(self) -> None:
        """Its users are gone."""
        self.soon(self.loop.stop)
        self._thread.join()


async def _end_all(loop: asyncio.AbstractEventLoop) -> None:
    """Nobody may wait for what will never be."""
    tasks = asyncio.all_tasks(loop) - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
    await loop.shutdown_asyncgens()
    await asyncio.sleep(0)  # Those who wait for one are told.


_lock: Final = threading.Lock()
# Guarded by it: the thread, if anybody uses it, and how many do.
_thread: LoopThread | None = None
_users = 0


def borrow() -> LoopThread:
    """The thread, which runs; whoever has it gives it back."""
    global _thread, _users
    with _lock:
        if _thread is None:
            _thread = LoopThread()
        _users += 1
        return _thread


def give_back() -> None:
    """The last one to do this ends the thread."""
    global _thread, _users
    with _lock:
        _users -= 1
        if not _users and _thread is not None:
            thread, _thread = _thread, None
            thread.close()
