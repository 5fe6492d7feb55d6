"""Opens that come while the agent of their service is being restarted."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress

import pytest
from asyncssh.packet import UInt32

from relay.wire.numbers import MSG_CHANNEL_WINDOW_ADJUST
from tests.programs.chain import (
    NAMED,
    Chain,
    Server,
    Site,
    relay_agent,
    relay_server,
    ssh_connect,
    start_chain,
)
from tests.programs.stock import login, refusal
from tests.programs.traffic import MIB, dial, exchange

WAITS = r"gpu1:8000: .* waits for it"


def lose(b: Server, process: object) -> None:
    """Stop an agent, and wait until B knows."""
    process.stop()  # type: ignore[attr-defined]
    b.process.wait_for("gpu1:8000 withdrawn: its leg is down")


@pytest.mark.parametrize("client", ["ours", "stock"])
def test_a_restarted_agent_costs_nobody_a_request(site: Site, client: str) -> None:
    chain = start_chain(site, b_options=("-v",), a_options=("--wait", "0"))
    port = chain.port
    if client == "stock":
        _, port = ssh_connect(site, chain.b, NAMED)
    lose(chain.b, chain.c)
    visitors = [dial(port) for _ in range(4)]
    chain.b.process.wait_for(WAITS, count=4)
    relay_agent(site, chain.b, NAMED, chain.service.port)
    for number, visitor in enumerate(visitors):
        visitor.sendall(bytes([number]))
    for _ in visitors:
        # The agent dials for all at once: any of them may be there first.
        service = chain.service.accept()
        exchange(visitors[service.recv(1)[0]], service, MIB)


def test_many_that_wait_on_one_leg_are_all_let_in(site: Site) -> None:
    b = relay_server(site, "-v")
    service = site.service()
    agent, _ = relay_agent(site, b, NAMED, service.port)
    lose(b, agent)

    async def visit() -> None:
        async with login(site, b, "client") as leg:
            tasks = []
            for number in range(8):
                tasks.append(asyncio.create_task(leg.open_connection("gpu1", 8000)))
                await asyncio.to_thread(b.process.wait_for, WAITS, count=number + 1)
            await asyncio.to_thread(relay_agent, site, b, NAMED, service.port)
            for number, task in enumerate(tasks):
                (await task)[1].write(bytes([number]))
            came = set()
            for _ in tasks:
                with await asyncio.to_thread(service.accept) as sock:
                    came.add(await asyncio.to_thread(sock.recv, 1))
            assert came == {bytes([number]) for number in range(8)}

    asyncio.run(visit())


def test_who_has_waited_in_vain_is_refused(site: Site) -> None:
    b = relay_server(site, "-v", "--hold", "1")
    agent, _ = relay_agent(site, b, NAMED, 1)
    lose(b, agent)

    async def visit() -> None:
        async with login(site, b, "client") as leg:
            assert await refusal(leg, "gpu1", 8000) == (
                2,
                f"{NAMED}: no such service is published",
            )

    asyncio.run(visit())
    assert b.process.said(WAITS)


def test_nobody_waits_where_that_is_switched_off(site: Site) -> None:
    config = site.folder / "b.toml"
    config.write_text("hold = 3600\n")
    b = relay_server(site, "-v", "--config", str(config))
    agent, _ = relay_agent(site, b, NAMED, 1)
    lose(b, agent)

    async def visit() -> None:
        async with login(site, b, "client") as leg:
            waiting = asyncio.create_task(refusal(leg, "gpu1", 8000))
            await asyncio.to_thread(b.process.wait_for, WAITS)
            config.write_text("hold = 0\n")
            b.process.signal(signal.SIGHUP)
            assert (await waiting)[0] == 2
            assert (await refusal(leg, "gpu1", 8000))[0] == 2

    asyncio.run(visit())
    assert sum("waits for it" in line for line in b.process.lines) == 1


def test_nobody_waits_for_what_was_given_up(site: Site) -> None:
    b = relay_server(site, "-v", "--hold", "3600")

    async def visit() -> None:
        async with login(site, b, "agent") as agent, login(site, b, "client") as leg:
            listener = await agent.forward_remote_port("gpu1", 8000, "localhost", 1)
            listener.close()
            await listener.wait_closed()
            assert (await refusal(leg, "gpu1", 8000))[0] == 2
            assert (await refusal(leg, "gpu2", 8000))[0] == 2

    asyncio.run(visit())
    assert not b.process.said("waits for it")


def test_only_who_may_open_it_waits(site: Site) -> None:
    site.key("client", 'permitopen="gpu2:8000"')
    b = relay_server(site, "-v", "--hold", "3600")
    agent, _ = relay_agent(site, b, NAMED, 1)
    lose(b, agent)

    async def visit() -> None:
        async with login(site, b, "client") as leg:
            assert (await refusal(leg, "gpu1", 8000))[0] == 1

    asyncio.run(visit())


def test_a_server_that_stops_lets_nobody_wait(site: Site) -> None:
    b = relay_server(site, "-v", "--hold", "3600", "--drain", "3600")
    agent, _ = relay_agent(site, b, NAMED, 1)
    lose(b, agent)

    async def visit() -> None:
        async with login(site, b, "client") as leg:
            waiting = asyncio.create_task(refusal(leg, "gpu1", 8000))
            await asyncio.to_thread(b.process.wait_for, WAITS)
            b.process.signal(signal.SIGTERM)
            assert await waiting == (2, f"{NAMED}: the relay is stopping")

    asyncio.run(visit())
    assert b.process.end() == 0


def test_who_waits_counts_as_a_stream(site: Site) -> None:
    b = relay_server(site, "-v", "--hold", "3600", "--channels-per-leg", "2")
    agent, _ = relay_agent(site, b, NAMED, 1)
    lose(b, agent)

    async def visit() -> None:
        async with login(site, b, "client") as leg:
            waiting = [asyncio.create_task(leg.open_connection("gpu1", 8000)) for _ in range(2)]
            await asyncio.to_thread(b.process.wait_for, WAITS, count=2)
            assert (await refusal(leg, "gpu1", 8000))[0] == 4
            for task in waiting:
                task.cancel()

    asyncio.run(visit())


def test_who_is_gone_waits_no_more(site: Site, chain: Chain) -> None:
    lose(chain.b, chain.c)

    async def visit() -> None:
        async with login(site, chain.b, "visitor") as leg:
            waiting = asyncio.create_task(leg.open_connection("gpu1", 8000))
            await asyncio.sleep(0)
            # Answered behind the open: that waits by now.
            await leg._make_global_request(b"keepalive@openssh.com")
            waiting.cancel()

    asyncio.run(visit())
    chain.b.process.wait_for(r"leg down: .*\(visitor\)")
    relay_agent(site, chain.b, NAMED, chain.service.port)
    exchange(*chain.stream(), MIB)
    assert not chain.b.process.said(r"splice opened for .*\(visitor\)")


def test_nothing_may_come_on_a_channel_that_waits(site: Site) -> None:
    b = relay_server(site, "-v", "--hold", "3600")
    agent, _ = relay_agent(site, b, NAMED, 1)
    lose(b, agent)

    async def offend() -> None:
        async with login(site, b, "offender") as leg:
            waiting = asyncio.create_task(leg.open_connection("gpu1", 8000))
            await asyncio.to_thread(b.process.wait_for, WAITS)
            leg.send_packet(MSG_CHANNEL_WINDOW_ADJUST, UInt32(0), UInt32(1))
            await leg.wait_closed()
            waiting.cancel()

    with suppress(ConnectionResetError):
        asyncio.run(offend())
    b.process.wait_for(r"leg down: .*\(offender\).*: a message for channel 0, which is not open")


def test_nobody_waits_for_what_a_removed_key_had_published(site: Site) -> None:
    b = relay_server(site, "-v", "--hold", "3600")
    site.key("client")
    agent, _ = relay_agent(site, b, NAMED, 1, key="agent")
    lose(b, agent)

    async def visit() -> None:
        async with login(site, b, "client") as leg:
            waiting = asyncio.create_task(refusal(leg, "gpu1", 8000))
            await asyncio.to_thread(b.process.wait_for, WAITS)
            site.authorized_keys.write_text(site.public("client").read_text())
            b.process.signal(signal.SIGHUP)
            assert (await waiting)[0] == 2

    asyncio.run(visit())


def test_nor_for_what_it_had_until_it_was_removed(site: Site) -> None:
    b = relay_server(site, "-v", "--hold", "3600")
    site.key("client")
    relay_agent(site, b, NAMED, 1, key="agent")
    site.authorized_keys.write_text(site.public("client").read_text())
    b.process.signal(signal.SIGHUP)
    b.process.wait_for("gpu1:8000 withdrawn")

    async def visit() -> None:
        async with login(site, b, "client") as leg:
            assert (await refusal(leg, "gpu1", 8000))[0] == 2

    asyncio.run(visit())
    assert not b.process.said("waits for it")
