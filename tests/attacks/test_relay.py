"""A relay that turns on its own clients: what it may say to relay-agent and relay-connect, and what
ends the leg. The programs outlive it, and come back; nothing reaches a service or a client that was
not meant for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

import pytest

from tests.attacks.messages import (
    CLOSE,
    CONNECT_FAILED,
    GLOBAL_REQUEST,
    ON_A_CHANNEL,
    OPEN,
    OPEN_CONFIRMATION,
    OPEN_FAILURE,
    PROHIBITED,
    PROTOCOL_ERROR,
    close,
    confirmation,
    data,
    open_forwarded,
    request_success,
    window_adjust,
)
from tests.attacks.peer import Peer
from tests.attacks.peers import HostileRelay, hostile_relay
from tests.programs.chain import Site
from tests.programs.process import Process
from tests.programs.traffic import MIB, Service, dial

ON_AN_OPEN_CHANNEL: Final = {
    **ON_A_CHANNEL,
    "too much data": lambda number: data(number, bytes(4 * MIB)),
    "a window over all bounds": lambda number: window_adjust(number, 2**32 - 1),
}

ANSWERS: Final = {"confirmation", "failure"}
ALLOWED_THERE: Final = {"window adjust", "data", "eof", "close", "request"}


@pytest.fixture
async def b(site: Site) -> AsyncIterator[HostileRelay]:
    async with hostile_relay(site) as relay:
        yield relay


def still_sane(program: Process) -> None:
    assert program.is_running
    assert not program.said("Traceback|internal error|mistake in"), program


# -- relay-agent


async def test_an_answer_without_the_port_that_was_asked_for(site: Site, b: HostileRelay) -> None:
    """RFC 4254 §7.1: it must be there. Whoever waits for it must not wait for ever."""
    program = site.ours(
        "relay-agent", *site.leg(b.server, "agent"), "-R",
        f"0:127.0.0.1:{site.service().port}", "x@127.0.0.1",
    )  # fmt: skip
    leg = await b.leg()
    await leg.expect(GLOBAL_REQUEST, name=b"tcpip-forward")
    await leg.send(request_success())
    await leg.disconnected(PROTOCOL_ERROR)
    again = await b.leg()
    await again.expect(GLOBAL_REQUEST, name=b"tcpip-forward")
    still_sane(program)


async def an_agent(site: Site, b: HostileRelay, service: Service) -> tuple[Process, Peer]:
    """A program, and its leg when it has published its service."""
    program = site.ours(
        "relay-agent", *site.leg(b.server, "agent"), "-R",
        f"gpu1:8000:127.0.0.1:{service.port}", "x@127.0.0.1",
    )  # fmt: skip
    leg = await b.leg()
    await leg.expect(GLOBAL_REQUEST, name=b"tcpip-forward")
    await leg.send(request_success())
    return program, leg


@pytest.mark.slow
@pytest.mark.parametrize("is_open", [False, True], ids=["no channel", "an open channel"])
async def test_every_message_to_an_agent(site: Site, b: HostileRelay, is_open: bool) -> None:
    service = site.service()
    program, leg = await an_agent(site, b, service)
    for name, message in (ON_AN_OPEN_CHANNEL if is_open else ON_A_CHANNEL).items():
        number = 0
        if is_open:
            await leg.send(open_forwarded("gpu1", 8000, sender=5))
            number = (await leg.expect(OPEN_CONFIRMATION, recipient=5)).sender
            service.accept().close()
        await leg.send(message(number))
        if is_open and name in ALLOWED_THERE:
            await leg.settled()
            assert not leg.over, f"{name}: the leg was ended by {leg.error}"
            await leg.send(*[close(number)] * (name != "close"))
            await leg.expect(CLOSE, recipient=5)
        else:
            await leg.disconnected(PROTOCOL_ERROR)
            still_sane(program)
            program.stop()  # It would come back after ever longer pauses.
            program, leg = await an_agent(site, b, service)
    still_sane(program)


async def test_an_open_for_what_was_not_published(site: Site, b: HostileRelay) -> None:
    service = site.service()
    program, leg = await an_agent(site, b, service)
    for host, port in ("gpu1", 8001), ("gpu2", 8000), ("127.0.0.1", service.port), ("", 0):
        await leg.send(open_forwarded(host, port, sender=5))
        answer = await leg.expect(OPEN_FAILURE, recipient=5)
        assert answer.code in (PROHIBITED, CONNECT_FAILED)
    await leg.send(open_forwarded("gpu1", 8000, sender=6))
    await leg.expect(OPEN_CONFIRMATION, recipient=6)
    still_sane(program)


async def test_an_agent_comes_back(site: Site, b: HostileRelay) -> None:
    program, leg = await an_agent(site, b, site.service())
    await leg.send(confirmation(0))
    await leg.disconnected(PROTOCOL_ERROR)
    again = await b.leg()
    await again.expect(GLOBAL_REQUEST, name=b"tcpip-forward")
    still_sane(program)


# -- relay-connect


async def a_connect(site: Site, b: HostileRelay) -> tuple[Process, Peer, int]:
    """A program, its leg, and its port."""
    program = site.ours(
        "relay-connect", *site.leg(b.server, "client"), "-L", "127.0.0.1:0:gpu1:8000",
        "x@127.0.0.1",
    )  # fmt: skip
    leg = await b.leg()
    return program, leg, int(program.wait_for(r"127\.0\.0\.1:(\d+) -> \S+ ready")[1])


@pytest.mark.slow
@pytest.mark.parametrize("is_open", [False, True], ids=["an open", "an open channel"])
async def test_every_message_to_a_connect(site: Site, b: HostileRelay, is_open: bool) -> None:
    program, leg, port = await a_connect(site, b)
    for name, message in (ON_AN_OPEN_CHANNEL if is_open else ON_A_CHANNEL).items():
        with dial(port):
            number = (await leg.expect(OPEN, kind=b"direct-tcpip")).sender
            if is_open:
                await leg.send(confirmation(number, sender=5))
            await leg.send(message(number))
            if name in (ALLOWED_THERE if is_open else ANSWERS):
                await leg.settled()
                assert not leg.over, f"{name}: the leg was ended by {leg.error}"
                continue
            await leg.disconnected(PROTOCOL_ERROR)
            still_sane(program)
        program.stop()
        program, leg, port = await a_connect(site, b)
    still_sane(program)
