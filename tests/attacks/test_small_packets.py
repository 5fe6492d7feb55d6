"""Very many packets that say nothing: before the login an end is made of them, after it the legs
share B's loop."""

from __future__ import annotations

import time

import pytest

from tests.attacks.bystander import Bystander
from tests.attacks.messages import (
    OPEN_CONFIRMATION,
    data,
    ignore,
    open_direct,
    unimplemented,
    window_adjust,
)
from tests.attacks.peer import Peer
from tests.attacks.peers import hostile_consumer
from tests.programs.chain import Chain

FLOODS = {
    "ignore": ignore(),
    "unimplemented": unimplemented(),
    "windows of nothing": window_adjust(0, 0),
    "empty data": data(0, b""),
}

PACKETS = 20_000

SHARE = 4
"""Of the time that B takes for so many packets, the bystander waits for less than a quarter at
once: some hundred packets are a turn. Where what one receive brings is a turn, it is half and more,
each time; so a machine that is busy with others may have three tries."""


@pytest.mark.parametrize("cipher", ["aes128-gcm@openssh.com", "chacha20-poly1305@openssh.com"])
@pytest.mark.parametrize("small", FLOODS.values(), ids=FLOODS)
async def test_after_the_login(
    chain: Chain, bystander: Bystander, small: bytes, cipher: str
) -> None:
    async with hostile_consumer(chain, encryption_algs=[cipher]) as peer:
        await peer.send(open_direct("gpu1", 8000, sender=7))
        await peer.expect(OPEN_CONFIRMATION)
        for _ in range(3):
            share = await flooded(peer, small, bystander)
            if share * SHARE < 1:
                return
    pytest.fail(f"a round trip took {share:.2f} of the time of the flood")


async def flooded(peer: Peer, small: bytes, bystander: Bystander) -> float:
    """What part of a flood's time the slowest round trip meanwhile took."""
    bystander.goes_on()
    bystander.round_trips.clear()
    began = time.monotonic()
    await peer.send(*[small] * PACKETS)
    await peer.settled()
    took = time.monotonic() - began
    bystander.goes_on()
    return bystander.slowest / took
