"""Legs that vanish in the middle of something, and legs that do not read."""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Final

import pytest

from tests.attacks.bystander import Bystander, standing_by
from tests.attacks.messages import (
    MIB,
    OPEN_CONFIRMATION,
    REQUEST_SUCCESS,
    disconnect,
    open_direct,
    publish,
)
from tests.attacks.peers import hostile_consumer
from tests.programs.chain import Chain, Options
from tests.programs.traffic import closing, free_port

CONSUMERS: Final = 200

MAX_GROWTH: Final = 128 * MIB
"""What those may cost B beside their legs themselves."""


@pytest.fixture(scope="module")
def b_options() -> Options:
    return "--legs-per-key", str(CONSUMERS)


@pytest.fixture
def bystander(chain: Chain) -> Iterator[Bystander]:
    with standing_by(chain, 32 * MIB, growth=2 * MAX_GROWTH) as bystander:
        yield bystander


@pytest.mark.parametrize("bind", ["localhost", "vanished"])
async def test_a_leg_that_vanishes_while_its_listener_is_made(
    chain: Chain, bystander: Bystander, bind: str
) -> None:
    port = free_port()
    for number in range(30):
        async with hostile_consumer(chain, f"from-{bind}") as peer:  # Lines are damped by key.
            await peer.send(publish(bind, port))
            if number % 2:
                await peer.send(disconnect())
        chain.b.process.wait_for(rf"leg down: .* from {peer.address}")
    async with hostile_consumer(chain, "another") as another:
        await another.send(publish(bind, port))
        await another.expect(REQUEST_SUCCESS)
    bystander.goes_on()


@pytest.mark.slow
async def test_two_hundred_consumers_that_never_read(chain: Chain, bystander: Bystander) -> None:
    sources: list[socket.socket] = []
    async with AsyncExitStack() as stack:
        for _ in range(CONSUMERS):
            peer = await stack.enter_async_context(hostile_consumer(chain, "consumer"))
            await peer.send(open_direct("gpu1", 8000, window=2**31 - 1))
            await peer.expect(OPEN_CONFIRMATION)
            sources.append(chain.service.accept())
            peer.stop_reading()
        before = bystander.growth
        with closing(*sources):
            await asyncio.to_thread(push, sources)
            grown = bystander.growth - before
            print(f"B's memory grew by {grown / MIB:.0f} MiB")
            assert grown < MAX_GROWTH
            bystander.goes_on()


def push(sources: list[socket.socket]) -> None:
    """Send on all of them until none takes any more."""
    block = bytes(MIB)
    for source in sources:
        source.setblocking(False)
    open_sources = list(sources)
    while open_sources:
        _, writable, _ = select.select([], open_sources, [], 1.0)
        if not writable:
            return
        for source in writable:
            try:
                source.send(block)
            except BlockingIOError:
                pass
            except OSError:
                open_sources.remove(source)
