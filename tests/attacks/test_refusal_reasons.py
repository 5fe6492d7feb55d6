"""Why B refuses a service: who is told it, how much it says, and what a relay may make of it."""

from __future__ import annotations

import pytest
from asyncssh.packet import SSHPacket, String

from relay.core.services import ServiceRefusal
from relay.wire.numbers import (
    RELAY_VERSION,
    SERVICE_REFUSED,
    VERSION_START,
)
from tests.attacks.messages import (
    GLOBAL_REQUEST,
    PROTOCOL_ERROR,
    REQUEST_FAILURE,
    global_request,
    publish,
    request_failure,
)
from tests.attacks.peer import Peer
from tests.attacks.peers import hostile_consumer, hostile_relay
from tests.programs.chain import Chain, Site

OURS = {"client_version": RELAY_VERSION.removeprefix(VERSION_START)}


async def reason(peer: Peer, host: str, port: int = 8000) -> tuple[str, str]:
    """What B says before it refuses this."""
    peer.forget()
    await peer.send(publish(host, port))
    await peer.expect(REQUEST_FAILURE)
    (said,) = (one for one in peer.received if one.number == GLOBAL_REQUEST)
    packet = SSHPacket(said.payload[1:])
    assert packet.get_string() == SERVICE_REFUSED
    assert not packet.get_boolean()
    return packet.get_string().decode(), packet.get_string().decode()


async def test_who_holds_a_name_is_not_told(chain: Chain) -> None:
    async with hostile_consumer(chain, **OURS) as peer:
        assert await reason(peer, "gpu1") == ("HELD", ServiceRefusal.HELD.value)
        cause, text = await reason(peer, "localhost", chain.b.port)
        assert (cause, text[:16]) == ("UNUSABLE", "cannot listen on")
        assert await reason(peer, "evil", 0) == (
            "UNUSABLE", "a service needs a port from 1 to 65535, not 0",
        )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "cause"),
    [('permitlisten="evil:*"', "NO_RIGHT"), ("restrict", "NO_FORWARDING")],
)
async def test_whether_anybody_holds_it_is_not_told_to_who_may_not_have_it(
    chain: Chain, options: str, cause: str
) -> None:
    """`gpu1` is published, `gpu2` is not: the answers are the same."""
    chain.site.key(cause, options)
    async with hostile_consumer(chain, cause, **OURS) as peer:
        assert await reason(peer, "gpu1") == await reason(peer, "gpu2")
        assert await reason(peer, "gpu1") == (cause, ServiceRefusal[cause].value)


async def test_a_stock_client_sees_nothing_of_it(chain: Chain) -> None:
    async with hostile_consumer(chain) as peer:
        peer.forget()
        await peer.send(publish("gpu1", 8000))
        await peer.expect(REQUEST_FAILURE)
        await peer.settled()
        assert not peer.has(GLOBAL_REQUEST)


# -- from a relay that lies


def refused(text: str | bytes) -> bytes:
    fields = String("HELD") + String(text)
    return global_request(SERVICE_REFUSED.decode(), fields, want_reply=False)


async def test_what_a_relay_says_is_a_line(site: Site) -> None:
    async with hostile_relay(site) as b:
        agent = site.ours(
            "relay-agent", *site.leg(b.server, "key"), "-R", "x:1:localhost:1", "b@127.0.0.1"
        )
        leg = await b.leg()
        await leg.expect(GLOBAL_REQUEST, name=b"tcpip-forward")
        long = "\x1b[2J\nrelay-agent: all is well" + "x" * 30_000
        await leg.send(*[refused("of nothing")] * 1000, refused(long), request_failure())
        line = agent.wait_for("x:1: refused by the server: .*")[0]
        assert r"\x1b[2J\nrelay-agent: all is well" in line
        assert len(line) < 600
        assert not agent.said("of nothing")
        await leg.settled()
        assert not leg.over


@pytest.mark.parametrize("fields", [b"\0", String("HELD"), String(b"\xff") + String("")])
async def test_what_cannot_be_read_ends_the_leg(site: Site, fields: bytes) -> None:
    async with hostile_relay(site) as b:
        site.ours("relay-agent", *site.leg(b.server, "key"), "-R", "x:1:localhost:1", "b@127.0.0.1")
        leg = await b.leg()
        await leg.send(global_request(SERVICE_REFUSED.decode(), fields, want_reply=False))
        await leg.disconnected(PROTOCOL_ERROR)
