"""Global requests and opens by the wire: what is answered, in which order, and what is not.

RFC 4254 §4 wants replies in the order of the requests, for nothing else says which one a reply is
for; §5.1 wants an open of a kind that is not known refused, and then the leg goes on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from asyncssh.packet import String, UInt32

from tests.attacks.bystander import Bystander
from tests.attacks.messages import (
    GLOBAL_REQUEST,
    OPEN_FAILURE,
    PROTOCOL_ERROR,
    REQUEST_FAILURE,
    REQUEST_SUCCESS,
    USERAUTH_BANNER,
    USERAUTH_FAILURE,
    USERAUTH_SUCCESS,
    anything,
    channel_open,
    global_request,
    publish,
    request_failure,
    request_success,
    userauth_request,
    withdraw,
)
from tests.attacks.peer import Peer
from tests.attacks.peers import hostile_consumer, hostile_relay
from tests.programs.chain import Chain, Site

SUCCESS, FAILURE = bytes([REQUEST_SUCCESS]), bytes([REQUEST_FAILURE])
REPLIES = REQUEST_SUCCESS, REQUEST_FAILURE


async def replies(peer: Peer, count: int) -> list[bytes]:
    return [(await peer.expect(*REPLIES)).payload for _ in range(count)]


# -- at B


async def test_replies_come_in_the_order_of_the_requests(chain: Chain) -> None:
    """A port takes B longer to open than a name, and an unknown request no time at all."""
    async with hostile_consumer(chain, "orderly") as peer:
        await peer.send(
            publish("127.0.0.1", 0),
            global_request("no-such@request"),
            publish("localhost", 0),
            publish("ordered", 1),
            withdraw("ordered", 2),
            publish("gpu1", 8000),
            withdraw("ordered", 1),
        )
        first, unknown, second, *rest = await replies(peer, 7)
    assert unknown == FAILURE
    for port in first, second:
        assert port[:1] == SUCCESS
        assert 0 < int.from_bytes(port[1:], "big") < 2**16
    assert first != second
    assert rest == [SUCCESS, FAILURE, FAILURE, SUCCESS]


async def test_who_wants_no_reply_gets_none(chain: Chain) -> None:
    async with hostile_consumer(chain, "modest") as peer:
        await peer.send(
            publish("silent", 1, want_reply=False),
            publish("127.0.0.1", 0, want_reply=False),
            global_request("no-such@request", want_reply=False),
            withdraw("silent", 2, want_reply=False),
            withdraw("silent", 1),
        )
        assert await replies(peer, 1) == [SUCCESS]
        await peer.settled()
        assert [message.number for message in peer.received].count(REQUEST_SUCCESS) == 1
        assert not peer.has(REQUEST_FAILURE)


@pytest.mark.parametrize("reply", [request_success(), request_failure()])
async def test_who_replies_to_nothing_loses_its_leg(
    chain: Chain, bystander: Bystander, reply: bytes
) -> None:
    async with hostile_consumer(chain) as peer:
        await peer.send(reply)
        await peer.disconnected(PROTOCOL_ERROR)
    bystander.goes_on()


async def test_who_logs_in_again_gains_nothing(chain: Chain, bystander: Bystander) -> None:
    """RFC 4252 §5.1: what comes of that once it has succeeded is passed over; behind a message of
    the connection it has no place at all."""
    async with hostile_consumer(chain, "twice") as peer:
        peer.forget()
        await peer.send(userauth_request("root"))
        await peer.settled()
        assert not peer.over
        assert not peer.has(USERAUTH_FAILURE)
        await peer.send(global_request("no-such@request"), userauth_request("root"))
        await peer.disconnected(PROTOCOL_ERROR)
        assert not peer.has(USERAUTH_SUCCESS)
    bystander.goes_on()


# -- at A and C, from a relay that asks for what it may not have


@asynccontextmanager
async def a_program(site: Site, name: str) -> AsyncIterator[Peer]:
    """Its leg, and it goes on when all is over."""
    async with hostile_relay(site) as b:
        forward = "0:gpu1:8000" if name == "relay-connect" else "gpu1:8000:localhost:1"
        option = "-L" if name == "relay-connect" else "-R"
        program = site.ours(name, *site.leg(b.server, "key"), option, forward, "x@127.0.0.1")
        leg = await b.leg()
        if name == "relay-agent":
            await leg.expect(GLOBAL_REQUEST, name=b"tcpip-forward")
            await leg.send(request_success())
            program.wait_for("gpu1:8000 -> .* published")
        leg.forget()
        yield leg
        await leg.settled()
        assert not leg.over, leg.error
        assert not program.said("Traceback|internal error|mistake in"), program


either_program = pytest.mark.parametrize("name", ["relay-connect", "relay-agent"])


@either_program
async def test_our_programs_answer_every_request(site: Site, name: str) -> None:
    """An sshd tells of its host keys (`hostkeys-00@openssh.com`) and asks whether we are there."""
    async with a_program(site, name) as leg:
        await leg.send(
            global_request("hostkeys-00@openssh.com", want_reply=False),
            global_request("keepalive@openssh.com"),
            publish("127.0.0.1", 0),
            global_request("no-such@request", want_reply=False),
            withdraw("gpu1", 8000),
            global_request("streamlocal-forward@openssh.com", UInt32(1) + b"/"),
        )
        alive, *refused = await replies(leg, 4)
        assert alive in (SUCCESS, FAILURE)  # Either says so.
        assert refused == [FAILURE] * 3
        await leg.settled()
        assert [one.number for one in leg.received if one.number in REPLIES] == [
            alive[0],
            82,
            82,
            82,
        ]


ORIGIN = String("127.0.0.1") + UInt32(1)
KINDS = {
    "session": b"",
    "x11": ORIGIN,
    "auth-agent@openssh.com": b"",
    "direct-tcpip": ORIGIN * 2,
    "direct-streamlocal@openssh.com": String("/run/x") + ORIGIN,
    "tun@openssh.com": UInt32(1) * 2,
    "no-such-kind": b"whatever",
}
OF_CONNECT_ALONE = {"forwarded-tcpip": ORIGIN * 2}
"""An agent serves these, where it has published what they are for."""


@either_program
async def test_our_programs_refuse_what_they_do_not_serve(site: Site, name: str) -> None:
    kinds = KINDS | (OF_CONNECT_ALONE if name == "relay-connect" else {})
    async with a_program(site, name) as leg:
        for number, (kind, fields) in enumerate(kinds.items()):
            await leg.send(channel_open(kind, fields, sender=number))
            await leg.expect(OPEN_FAILURE, recipient=number)


@either_program
async def test_our_programs_bear_a_late_banner(site: Site, name: str) -> None:
    async with a_program(site, name) as leg:
        await leg.send(anything(USERAUTH_BANNER, String("welcome") + String("")))
