"""Who does not take what it asked for: nobody waits for that but itself."""

from __future__ import annotations

import asyncio
import socket

import pytest

from relay.core.limits import STALL_TIMEOUT
from tests.attacks.bystander import Bystander
from tests.attacks.messages import OPEN_CONFIRMATION, channel_request, kexinit, open_direct
from tests.attacks.peers import hostile_consumer
from tests.attacks.test_legs import push
from tests.programs.chain import Chain, Options
from tests.programs.traffic import closing

DOWNLOADS = 32
"""Of `FIRST_CREDIT` each, they hold more than B may here, whatever the sockets take."""


@pytest.fixture(scope="module")
def b_options() -> Options:
    return "--waiting-per-leg", "1M"


async def test_requests_under_a_key_exchange_that_does_not_end(
    chain: Chain, bystander: Bystander
) -> None:
    """The answers wait for its keys. The agent, whose stream it is, goes on for everybody else."""
    async with hostile_consumer(chain) as peer:
        await peer.send(open_direct("gpu1", 8000))
        number = (await peer.expect(OPEN_CONFIRMATION)).sender
        peer.stop_reading()  # So that it does not answer B's KEXINIT.
        await peer.send(kexinit(), *[channel_request(number)] * 20_000)
        chain.b.process.wait_for("leg down: .*offender.*too many requests during a key exchange")
        bystander.goes_on()
    assert bystander.slowest < STALL_TIMEOUT / 2


async def test_downloads_that_are_not_read(chain: Chain, bystander: Bystander) -> None:
    """More waits for one consumer than B holds for it: its own streams pay for that."""
    async with hostile_consumer(chain, "reader") as peer:
        sources: list[socket.socket] = []
        for number in range(DOWNLOADS):
            await peer.send(open_direct("gpu1", 8000, number, window=2**31 - 1))
            await peer.expect(OPEN_CONFIRMATION)
            sources.append(chain.service.accept())
        peer.stop_reading()
        with closing(*sources):
            await asyncio.to_thread(push, sources)
        bystander.goes_on()
    chain.b.process.wait_for("limit hit: waiting-per-leg")
    chain.b.process.wait_for("splice closed .*reader.*too much waits for who does not read it")
    assert bystander.slowest < STALL_TIMEOUT / 2
