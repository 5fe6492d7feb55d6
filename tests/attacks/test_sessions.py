"""The agent's own endpoint has B's limits: whoever may open its name at B is a stranger to it."""

from __future__ import annotations

from contextlib import AsyncExitStack

import asyncssh
import pytest
from asyncssh.packet import String, UInt32

from relay.core.limits import (
    LEGS_PER_KEY,
    MAX_STARTUPS,
    PER_SOURCE_MAX_STARTUPS,
    SERVICES_PER_KEY,
    STRANGER_LINES,
)
from tests.attacks.bystander import Bystander
from tests.attacks.messages import (
    OPEN_CONFIRMATION,
    OPEN_FAILURE,
    PROHIBITED,
    REQUEST_FAILURE,
    REQUEST_SUCCESS,
    RESOURCE_SHORTAGE,
    UNKNOWN_CHANNEL_TYPE,
    channel_open,
    open_direct,
    publish,
)
from tests.attacks.peers import hostile_consumer, hostile_session, session_within
from tests.programs.chain import Chain, Site
from tests.programs.sessions import admit, start_sessions
from tests.programs.stock import login


@pytest.fixture(scope="module")
def chain(shared_site: Site) -> Chain:
    """One whose streams are end to end."""
    return start_sessions(shared_site, c_options=("--allow-reverse",))


async def test_streams_that_do_not_log_in(chain: Chain, bystander: Bystander) -> None:
    async with hostile_consumer(chain, "client") as peer:
        await peer.send(*(open_direct("gpu1", 22, number) for number in range(300)))
        answers = [
            await peer.expect(OPEN_CONFIRMATION, OPEN_FAILURE, recipient=number)
            for number in range(300)
        ]
    refused = {(no.code, no.reason) for no in answers if no.number == OPEN_FAILURE}
    taken = sum(answer.number == OPEN_CONFIRMATION for answer in answers)
    assert MAX_STARTUPS[0] <= taken <= PER_SOURCE_MAX_STARTUPS
    assert refused <= {
        (RESOURCE_SHORTAGE, b"Exceeded " + limit)
        for limit in (b"MaxStartups", b"PerSourceMaxStartups")
    }
    chain.c.wait_for("limit hit: max-startups$")
    # Nor are those that were taken a flood of lines.
    chain.c.wait_for("session over: nobody", count=min(taken, STRANGER_LINES))
    bystander.goes_on()


async def test_streams_that_do_not_log_in_keep_nobody_out(
    chain: Chain, bystander: Bystander
) -> None:
    """B says where each comes from, whatever its client says."""
    knock = open_direct("gpu1", 22, origin="127.0.0.3")
    async with hostile_consumer(chain, "client", source="127.0.0.2") as peer:
        answer = OPEN_CONFIRMATION
        while answer == OPEN_CONFIRMATION:
            await peer.send(knock)
            answer = (await peer.expect(OPEN_CONFIRMATION, OPEN_FAILURE)).number
        async with (
            login(chain.site, chain.b, "client", local_addr=("127.0.0.3", 0)) as leg,
            session_within(leg, chain) as inner,
        ):
            await inner.send(open_direct("127.0.0.1", 1))
            assert (await inner.expect(OPEN_FAILURE)).reason == b"Connection refused"
    bystander.goes_on()


async def test_tries_in_one_session(chain: Chain, bystander: Bystander) -> None:
    keys = [asyncssh.generate_private_key("ssh-ed25519") for _ in range(10)]
    with pytest.raises(asyncssh.DisconnectError, match="Too many authentication failures"):
        async with hostile_session(chain, client_keys=keys):
            pass
    chain.c.wait_for("limit hit: max-auth-tries$")
    bystander.goes_on()


async def test_the_sessions_of_one_key(chain: Chain, bystander: Bystander) -> None:
    admit(chain.site, "many")
    async with AsyncExitStack() as stack:
        leg = await stack.enter_async_context(login(chain.site, chain.b, "client"))
        for _ in range(LEGS_PER_KEY):
            await stack.enter_async_context(session_within(leg, chain, "many"))
        async with session_within(leg, chain, "many") as one_more:
            await one_more.ended()
        async with session_within(leg, chain, "client") as another:
            await another.send(open_direct("127.0.0.1", 1))
            assert (await another.expect(OPEN_FAILURE)).reason == b"Connection refused"
    chain.c.wait_for("limit hit: legs-per-key$")
    bystander.goes_on()


async def test_the_ports_of_one_key(chain: Chain, bystander: Bystander) -> None:
    async with hostile_session(chain) as peer:
        for _ in range(SERVICES_PER_KEY):
            await peer.send(publish("localhost", 0))
            await peer.expect(REQUEST_SUCCESS)
        await peer.send(publish("localhost", 0))
        await peer.expect(REQUEST_FAILURE)
    chain.c.wait_for("limit hit: services-per-key$")
    bystander.goes_on()


@pytest.mark.parametrize(
    "kind",
    [
        "session",  # With it begin a command, a shell and a subsystem.
        "direct-streamlocal@openssh.com",
        "auth-agent@openssh.com",
        "x11",
        "tun@openssh.com",
    ],
)
async def test_there_is_no_shell_no_command_and_no_file(
    chain: Chain, bystander: Bystander, kind: str
) -> None:
    async with hostile_session(chain) as peer:
        await peer.send(channel_open(kind, String("/run/some.sock") + String("") + UInt32(0)))
        answer = await peer.expect(OPEN_FAILURE)
        assert answer.code in (PROHIBITED, UNKNOWN_CHANNEL_TYPE)
        await peer.send(open_direct("192.0.2.1", 1, sender=1))
        assert (await peer.expect(OPEN_FAILURE, recipient=1)).code == PROHIBITED
    if kind == "session":
        chain.c.wait_for(r"\(client\).* asked for .*: refused")
    bystander.goes_on()
