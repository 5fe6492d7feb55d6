"""A loop that is late is seen to be."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from relay.observe import loop_delay

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_it_is_told_of_each_delay_for_as_long_as_somebody_wants_it() -> None:
    loop = asyncio.get_running_loop()
    seen: list[float] = []

    def holds_it_up() -> None:
        until = loop.time() + 0.02
        while loop.time() < until:
            pass

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(loop_delay.watch, seen.append, range(1), 0.01)
        loop.call_later(0.009, holds_it_up)
    assert len(seen) == 1
    assert seen[0] >= 0.01


async def test_a_few_looks_end_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = iter([0.001, 0.5, 0.0])

    async def watch(saw, looks, between) -> None:  # type: ignore[no-untyped-def]
        for delay in seen:
            saw(delay)

    monkeypatch.setattr(loop_delay, "watch", watch)
    assert await loop_delay.longest() == 0.5
