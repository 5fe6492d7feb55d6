"""Who is connected: one table, at B and at an agent's endpoint."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import anyio
import pytest
import trio
from trio.testing import MockClock

from relay.events import Event, Events, LegName
from relay.events.server import Draining, LegDown, LegUp, LimitHit, LoginFailed
from relay.life.admission import Admission, Startup
from relay.server.drain import Drain
from relay.settings.server import Limits
from relay.ssh.legs import Legs


class Leg:
    """What the table sees of a `ServerLeg`."""

    def __init__(self, number: int, identity: bytes = b"key") -> None:
        self.name = LegName(number, "SHA256:x", "", f"192.0.2.1:{number}")
        self.startup = Startup("192.0.2.1", lambda _: None, print, None)
        self.identity = identity
        self.failed_tries = 0
        self.logged_in = False
        self.alive = True
        self.said = ""
        channels: dict[int, object] = {}
        self.mux = SimpleNamespace(channels=channels, rekey=SimpleNamespace(limit=0, count=0))
        self.out = SimpleNamespace(waiting_limit=0)

    def get_extra_info(self, name: str, default: str) -> str:
        return name

    def dismiss(self, reason: str, code: int = 0) -> None:
        self.alive = False
        self.said = reason


class World:
    def __init__(self, *, inner: bool = False) -> None:
        self.told: list[Event] = []
        self.events = Events(self.told.append)
        self.legs = Legs(Admission(self.events), self.events, inner=inner)

    def come(self, number: int, identity: bytes = b"key") -> Any:
        leg: Any = Leg(number, identity)
        self.legs.add(leg)
        leg.logged_in = True
        self.legs.leg_up(leg)
        return leg


@pytest.mark.parametrize("inner", [False, True])
def test_a_leg_comes_up_and_goes_down_once(inner: bool) -> None:
    world = World(inner=inner)
    leg = world.come(1)
    assert (len(world.legs), world.legs.logged_in, world.legs.of(b"key")) == (1, 1, {leg})
    world.legs.leg_down(leg, ConnectionError("gone"))
    assert (len(world.legs), world.legs.logged_in, world.legs.of(b"key")) == (0, 0, frozenset())
    assert world.told == [
        LegUp(leg.name, "192.0.2.1", "username", "client_version", "send_cipher", inner),
        LegDown(leg.name, "gone", inner),
    ]


def test_key_exchanges_are_counted_with_those_of_who_is_gone() -> None:
    world = World()
    first, second = world.come(1), world.come(2)
    first.mux.rekey.count, second.mux.rekey.count = 2, 3
    assert anyio.run(world.legs.rekeys) == 5
    for _ in range(2):
        world.legs.discard(first)
    assert anyio.run(world.legs.rekeys) == 5


def test_who_does_not_log_in_never_was_up() -> None:
    world = World()
    leg: Any = Leg(1)
    world.legs.add(leg)
    world.legs.leg_down(leg, None)
    assert world.told == [LoginFailed(leg.name, "192.0.2.1", "", inner=False)]


def test_one_key_has_so_many_legs_and_who_is_about_to_go_is_none() -> None:
    world = World()
    world.legs.configure(Limits(legs_per_key=2), rekey_limit=0)
    first, second = world.come(1), world.come(2)
    assert world.come(3, b"another").alive
    too_many = world.come(4)
    assert too_many.said == "too many connections with this key"
    assert LimitHit("legs-per-key") in world.told
    first.alive = False
    assert world.come(5).alive
    assert second.alive


def test_limits_hold_for_who_is_there_already() -> None:
    world = World()
    leg = world.come(1)
    limits = Limits(waiting_per_leg=12345)
    world.legs.configure(limits, rekey_limit=99)
    assert (leg.limits, leg.out.waiting_limit) == (limits, 12345)
    assert world.come(2).mux.rekey.limit == 99


def test_a_drain_waits_for_streams_and_not_for_ever() -> None:
    world = World()
    drain = Drain(world.legs, world.events)
    idle, busy, stuck = (world.come(number) for number in range(3))
    busy.mux.channels[0] = stuck.mux.channels[0] = object()

    async def main() -> None:
        drain.begin()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(drain.wait, 30.0)
            await anyio.sleep(1)
            assert Draining(2, 30.0) in world.told
            assert (idle.alive, busy.alive) == (False, True)
            for leg in (idle, busy):
                world.legs.leg_down(leg, None)
                drain.leg_down()
        assert anyio.current_time() - began == 30.0

    async def last_one_gone() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(drain.wait, 30.0)
            await anyio.sleep(1)
            world.legs.leg_down(stuck, None)
            drain.leg_down()
        assert anyio.current_time() - began == 1.0

    for part in (main, last_one_gone):
        clock = MockClock(autojump_threshold=0)
        began = clock.current_time()

        async def run(part: Any = part) -> None:
            nonlocal began
            began = anyio.current_time()
            await part()

        trio.run(run, clock=clock)
