"""Rights end while their owner is there: authorized_keys changes, and time passes."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import asyncssh
import pytest

from tests.programs.chain import NAMED, Chain, Site, relay_agent, relay_server
from tests.programs.sessions import agent_itself, session, start_sessions
from tests.programs.stock import USER, login, may_publish, refusal
from tests.programs.traffic import MIB, closing, exchange, is_reset


def line_of(site: Site, key: str, options: str = "") -> str:
    return f"{options} {site.public(key).read_text()}".lstrip()


def rewrite(site: Site, *lines: str) -> None:
    site.authorized_keys.write_text("".join(lines))


def soon() -> str:
    """An `expiry-time` two seconds ahead."""
    return f"{datetime.now(UTC) + timedelta(seconds=2):%Y%m%d%H%M%SZ}"


def test_a_removed_key_loses_its_leg(chain: Chain, site: Site) -> None:
    client, service = chain.stream()
    rewrite(site, line_of(site, "agent"))
    chain.b.process.wait_for(r"\(client\) at .* may not be here any more: unknown key")
    assert is_reset(client)
    assert is_reset(service)
    chain.a.wait_for(r"Permission denied \(publickey\)")
    assert not chain.b.process.said(r"\(agent\) at .* may not be here")


def test_a_removed_agent_loses_its_services(chain: Chain, site: Site) -> None:
    rewrite(site, line_of(site, "client"))
    chain.b.process.wait_for(r"\(agent\) at .* may not be here any more")
    chain.b.process.wait_for(f"{NAMED} withdrawn")
    chain.c.wait_for(r"Permission denied \(publickey\)")
    chain.c.stop()
    rewrite(site, line_of(site, "client"), line_of(site, "agent"))
    relay_agent(site, chain.b, NAMED, chain.service.port)
    exchange(*chain.stream(), MIB)


def test_fewer_rights_end_no_stream_and_open_none(chain: Chain, site: Site) -> None:
    client, service = chain.stream()
    rewrite(
        site, line_of(site, "agent", 'permitlisten="other:1"'),
        line_of(site, "client", 'permitopen="other:1"'),
    )  # fmt: skip
    for key in ("agent", "client"):
        chain.b.process.wait_for(rf"\({key}\) at .* has other rights now")
    chain.b.process.wait_for(f"{NAMED} withdrawn: this key may not publish it")
    with closing(client, service):
        client.sendall(b"still")
        assert service.recv(16) == b"still"
        service.sendall(b"there")
        assert client.recv(16) == b"there"

    async def refused() -> tuple[int, str]:
        async with login(site, chain.b, "client") as leg:
            return await refusal(leg, "gpu1", 8000)

    assert asyncio.run(refused()) == (
        asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, f"{NAMED}: this key may not open it"
    )  # fmt: skip


def test_what_a_leg_may_open_changes_under_it(site: Site) -> None:
    b = relay_server(site)

    async def story() -> None:
        async with login(site, b, "client") as leg:
            assert (await refusal(leg, "gpu1", 1))[0] == asyncssh.OPEN_CONNECT_FAILED
            assert await may_publish(leg, "gpu1", 1)
            rewrite(site, line_of(site, "client", "restrict"))
            b.process.signal(signal.SIGHUP)
            await asyncio.to_thread(b.process.wait_for, "has other rights now")
            assert (await refusal(leg, "gpu1", 1))[0] == asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED
            assert not await may_publish(leg, "gpu1", 1)
            rewrite(site, line_of(site, "client"))
            b.process.signal(signal.SIGHUP)
            await asyncio.to_thread(b.process.wait_for, "has other rights now", count=2)
            assert await may_publish(leg, "gpu1", 1)

    asyncio.run(story())


def test_a_key_that_expires_loses_its_leg(site: Site) -> None:
    b = relay_server(site)
    relay_agent(site, b, NAMED, 1)
    rewrite(site, line_of(site, "agent", f'expiry-time="{soon()}"'))
    b.process.wait_for(r"\(agent\) at .* may not be here any more: line 1: expired at")
    b.process.wait_for(f"{NAMED} withdrawn")


def test_a_certificate_that_expires_loses_its_leg(site: Site) -> None:
    b = relay_server(site)
    ca = asyncssh.generate_private_key("ssh-ed25519")
    key = asyncssh.generate_private_key("ssh-ed25519")
    site.authorize(f"cert-authority {ca.export_public_key().decode()}")
    certificate = ca.generate_user_certificate(
        key, "short", principals=[USER], valid_before=datetime.now() + timedelta(seconds=5)
    )

    async def story() -> None:
        async with login(site, b, "", client_keys=[(key, certificate)]) as leg:
            await leg.wait_closed()

    asyncio.run(story())
    b.process.wait_for("may not be here any more: the certificate expired at")


def test_a_removed_authority_ends_the_legs_of_its_certificates(site: Site) -> None:
    b = relay_server(site)
    ca = asyncssh.generate_private_key("ssh-ed25519")
    key = asyncssh.generate_private_key("ssh-ed25519")
    site.authorize(f"cert-authority {ca.export_public_key().decode()}")
    certificate = ca.generate_user_certificate(key, "some", principals=[USER])

    async def story() -> None:
        async with login(site, b, "", client_keys=[(key, certificate)]) as leg:
            rewrite(site, "# none")
            await leg.wait_closed()

    asyncio.run(story())
    b.process.wait_for("may not be here any more: unknown certification authority")


def test_only_the_legs_of_the_key_go(site: Site) -> None:
    b = relay_server(site)
    for name in ("one", "two", "three"):
        site.key(name)

    async def story() -> None:
        async with AsyncExitStack() as stack:
            legs = {
                name: [await stack.enter_async_context(login(site, b, name)) for _ in range(3)]
                for name in ("one", "two", "three")
            }
            rewrite(site, line_of(site, "one"), line_of(site, "three"))
            for leg in legs["two"]:
                await leg.wait_closed()
            for name in ("one", "three"):
                for leg in legs[name]:
                    assert (await refusal(leg, "gpu1", 1))[0] == asyncssh.OPEN_CONNECT_FAILED

    asyncio.run(story())


# -- C's own file


def test_an_endpoint_judges_by_its_own_file(site: Site) -> None:
    chain = start_sessions(site)
    client, service = chain.stream()
    file = site.folder / "gpu1" / "authorized_keys"
    before = file.read_text()
    file.write_text(f'permitopen="127.0.0.1:1" {before}')
    chain.c.wait_for("has other rights now")
    with closing(client, service):
        client.sendall(b"still")
        assert service.recv(16) == b"still"
        file.write_text("")
        chain.c.wait_for("may not be here any more: unknown key")
        assert is_reset(client)


def test_an_endpoint_takes_back_a_forward(site: Site) -> None:
    b = relay_server(site)
    agent, _ = agent_itself(site, b, "--allow-reverse")
    file = site.folder / "gpu1" / "authorized_keys"

    async def story() -> None:
        async with session(site, b, "client") as leg:
            listener = await leg.forward_remote_port("localhost", 0, "localhost", 1)
            port = listener.get_port()
            (await asyncio.open_connection("127.0.0.1", port))[1].close()
            file.write_text(f'permitlisten="none" {file.read_text()}')
            await asyncio.to_thread(agent.wait_for, "has other rights now")
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port)

    asyncio.run(story())
