"""An agent's word that a service is down: it is for its own services, and a line for a person."""

from __future__ import annotations

import asyncio

import pytest
from asyncssh.packet import String, UInt32, UInt64

from relay.core.down import LONGEST_REASON
from relay.wire.numbers import SERVICE_DOWN
from tests.attacks.bystander import MAX_GROWTH, Bystander
from tests.attacks.messages import (
    OPEN_FAILURE,
    PROTOCOL_ERROR,
    REQUEST_SUCCESS,
    global_request,
    open_direct,
    publish,
    withdraw,
)
from tests.attacks.peer import Peer
from tests.attacks.peers import hostile_agent, hostile_consumer
from tests.programs.chain import NAMED, Chain, Site, relay_agent, relay_server, start_chain


def down(host: str, port: int, reason: str | bytes = "a lie", age: int = 0) -> bytes:
    fields = String(host) + UInt32(port) + UInt64(age) + String(reason)
    return global_request(SERVICE_DOWN.decode(), fields, want_reply=False)


async def refusal(peer: Peer, host: str) -> str:
    """Why it may not open this."""
    peer.forget()
    await peer.send(open_direct(host, 8000))
    return (await peer.expect(OPEN_FAILURE)).payload.decode()


async def test_of_others_services_nobody_can_say_it(site: Site) -> None:
    """Else who opens them while their agent is restarted would be refused, and not wait."""
    chain = start_chain(site, b_options=("-v", "--hold", "3600"))
    async with hostile_agent(chain, name="evil") as peer:
        await peer.send(down("gpu1", 8000), down("nobody", 8000))
        await peer.settled()
        chain.c.stop()
        await asyncio.to_thread(chain.b.process.wait_for, "gpu1:8000 withdrawn")
        await peer.send(down("gpu1", 8000), open_direct("gpu1", 8000, sender=1))
        await asyncio.to_thread(chain.b.process.wait_for, "gpu1:8000: .* waits for it")
        assert "no such service" in await refusal(peer, "nobody")
        assert not chain.b.process.said("a lie")


async def test_of_what_others_share_with_it_neither(site: Site) -> None:
    """The last one's word counts, which may be back in a moment."""
    b = relay_server(site, "-v", "--hold", "3600", "--share-services", "gpu*:8000")
    for key in ("agent", "offender"):
        site.key(key, 'permitlisten="gpu*:8000"')
    agent, _ = relay_agent(site, b, NAMED, 1, "--share")
    chain = Chain(agent, b, agent, 0, site.service(), site)
    async with hostile_agent(chain, name="+gpu1") as peer:
        await peer.send(down("+gpu1", 8000), withdraw("+gpu1", 8000))
        await peer.expect(REQUEST_SUCCESS)
        agent.stop()
        await asyncio.to_thread(b.process.wait_for, "withdrawn: its leg is down")
        await peer.send(open_direct("gpu1", 8000, sender=1))
        await asyncio.to_thread(b.process.wait_for, "gpu1:8000: .* waits for it")


async def test_its_word_ends_with_it(chain: Chain) -> None:
    async with hostile_consumer(chain, "other") as other:
        async with hostile_agent(chain, name="evil") as peer:
            await peer.send(down("evil", 8000, "gone"), withdraw("evil", 8000))
            await peer.expect(REQUEST_SUCCESS)
            assert "does not answer (gone, since 0.0 s)" in await refusal(other, "evil")
        await asyncio.to_thread(chain.b.process.wait_for, r"leg down: .*\(offender\)")
        assert "no such service" in await refusal(other, "evil")


async def test_what_is_said_is_a_line(chain: Chain, bystander: Bystander) -> None:
    async with hostile_agent(chain, name="evil") as peer:
        text = "\x1b[2J\n" + "x" * 30_000
        await peer.send(down("evil", 8000, text, age=2**64 - 1), withdraw("evil", 8000))
        await peer.expect(REQUEST_SUCCESS)
        said = await refusal(peer, "evil")
        assert f"(?[2J?{'x' * (LONGEST_REASON - 5)}, since 8760 h)" in said
    bystander.goes_on()


async def test_ten_thousand_names(chain: Chain, bystander: Bystander) -> None:
    async with hostile_consumer(chain) as peer:
        for number in range(10_000):
            await peer.send(down(f"evil{number}", 8000, "x" * 1000))
        for number in range(1_000):
            name = f"own{number}"
            for steps in ([publish(name, 8000)], [down(name, 8000), withdraw(name, 8000)]):
                peer.forget()
                await peer.send(*steps)
                await peer.expect(REQUEST_SUCCESS)
        await peer.settled()
        assert "no such service" in await refusal(peer, "evil1")
        assert "no such service" in await refusal(peer, "own999")
        assert "does not answer" in await refusal(peer, "own0")
    bystander.goes_on()
    assert bystander.growth < MAX_GROWTH


@pytest.mark.parametrize("reason", [b"\xff", None])
async def test_what_cannot_be_read(chain: Chain, bystander: Bystander, reason: bytes) -> None:
    async with hostile_agent(chain, name="evil") as peer:
        wrong = global_request(SERVICE_DOWN.decode(), b"\0", want_reply=False)
        await peer.send(down("evil", 8000, reason) if reason else wrong)
        await peer.disconnected(PROTOCOL_ERROR)
    bystander.goes_on()
