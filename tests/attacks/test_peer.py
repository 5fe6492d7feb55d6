"""The language itself: whoever does nothing wrong is served, whatever it was made of."""

from __future__ import annotations

import pytest

from tests.attacks.bystander import Bystander
from tests.attacks.messages import (
    CLOSE,
    DATA,
    OPEN,
    OPEN_CONFIRMATION,
    close,
    confirmation,
    data,
    open_direct,
    packet,
)
from tests.attacks.peers import (
    hostile_agent,
    hostile_consumer,
    hostile_relay,
    stranger,
    stranger_with_keys,
)
from tests.programs.chain import Chain, Site
from tests.programs.traffic import dial


@pytest.mark.parametrize("cipher", ["aes128-gcm@openssh.com", "chacha20-poly1305@openssh.com"])
async def test_a_consumer_is_served(chain: Chain, bystander: Bystander, cipher: str) -> None:
    async with hostile_consumer(chain, encryption_algs=[cipher]) as peer:
        await peer.send(open_direct("gpu1", 8000, sender=7))
        number = (await peer.expect(OPEN_CONFIRMATION, recipient=7)).sender
        with chain.service.accept() as service:
            service.sendall(b"hello")
            assert (await peer.expect(DATA, recipient=7)).text == b"hello"
            await peer.change_keys()
            await peer.send(data(number, b"there"))
            assert service.recv(16) == b"there"
            await peer.send(close(number))
        await peer.expect(CLOSE, recipient=7)
        await peer.settled()
        assert not peer.over
        bystander.goes_on()


async def test_an_agent_serves(chain: Chain) -> None:
    async with hostile_agent(chain) as agent, hostile_consumer(chain, "another") as consumer:
        await consumer.send(open_direct("evil", 8000, sender=5))
        asked = await agent.expect(OPEN, kind=b"forwarded-tcpip")
        await agent.send(confirmation(asked.sender, sender=9))
        number = (await consumer.expect(OPEN_CONFIRMATION, recipient=5)).sender
        await consumer.send(data(number, b"hello"))
        assert (await agent.expect(DATA, recipient=9)).text == b"hello"


async def test_a_stranger_is_heard(chain: Chain) -> None:
    async with stranger(chain.b) as peer:
        await peer.send(b"SSH-2.0-stranger\r\n" + packet(bytes([255])))
        assert b"SSH-2.0-" in await peer.gone()
    async with stranger_with_keys(chain.b) as keyed:
        await keyed.send(open_direct("gpu1", 8000))
        await keyed.disconnected()


async def test_our_programs_log_in_at_a_relay(site: Site) -> None:
    async with hostile_relay(site) as b:
        a = site.ours(
            "relay-connect", *site.leg(b.server, "client"), "-L", "127.0.0.1:0:gpu1:8000",
            f"{site.user}@127.0.0.1",
        )  # fmt: skip
        leg = await b.leg()
        port = int(a.wait_for(r"127\.0\.0\.1:(\d+) -> \S+ ready")[1])
        with dial(port) as client:
            asked = await leg.expect(OPEN, kind=b"direct-tcpip", host=b"gpu1")
            await leg.send(confirmation(asked.sender, sender=4), data(asked.sender, b"from b"))
            client.sendall(b"to b")
            assert (await leg.expect(DATA, recipient=4)).text == b"to b"
            assert client.recv(16) == b"from b"
