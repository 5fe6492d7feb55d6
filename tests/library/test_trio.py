"""What trio promises of a stream, kept by ours; and the thread that it costs."""

from __future__ import annotations

import threading
from typing import Any

import anyio
import pytest
import trio
from trio.testing import check_half_closeable_stream

from relay.library.on_trio import TrioStream
from relay.library.thread import NAME
from tests.library.conftest import B

FULL = 0.25
"""Seconds. Where it is too short the check itself fails: more would have gone."""


@pytest.fixture
def anyio_backend() -> str:
    return "trio"


async def fill(stream: TrioStream) -> None:
    """The last bytes go where the larger piece found no room."""
    for size in (1 << 16, 1):
        with trio.move_on_after(FULL) as scope:
            while True:
                await stream.send_all(bytes(size))
                scope.deadline = trio.current_time() + FULL


@pytest.mark.slow
async def test_a_half_closeable_stream(b: B) -> None:
    async with b.connect("agent_key") as c, b.connect() as a, c.listen("trio:1") as listener:

        async def pair() -> tuple[TrioStream, TrioStream]:
            streams: list[Any] = [None, None]

            async def opens() -> None:
                streams[0] = await a.open("trio:1")

            async with trio.open_nursery() as nursery:
                nursery.start_soon(opens)
                streams[1] = await listener.accept()
            return streams[0], streams[1]

        async def clogged() -> tuple[TrioStream, TrioStream]:
            """All that is on the way is full when nothing has moved for a while."""
            both = await pair()
            async with trio.open_nursery() as nursery:
                for one in both:
                    nursery.start_soon(fill, one)
            return both

        await check_half_closeable_stream(pair, clogged)


async def test_one_thread_for_all(b: B) -> None:
    def threads() -> int:
        return sum(thread.name == NAME for thread in threading.enumerate())

    assert threads() == 0
    async with b.connect("agent_key"), b.connect():
        assert threads() == 1
    assert threads() == 0


async def test_what_is_raised_is_of_both_libraries(b: B) -> None:
    async with b.connect() as tunnel, tunnel.listen("both:1") as listener:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tunnel.open, "both:1")
            stream = await listener.accept()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.receive)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError) as busy:
                await stream.receive()
            nursery.cancel_scope.cancel()
        assert isinstance(busy.value, anyio.BusyResourceError)
        await stream.aclose()
        with pytest.raises(trio.ClosedResourceError) as closed:
            await stream.receive()
        assert isinstance(closed.value, anyio.ClosedResourceError)


async def test_a_call_that_is_cancelled_ends_what_it_began(b: B) -> None:
    async with b.connect() as tunnel, tunnel.listen("slow:1") as listener:
        with trio.move_on_after(0.1) as scope:
            await tunnel.open("slow:1")
        assert scope.cancelled_caught
        # Whoever takes it all the same finds that nobody is there.
        async with await listener.accept() as stream:
            with pytest.raises(anyio.BrokenResourceError):
                await stream.receive()
