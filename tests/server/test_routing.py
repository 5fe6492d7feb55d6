"""Which way a stream goes, of whatever kind the ways are."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from typing import Any

import pytest

from relay.core.grants import Grant
from relay.core.handler import OpenRefused
from relay.core.services import Service, ServiceKey
from relay.core.traffic import Traffic
from relay.events import Event, Events
from relay.events.server import StreamHeld, StreamRefused
from relay.server.drain import Drain
from relay.server.held import HeldOpen, HeldOpens
from relay.server.inside import Inside
from relay.server.routes import AgentRoute, Route
from relay.server.routing import Router
from relay.server.splices import SpliceEnd
from relay.ssh.server import ServerLeg
from relay.trust.authorized_keys import Entry
from relay.wire.numbers import OpenFailure
from tests.ssh.bench import Bench


class ElsewhereRoute:
    """A way of another kind."""

    kind = b"direct-tcpip"

    def __init__(self, leg: ServerLeg, *, full: bool = False) -> None:
        self.name = "gpu1:8000"
        self.leg = leg
        self.traffic = Traffic()
        self.traffics = (self.traffic,)
        self.is_full = full
        self.refused_at = -math.inf
        self.carried: list[tuple[int, int]] = []

    def fields(self, opener: ServerLeg) -> bytes:
        return b"elsewhere"

    def full(self, identity: bytes) -> bool:
        return self.is_full

    def begun(self, identity: bytes) -> None:
        self.traffic.begun()

    def moved(self, there: int, back: int) -> None:
        self.traffic.moved(back, there)
        self.carried.append((there, back))

    def ended(self, identity: bytes) -> None:
        self.traffic.ended()


class World:
    """A's leg and C's, and whatever ways there are."""

    def __init__(self) -> None:
        self.bench = Bench()
        self.bench.a.entry = Entry(1, "ssh-ed25519", b"", "a", Grant())
        self.told: list[Event] = []
        events = Events(self.told.append)
        self.ways: list[Route] = []
        self.missing: list[tuple[str, int]] = []
        self.said = ""
        self.near: list[ServiceKey] = []
        self.held = HeldOpens(15.0)
        legs: Any = ()
        self.drain = Drain(legs, events)
        self.inside = Inside()
        self.router = Router(self, self.held, self.drain, events, self.inside)

    def routes(self, host: str, port: int) -> list[Route]:
        return self.ways

    def missed(self, host: str, port: int) -> None:
        self.missing.append((host, port))

    def down(self, host: str, port: int) -> str:
        return self.said

    def nearly(self, host: str, port: int) -> Iterator[ServiceKey]:
        return iter(self.near)

    def agent(self) -> AgentRoute:
        return self.bench.route()

    def open(self) -> Any:
        return self.router.open_stream(self.bench.a, "gpu1", 8000)

    def refused(self) -> OpenFailure:
        with pytest.raises(OpenRefused) as caught:
            self.open()
        return caught.value.code


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
async def test_it_goes_where_fewest_are_and_the_longest_there_is_first() -> None:
    world = World()
    ways = world.ways[:] = [world.agent(), ElsewhereRoute(world.bench.c), world.agent()]
    for number in range(6):
        end = world.open()
        assert isinstance(end, SpliceEnd)
        assert end.stream.route is ways[number % 3]
        end.opened_by_peer(100 + number, 2**20, 2**15)
    assert [way.traffic.open for way in ways] == [2, 2, 2]


@pytest.mark.anyio
async def test_what_its_agent_has_said_is_told_where_there_is_no_way() -> None:
    world = World()
    world.said = "it does not answer"
    assert world.refused() is OpenFailure.CONNECT_FAILED
    world.ways[:] = [world.agent()]
    assert isinstance(world.open(), SpliceEnd)


@pytest.mark.anyio
async def test_a_splice_asks_as_its_way_says_and_tells_it_what_it_carried() -> None:
    world = World()
    way = ElsewhereRoute(world.bench.c)
    world.ways[:] = [way]
    end = world.open()
    end.opened_by_peer(100, 2**20, 2**15)
    world.bench.a.engine.flush()
    (asked,) = world.bench.read(world.bench.c)
    assert asked.endswith(b"elsewhere")
    assert b"direct-tcpip" in asked
    assert world.bench.a.traffic.open == 2  # One is the bench's own.
    end.stream.splice.bytes_from[:] = [3, 4]  # As its data path would count.
    end.stream.ends[1].failed(OpenFailure.CONNECT_FAILED, "no")
    assert (way.traffic.open, way.traffic.opened, way.carried) == (0, 1, [(3, 4)])
    assert world.bench.a.traffic.open == 1


@pytest.mark.anyio
async def test_a_way_that_is_full_refuses() -> None:
    world = World()
    world.ways[:] = [ElsewhereRoute(world.bench.c, full=True)]
    assert world.refused() is OpenFailure.RESOURCE_SHORTAGE


@pytest.mark.anyio
async def test_a_way_whose_leg_is_gone_is_missed() -> None:
    world = World()
    world.ways[:] = [world.agent()]
    world.bench.c.abort()
    assert world.refused() is OpenFailure.CONNECT_FAILED
    assert world.missing == [("gpu1", 8000)]


@pytest.mark.anyio
async def test_where_nobody_is_it_is_refused_or_waits_until_somebody_is() -> None:
    world = World()
    assert world.refused() is OpenFailure.CONNECT_FAILED
    assert [(type(one), getattr(one, "code", 0)) for one in world.told] == [
        (StreamRefused, OpenFailure.NOT_PUBLISHED)
    ]
    service = Service("gpu1", 8000, world.bench.c, True)
    world.held.lost(service)
    held = world.open()
    assert isinstance(held, HeldOpen)
    assert isinstance(world.told[-1], StreamHeld)
    held.opened_by_peer(100, 2**20, 2**15)
    way = world.agent()
    world.ways[:] = [way]
    world.held.published(service)
    assert way.traffic.open == 0, "the agent hears first that it is published"
    await asyncio.sleep(0)
    assert way.traffic.open == 1
    world.held.stop()


@pytest.mark.anyio
async def test_nothing_is_opened_while_it_stops_nor_without_a_right() -> None:
    world = World()
    world.ways[:] = [world.agent()]
    world.drain.begin()
    assert world.refused() is OpenFailure.CONNECT_FAILED
    assert world.told[-1] == StreamRefused(
        "gpu1:8000", world.bench.a.name, OpenFailure.STOPPING, "the relay is stopping", inner=False
    )
    world.bench.a.entry = None
    assert world.refused() is OpenFailure.ADMINISTRATIVELY_PROHIBITED
