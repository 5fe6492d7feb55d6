"""Two hostile legs, joined by splices, that say anything in any state, beside a bystander. For
hours: `python -m tests.fuzz two_legs`."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.attacks.bystander import Bystander
from tests.attacks.peers import hostile_consumer
from tests.attacks.two_legs import AT_ONCE, STEP, play
from tests.programs.chain import Chain

byte, size = st.integers(0, 0xFF), st.integers(0, 0xFFFF)
channel = st.builds(int.__or__, st.integers(0, 3), st.sampled_from([0, AT_ONCE]))
scripts = st.lists(st.builds(STEP.pack, byte, channel, size), max_size=25).map(b"".join)


@pytest.mark.slow
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(scripts)
def test_anything_on_two_legs(chain: Chain, bystander: Bystander, script: bytes) -> None:
    async def nothing() -> None: ...

    async def attack() -> None:
        async with hostile_consumer(chain, "a") as consumer, hostile_consumer(chain, "b") as agent:
            await play(consumer, agent, script, nothing)

    asyncio.run(attack())
    bystander.goes_on()
