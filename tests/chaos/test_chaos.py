"""Everything fails at random while checked streams run, and nothing is delivered wrong.

`RELAY_CHAOS_SEED` and `RELAY_CHAOS_SECONDS` choose another storm and its length.

How soon it works again is asked twice. After the storm the pauses between tries may stand at half a
minute, as they should for who is lost again and again: that is only told. Then there is a calm, in
which each connection has held and its pauses begin anew, and one more fault: after that, it is the
keepalive's deadline and 5 s.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from typing import Final

import psutil
import pytest

from tests.chaos.streams import LARGEST, SEED, Traffic
from tests.chaos.world import DEADLINE, World, running
from tests.programs.chain import Site
from tests.programs.conftest import site as site
from tests.programs.process import GUARD
from tests.programs.traffic import MIB

SECONDS: Final = float(os.environ.get("RELAY_CHAOS_SECONDS", "30"))

STREAMS: Final = 12
"""At once."""

CALM: Final = 12.0
"""Seconds after which a leg counts as held, so that the next loss is tried again at once."""

RECOVERY: Final = 5.0
SLACK: Final = 10.0
"""What a busy machine may take on top, so that the verdict is not one about the machine."""

MEMORY_MARGIN: Final = 48 * MIB
"""What a program may have grown by: a leg's buffers, and pieces of the heap that are free but not
given back. A stream that is never released holds its window, and here there are hundreds."""


async def works(traffic: Traffic) -> float:
    """Seconds until a stream is whole."""
    began = time.monotonic()
    while time.monotonic() - began < 2 * GUARD:
        with contextlib.suppress(OSError):
            if await traffic.stream(100_000, 100_000):
                return time.monotonic() - began
        await asyncio.sleep(0.02)
    raise AssertionError("the chain does not work again")


async def settled(world: World, before: dict[str, tuple[int, int, int]], seconds: float) -> None:
    """Wait until all is as it was; memory with its margin."""
    deadline = time.monotonic() + seconds
    while True:
        now = world.resources()
        kept = {
            name: (now[name], then)
            for name, then in before.items()
            if now[name][:2] != then[:2] or now[name][2] > then[2] + MEMORY_MARGIN
        }
        if not kept:
            grown = {name: (now[name][2] - before[name][2]) // MIB for name in now}
            print(f"back where it began; grown by (MiB): {grown}")
            return
        assert time.monotonic() < deadline, f"descriptors, threads, memory now and then: {kept}"
        await asyncio.sleep(0.2)


async def chaos(site: Site) -> None:
    async with running(site) as (world, traffic):
        await asyncio.gather(*(traffic.stream(LARGEST, LARGEST) for _ in range(STREAMS)))
        await works(traffic)
        await asyncio.sleep(0.5)
        before = world.resources()
        over = asyncio.Event()
        streams = [asyncio.create_task(traffic.run(over)) for _ in range(STREAMS)]
        await world.storm(SECONDS)
        print(f"after the storm it works in {await works(traffic):.2f} s")
        await asyncio.sleep(CALM)
        print(f"{await world.fault()}: the last fault")
        took = await works(traffic)
        print(f"after the last fault it works in {took:.2f} s")
        over.set()
        done, hanging = await asyncio.wait(streams, timeout=DEADLINE + GUARD)
        assert not hanging, "streams that never end"
        for one in done:
            one.result()
        began = time.monotonic()
        while traffic.open:
            assert time.monotonic() - began < DEADLINE + GUARD, f"{traffic.open} never end"
            await asyncio.sleep(0.1)
        print(traffic.check())
        await settled(world, before, DEADLINE + GUARD)
        assert took < RECOVERY + DEADLINE + SLACK
        assert all([await traffic.stream(LARGEST, LARGEST) for _ in range(3)])
        for name, process in world.programs.items():
            assert await asyncio.to_thread(process.stop) == 0, name
            assert not process.said("Traceback")


@pytest.mark.slow
def test_chaos(site: Site) -> None:
    print(f"RELAY_CHAOS_SEED={SEED} RELAY_CHAOS_SECONDS={SECONDS:g}")
    others = set(psutil.Process().children(recursive=True))
    asyncio.run(chaos(site))
    assert not set(psutil.Process().children(recursive=True)) - others
