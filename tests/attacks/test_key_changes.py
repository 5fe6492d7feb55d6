"""Keys that change while much waits: all of it is sent afterwards, to a client that did nothing
wrong, and to its neighbours meanwhile."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from tests.attacks.bystander import Bystander
from tests.attacks.messages import (
    DATA,
    NEWKEYS,
    OPEN,
    OPEN_CONFIRMATION,
    confirmation,
    data,
    open_direct,
)
from tests.attacks.peers import hostile_agent, hostile_consumer
from tests.programs.chain import Chain

STREAMS = 6
TOKENS = 1000
"""Of each stream, while the client does not answer B's KEXINIT: about a second of a fast model."""

CIPHERS = ["aes128-gcm@openssh.com", "chacha20-poly1305@openssh.com"]


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("clients", [1, 4])
async def test_token_streams_while_keys_change(
    chain: Chain, bystander: Bystander, cipher: str, clients: int
) -> None:
    async with hostile_agent(chain) as agent, AsyncExitStack() as stack:
        peers = [
            await stack.enter_async_context(
                hostile_consumer(chain, "another", encryption_algs=[cipher])
            )
            for _ in range(clients)
        ]
        for peer in peers:
            await peer.send(*(open_direct("evil", 8000, sender=n) for n in range(STREAMS)))
        numbers = [(await agent.expect(OPEN)).sender for _ in range(clients * STREAMS)]
        await agent.send(*map(confirmation, numbers))
        for peer in peers:
            for n in range(STREAMS):
                await peer.expect(OPEN_CONFIRMATION, recipient=n)
            peer.begin_key_exchange()
            peer.stop_reading()
        bystander.goes_on()  # So B has read the KEXINITs.
        tokens = [b"%4d of channel %2d" % (n, m) for n in range(TOKENS) for m in numbers]
        for start in range(0, len(tokens), len(numbers)):
            await agent.send(*map(data, numbers, tokens[start : start + len(numbers)]))
        await agent.settled()
        bystander.goes_on()
        for number, peer in enumerate(peers):
            peer.go_on_reading()
            await peer.expect(NEWKEYS)
            for n in range(STREAMS):
                mine = tokens[number * STREAMS + n :: len(numbers)]
                await peer.expect(DATA, recipient=n, text=mine[-1])
                came = [message for message in peer.received if message.number == DATA]
                assert [message.text for message in came if message.recipient == n] == mine
        assert not agent.over
        bystander.goes_on()
