"""The agent's own endpoint has B's limits: whoever may open its name at B is a stranger to it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress

import asyncssh
import pytest

from relay.policy.limits import (
    LEGS_PER_KEY,
    MAX_STARTUPS,
    PER_SOURCE_MAX_STARTUPS,
    SERVICES_PER_KEY,
    STRANGER_LINES,
)
from tests.programs.chain import Server, Site
from tests.programs.process import Process
from tests.programs.sessions import admit, agent_itself, inner_session, session
from tests.programs.stock import login, may_publish, refusal


@pytest.fixture(scope="module")
def endpoint(shared_site: Site, server: Server) -> Process:
    agent, _ = agent_itself(shared_site, server, "--allow-reverse")
    return agent


def test_streams_that_do_not_log_in(shared_site: Site, server: Server, endpoint: Process) -> None:
    async def knock() -> tuple[int, set[tuple[int, str]]]:
        taken, refused = 0, set()
        async with login(shared_site, server, "client") as leg:
            for _ in range(300):
                try:
                    await leg.open_connection("gpu1", 22)
                    taken += 1
                except asyncssh.ChannelOpenError as error:
                    refused.add((error.code, error.reason))
        return taken, refused

    taken, refused = asyncio.run(knock())
    assert MAX_STARTUPS[0] <= taken <= PER_SOURCE_MAX_STARTUPS
    assert refused <= {
        (asyncssh.OPEN_RESOURCE_SHORTAGE, f"Exceeded {limit}")
        for limit in ("MaxStartups", "PerSourceMaxStartups")
    }
    endpoint.wait_for("limit hit: max-startups$")
    # Nor are those that were taken a flood of lines.
    endpoint.wait_for("session over: nobody", count=min(taken, STRANGER_LINES))


def test_streams_that_do_not_log_in_keep_nobody_out(
    shared_site: Site, server: Server, endpoint: Process
) -> None:
    """B says where each comes from, whatever its client says."""

    async def knock() -> None:
        async with login(shared_site, server, "client", local_addr=("127.0.0.2", 0)) as stranger:
            with suppress(asyncssh.ChannelOpenError):
                while True:
                    await stranger.open_connection("gpu1", 22, orig_host="127.0.0.3")
            async with (
                login(shared_site, server, "client", local_addr=("127.0.0.3", 0)) as leg,
                inner_session(shared_site, leg) as inner,
            ):
                assert (await refusal(inner, "127.0.0.1", 1))[1] == "Connection refused"

    asyncio.run(knock())


def test_tries_in_one_session(shared_site: Site, server: Server, endpoint: Process) -> None:
    keys = [asyncssh.generate_private_key("ssh-ed25519") for _ in range(10)]

    async def try_often() -> None:
        with pytest.raises(asyncssh.DisconnectError, match="Too many authentication failures"):
            async with (
                login(shared_site, server, "client") as leg,
                inner_session(shared_site, leg, client_keys=keys),
            ):
                pass

    asyncio.run(try_often())
    endpoint.wait_for("limit hit: max-auth-tries$")


def test_the_sessions_of_one_key(shared_site: Site, server: Server, endpoint: Process) -> None:
    admit(shared_site, "many")

    async def log_in() -> None:
        async with AsyncExitStack() as stack:
            leg = await stack.enter_async_context(login(shared_site, server, "client"))
            for _ in range(LEGS_PER_KEY):
                await stack.enter_async_context(inner_session(shared_site, leg, "many"))
            async with inner_session(shared_site, leg, "many") as one_more:
                await one_more.wait_closed()
            async with inner_session(shared_site, leg, "client") as another:
                assert (await refusal(another, "127.0.0.1", 1))[1] == "Connection refused"

    asyncio.run(log_in())
    endpoint.wait_for("limit hit: legs-per-key$")


def test_the_ports_of_one_key(shared_site: Site, server: Server, endpoint: Process) -> None:
    async def publish() -> None:
        async with session(shared_site, server) as leg:
            for _ in range(SERVICES_PER_KEY):
                await leg.forward_remote_port("localhost", 0, "localhost", 1)
            assert not await may_publish(leg, "localhost", 0)

    asyncio.run(publish())
    endpoint.wait_for("limit hit: services-per-key$")
