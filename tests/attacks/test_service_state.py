"""The question what would become of a stream: it tells no key more than an open does, and costs B
little; and what a relay answers is a line."""

from __future__ import annotations

import asyncio

import pytest
from asyncssh.packet import SSHPacket, String, UInt32

from relay.wire.numbers import (
    RELAY_VERSION,
    SERVICE_STATE,
    VERSION_START,
    OpenFailure,
)
from tests.attacks.bystander import Bystander
from tests.attacks.messages import (
    GLOBAL_REQUEST,
    OPEN_FAILURE,
    PROTOCOL_ERROR,
    REQUEST_SUCCESS,
    global_request,
    open_direct,
    request_success,
)
from tests.attacks.peer import Peer
from tests.attacks.peers import hostile_agent, hostile_consumer, hostile_relay
from tests.programs.chain import Chain, Site

FORBIDDEN = OpenFailure.ADMINISTRATIVELY_PROHIBITED


def question(host: str, port: int = 8000) -> bytes:
    return global_request(SERVICE_STATE.decode(), String(host) + UInt32(port))


async def state(peer: Peer, host: str, port: int = 8000) -> tuple[int, str, str]:
    peer.forget()
    await peer.send(question(host, port))
    packet = SSHPacket((await peer.expect(REQUEST_SUCCESS)).payload[1:])
    return packet.get_uint32(), packet.get_string().decode(), packet.get_string().decode()


async def test_what_is_there_and_what_is_not(chain: Chain) -> None:
    async with hostile_consumer(chain) as peer:
        assert await state(peer, "gpu1") == (0, "", "")
        code, text, near = await state(peer, "gpul")
        assert code in (OpenFailure.NOT_PUBLISHED, OpenFailure.UNKNOWN_SERVICE)
        assert (text, near) == ("no such service is published", "gpu1:8000")
        assert (await state(peer, "gpu1", 800))[2] == "gpu1:8000"
        assert (await state(peer, "somethingelse"))[2] == ""


async def test_a_key_is_told_nothing_of_what_it_may_not_open(chain: Chain) -> None:
    """`gpu1` is published, `gpu2` is not; and neither is proposed."""
    chain.site.key("narrow", 'permitopen="gpu9:8000",permitopen="gpul:8000"')
    async with hostile_consumer(chain, "narrow") as peer:
        for host in ("gpu1", "gpu2"):
            assert await state(peer, host) == (FORBIDDEN, "this key may not open it", "")
        assert (await state(peer, "gpul"))[2] == ""


async def test_what_it_may_open_is_proposed_for_what_it_may_not(chain: Chain) -> None:
    chain.site.key("narrower", 'permitopen="evil:8000"')
    async with hostile_agent(chain), hostile_consumer(chain, "narrower") as peer:
        assert await state(peer, "evi1") == (FORBIDDEN, "this key may not open it", "evil:8000")
        await peer.send(open_direct("evi1", 8000))
        said = (await peer.expect(OPEN_FAILURE)).payload
        assert b"this key may not open it (did you mean evil:8000?)" in said


async def test_questions_without_end(chain: Chain, bystander: Bystander) -> None:
    async with hostile_consumer(chain) as peer:
        await peer.send(*[question("g" * 40)] * 60)
        for _ in range(2000):
            await peer.send(open_direct("g" * 40, 8000), open_direct("g" * 40, 8000))
        await peer.settled()
        assert not peer.over
    bystander.goes_on()


@pytest.mark.parametrize("fields", [b"", String("gpu1"), String(b"\xff") + UInt32(1)])
async def test_what_cannot_be_read_ends_the_leg(chain: Chain, fields: bytes) -> None:
    async with hostile_consumer(chain) as peer:
        await peer.send(global_request(SERVICE_STATE.decode(), fields))
        await peer.disconnected(PROTOCOL_ERROR)


# -- from a relay that lies


OURS = RELAY_VERSION.removeprefix(VERSION_START)


async def test_what_a_relay_answers_is_a_line(site: Site) -> None:
    async with hostile_relay(site, server_version=OURS) as b:
        program = site.ours(
            "relay-connect", *site.leg(b.server, "key"), "-L", "127.0.0.1:0:gpu1:8000",
            "b@127.0.0.1",
        )  # fmt: skip
        leg = await b.leg()
        await leg.expect(GLOBAL_REQUEST, name=SERVICE_STATE)
        text = String("\x1b[2J\nall is well" + "x" * 30_000)
        await leg.send(request_success(UInt32(1) + text + text))
        line = (await asyncio.to_thread(program.wait_for, " ready, .*"))[0]
        assert r"\x1b[2J\nall is well" in line
        assert len(line) < 600
        await leg.settled()
        assert not leg.over


async def test_an_answer_that_cannot_be_read_ends_the_leg(site: Site) -> None:
    async with hostile_relay(site, server_version=OURS) as b:
        site.ours(
            "relay-connect", *site.leg(b.server, "key"), "-L", "127.0.0.1:0:gpu1:8000",
            "b@127.0.0.1",
        )  # fmt: skip
        leg = await b.leg()
        await leg.expect(GLOBAL_REQUEST, name=SERVICE_STATE)
        await leg.send(request_success(b"\0"))
        await leg.disconnected(PROTOCOL_ERROR)


async def test_an_sshd_is_not_asked(site: Site) -> None:
    async with hostile_relay(site) as b:
        program = site.ours(
            "relay-connect", *site.leg(b.server, "key"), "-L", "127.0.0.1:0:gpu1:8000",
            "b@127.0.0.1",
        )  # fmt: skip
        leg = await b.leg()
        text = "ready, but AsyncSSH_.* is no relay-server: it knows ports only"
        await asyncio.to_thread(program.wait_for, text)
        await leg.settled()
        assert not leg.has(GLOBAL_REQUEST)
