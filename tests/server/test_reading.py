"""What is open at B: each stream once, each byte once, and never much in one turn of the loop."""

from __future__ import annotations

import asyncio
import socket

import pytest

from relay.core.traffic import Traffic
from relay.io.turns import PER_TURN
from relay.server.reading import read
from relay.ssh.listener import Visitor
from tests.ssh.bench import Bench, server_leg

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def moved(traffic: Traffic) -> tuple[int, int]:
    return traffic.received, traffic.sent


async def test_bytes_are_the_same_while_a_stream_is_open_and_when_it_is_over() -> None:
    bench = Bench()
    route, splice = bench.splice.route, bench.splice.splice
    splice.bytes_from[:] = [300, 50]  # As its data path counts.
    one, other = bench.a.traffic, bench.c.traffic
    for _ in range(2):  # To read changes nothing.
        assert (await read([bench.a, bench.c])).streams == [bench.splice]
    for _ in range(2):
        assert moved(one) == (300, 50)
        assert moved(other) == moved(route.traffic) == moved(bench.traffic) == (50, 300)
        for side in (0, 1):
            if not splice.over:
                bench.splice.lost(side)  # type: ignore[arg-type]
        assert (await read([bench.a, bench.c])).streams == []
    assert [(of.open, of.opened) for of in (one, other, route.traffic)] == [(0, 1)] * 3


async def test_what_a_stream_moves_after_it_was_read_is_counted_at_its_end() -> None:
    bench = Bench()
    bench.splice.splice.bytes_from[:] = [300, 50]
    await read([bench.a])
    bench.splice.splice.bytes_from[:] = [301, 52]
    for side in (0, 1):
        bench.splice.lost(side)  # type: ignore[arg-type]
    assert moved(bench.traffic) == (52, 301)


async def test_a_stream_that_has_lost_one_leg_is_read_at_the_other() -> None:
    bench = Bench()
    bench.splice.splice.bytes_from[:] = [300, 50]
    assert (await read([bench.c])).streams == []  # It is met at its opener.
    bench.a.mux.remove(bench.splice.splice.channels[0].local_id)  # As when that leg is lost.
    assert (await read([bench.c])).streams == [bench.splice]
    assert moved(bench.c.traffic) == (50, 300)


async def test_connections_to_an_open_port_are_of_its_service() -> None:
    bench = Bench()
    route = bench.route()
    ours, theirs = socket.socketpair()
    visitor = Visitor(bench.c, lambda *_: None, route.traffics)
    visitor.begin(theirs, b"")
    visitor.received_bytes, visitor.sent_bytes = 7, 3
    assert (await read([bench.c])).visitors == [visitor]
    assert moved(route.traffic) == (7, 3)
    visitor.give_up()  # Its number stays the agent's until it answers.
    ours.close()
    assert (await read([bench.c])).visitors == []
    assert moved(route.traffic) == (7, 3)
    assert (route.traffic.open, route.traffic.opened) == (0, 1)


@pytest.mark.parametrize("idle", [True, False])
async def test_others_have_their_turns(idle: bool) -> None:
    """By legs with nothing on them too."""
    bench = Bench()
    count = 10 * PER_TURN
    if idle:
        legs = [server_leg(bench.engine) for _ in range(count)]
    else:
        legs = [bench.a]
        for number in range(count):
            bench.open(1000 + number, bench.c).patience.answered()
    turns = 0
    reading = asyncio.ensure_future(read(legs))
    while not reading.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 10
    assert len(reading.result().streams) == (0 if idle else count + 1)
