"""B's numbers: what is read is what has gone."""

from __future__ import annotations

import socket

import pytest

from relay.events import Events, LegName
from relay.events.server import (
    KeyRefused,
    LegUp,
    LimitHit,
    LoginFailed,
    ServicePublished,
    ServiceRefused,
    ServiceWithdrawn,
    StreamRefused,
)
from relay.server.counters import Counters, Reading
from relay.ssh.listener import Visitor
from relay.wire.numbers import OpenFailure
from tests.ssh.test_leg import Bench

ME = LegName(1, "SHA256:me", "", "192.0.2.1:5")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
async def test_bytes_are_the_same_while_a_stream_is_open_and_when_it_is_over() -> None:
    bench = Bench()
    route, splice = bench.splice.route, bench.splice.splice
    splice.bytes_from[:] = [300, 50]  # As its data path counts.
    one, other = bench.a.traffic, bench.c.traffic
    reading = Reading([bench.a, bench.c])
    assert reading.streams == (bench.splice,)
    for _ in range(2):
        assert reading.moved(one) == (300, 50)
        assert reading.moved(other) == reading.moved(route.traffic) == (50, 300)
        assert reading.moved(bench.traffic) == (50, 300)
        for side in (0, 1):
            if not splice.over:
                bench.splice.lost(side)  # type: ignore[arg-type]
        reading = Reading([bench.a, bench.c])
        assert reading.streams == ()
    assert [(of.open, of.opened) for of in (one, other, route.traffic)] == [(0, 1)] * 3


@pytest.mark.anyio
async def test_a_stream_that_has_lost_one_leg_is_read_at_the_other() -> None:
    bench = Bench()
    bench.splice.splice.bytes_from[:] = [300, 50]
    assert Reading([bench.c]).streams == (bench.splice,)
    assert Reading([bench.c]).moved(bench.c.traffic) == (50, 300)


@pytest.mark.anyio
async def test_connections_to_an_open_port_are_of_its_service() -> None:
    bench = Bench()
    route = bench.route()
    ours, theirs = socket.socketpair()
    visitor = Visitor(bench.c, lambda *_: None, route.traffics)
    visitor.begin(theirs, b"")
    visitor.received_bytes, visitor.sent_bytes = 7, 3
    reading = Reading([bench.c])
    assert reading.visitors == (visitor,)
    assert reading.moved(route.traffic) == (7, 3)
    visitor.give_up()  # Its number stays the agent's until it answers.
    ours.close()
    reading = Reading([bench.c])
    assert reading.visitors == ()
    assert reading.moved(route.traffic) == (7, 3)
    assert (route.traffic.open, route.traffic.opened) == (0, 1)


def test_what_happens_is_counted_by_few_names() -> None:
    counters = Counters()
    events = Events(counters)
    events.emit(LegUp(ME, "192.0.2.1", "u", "SSH-2.0-x", "aes", inner=False))
    events.emit(LoginFailed(ME, "192.0.2.1", "gone", inner=False))
    events.emit(ServicePublished("gpu1:80", ME))
    events.emit(ServiceWithdrawn("gpu1:80", ME, "by its agent"))
    for number in range(3):
        events.emit(KeyRefused(ME, "192.0.2.1", f"SHA256:{number}", f"reason {number}"))
        events.emit(LimitHit("max-startups"))
        events.emit(ServiceRefused("gpu1:80", ME, "HELD", f"somebody {number} has it"))
        code = OpenFailure.NOT_PUBLISHED
        events.emit(StreamRefused(f"gpu{number}:80", ME, code, "not there", inner=False))
    assert (counters.logins, counters.logins_failed, counters.published) == (1, 1, 1)
    assert counters.limits == {"max-startups": 3}
    assert counters.refusals == {
        ("login", "KEY"): 3,
        ("service", "HELD"): 3,
        ("stream", "NOT_PUBLISHED"): 3,
    }
