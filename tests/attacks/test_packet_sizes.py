"""Packets as small as a byte: who asks for them would have its neighbours wait (RFC 4254 §5.1 sets
no least size; B does)."""

from __future__ import annotations

import pytest

from tests.attacks.bystander import Bystander
from tests.attacks.messages import (
    CLOSE,
    DATA,
    OPEN,
    OPEN_CONFIRMATION,
    OPEN_FAILURE,
    confirmation,
    open_direct,
)
from tests.attacks.peers import hostile_agent, hostile_consumer
from tests.programs.chain import Chain

TOO_SMALL = [0, 1, 1023]
SMALLEST = 1024


@pytest.mark.parametrize("packet", TOO_SMALL)
async def test_an_open_with_too_small_packets_is_refused(
    chain: Chain, bystander: Bystander, packet: int
) -> None:
    async with hostile_consumer(chain) as peer:
        await peer.send(open_direct("gpu1", 8000, sender=7, packet=packet))
        await peer.expect(OPEN_FAILURE, recipient=7)
        await peer.send(open_direct("gpu1", 8000, sender=8))
        await peer.expect(OPEN_CONFIRMATION, recipient=8)
    bystander.goes_on()


@pytest.mark.parametrize("packet", TOO_SMALL[1:])  # With none at all it is no confirmation.
async def test_a_confirmation_with_too_small_packets_opens_nothing(
    chain: Chain, bystander: Bystander, packet: int
) -> None:
    async with hostile_agent(chain) as agent, hostile_consumer(chain, "another") as consumer:
        await consumer.send(open_direct("evil", 8000, sender=7))
        await agent.expect(OPEN)
        await agent.send(confirmation(0, sender=9, packet=packet))
        await consumer.expect(OPEN_FAILURE, recipient=7)
        await agent.expect(CLOSE, recipient=9)
        for peer in agent, consumer:
            await peer.settled()
            assert not peer.over
    bystander.goes_on()


async def test_the_smallest_packets_are_served(chain: Chain) -> None:
    async with hostile_consumer(chain) as peer:
        await peer.send(open_direct("gpu1", 8000, sender=7, packet=SMALLEST))
        await peer.expect(OPEN_CONFIRMATION, recipient=7)
        with chain.service.accept() as service:
            sent = bytes(range(256)) * 100
            service.sendall(sent)
            came = b""
            while len(came) < len(sent):
                piece = (await peer.expect(DATA, recipient=7)).text
                assert len(piece) <= SMALLEST
                came += piece
            assert came == sent
