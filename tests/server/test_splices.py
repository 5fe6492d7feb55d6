"""relay/server/splices.py: an agent that does not answer, and openers that are gone by then."""

from __future__ import annotations

import asyncio
from itertools import repeat

import pytest

from relay.core.limits import (
    ANSWERS_DEFERRED,
    ANSWERS_PER_LEG,
    RELEASE_BELOW,
    UNANSWERED_PER_LEG,
)
from relay.core.splice import NO_ANSWER
from relay.events import Events
from relay.server.reading import read
from relay.server.splices import SplicedStream
from relay.settings.server import Limits
from relay.ssh import patience
from relay.ssh.listener import Listener
from relay.wire import messages
from relay.wire.encoding import string
from relay.wire.numbers import MSG_CHANNEL_REQUEST
from tests.ssh.bench import C_NUMBER, Bench, begin_key_exchange, end_key_exchange

NUMBER = 77
"""The opener's for its channel."""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "ANSWER_TIMEOUT", 0.0)


def opened(bench: Bench) -> SplicedStream:
    return bench.open(NUMBER, bench.c, 2**15)


async def until_late(bench: Bench, count: int) -> None:
    while True:
        await asyncio.sleep(0)
        if bench.c.unanswered >= count or not bench.c.alive:
            return


@pytest.mark.anyio
@pytest.mark.usefixtures("no_patience")
async def test_the_opener_is_told_and_the_number_stays_with_the_agent() -> None:
    bench = Bench()
    stream = opened(bench)
    number = stream.splice.channels[1].local_id
    await until_late(bench, 1)
    bench.engine.flush()
    assert bench.read(bench.a)[-1] == messages.open_failure(NUMBER, 2, NO_ANSWER)
    assert stream.splice.channels[0].local_id not in bench.a.mux.channels
    assert number in bench.c.mux.channels
    stream.ends[1].confirmed(C_NUMBER + 1, 2**20, 2**15)
    assert bench.c.unanswered == 0
    stream.ends[1].peer_closed()
    assert number not in bench.c.mux.channels
    assert bench.traffic.open == 1  # That which the bench begins with.


@pytest.mark.anyio
@pytest.mark.usefixtures("no_patience")
async def test_an_agent_that_answers_nothing_loses_its_leg() -> None:
    bench = Bench()
    streams = [opened(bench) for _ in range(UNANSWERED_PER_LEG)]
    await until_late(bench, UNANSWERED_PER_LEG)
    assert bench.c.alive
    # Whether its opener waits for it or is gone.
    for stream in streams:
        stream.ends[0].leg_lost()
    opened(bench)
    await until_late(bench, UNANSWERED_PER_LEG + 1)
    assert not bench.c.alive


@pytest.mark.anyio
@pytest.mark.usefixtures("no_patience")
async def test_an_agent_may_be_late_as_often_as_it_likes_if_it_answers() -> None:
    bench = Bench()
    for _ in range(2 * UNANSWERED_PER_LEG):
        stream = opened(bench)
        await until_late(bench, 1)
        stream.ends[1].failed(2, "timed out")
        assert bench.c.unanswered == 0
    assert bench.c.alive


@pytest.mark.anyio
async def test_who_is_answered_or_lost_is_never_late() -> None:
    bench = Bench()
    loop = asyncio.get_running_loop()
    confirmed, refused, lost = (opened(bench) for _ in range(3))
    confirmed.ends[1].confirmed(C_NUMBER + 1, 2**20, 2**15)
    refused.ends[1].failed(2, "no")
    lost.ends[1].leg_lost()
    timers = [timer for timer in loop._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
    assert not [timer for timer in timers if "Patience" in repr(timer)]


@pytest.mark.anyio
@pytest.mark.usefixtures("no_patience")
async def test_who_came_by_an_open_port_is_let_go() -> None:
    bench = Bench()
    listener = Listener(bench.c, "localhost", 0, "no", Events())
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    with pytest.raises(ConnectionResetError):
        await reader.read()
    assert bench.c.unanswered == 1
    number = max(bench.c.mux.channels)
    handler = bench.c.mux.channels[number]
    handler.failed(2, "timed out")
    assert bench.c.unanswered == 0
    assert number not in bench.c.mux.channels
    writer.close()
    listener.close()


def request_of(bench: Bench) -> bytes:
    """A's CHANNEL_REQUEST, which wants an answer."""
    label = bench.splice.splice.channels[0].local_id.to_bytes(4, "big")
    return bytes([MSG_CHANNEL_REQUEST]) + label + string(b"shell") + b"\1"


def flood(bench: Bench, payload: bytes, count: int) -> None:
    """A sends the same again and again."""
    for _ in range(count):
        if not bench.a.alive or bench.stream(bench.a).paused:
            return
        bench.receive(bench.seal(payload), repeat(1 << 16))


@pytest.mark.anyio
async def test_only_who_asks_waits_for_its_unread_answers() -> None:
    bench = Bench()
    bench.stream(bench.a).room = 0
    flood(bench, request_of(bench), ANSWERS_PER_LEG)
    assert bench.a.alive
    assert bench.stream(bench.a).paused
    # What the agent sends it now does not stop the agent either: its other streams go on.
    bench.splice.ends[1].eof()
    assert not bench.stream(bench.c).paused
    bench.stream(bench.a).room = None
    bench.a.flush()
    bench.engine.flush()
    assert not bench.stream(bench.a).paused


@pytest.mark.anyio
async def test_answers_that_wait_for_keys_are_bounded() -> None:
    bench = Bench()
    begin_key_exchange(bench.a)
    flood(bench, request_of(bench), 2 * ANSWERS_DEFERRED)
    assert not bench.a.alive
    assert not bench.stream(bench.c).paused


@pytest.mark.anyio
async def test_answers_are_counted_anew_with_each_key_exchange() -> None:
    bench = Bench()
    for _ in range(3):
        begin_key_exchange(bench.a)
        flood(bench, request_of(bench), ANSWERS_DEFERRED - 1)
        assert len(bench.a.out.deferred) == ANSWERS_DEFERRED - 1
        end_key_exchange(bench.a)
        assert bench.a.alive
        assert not bench.a.out.deferred


@pytest.mark.anyio
@pytest.mark.parametrize("all_together", [False, True])
async def test_too_much_for_one_leg_breaks_its_own_stream(all_together: bool) -> None:
    bench = Bench()
    bench.stream(bench.c).room = 0
    if all_together:
        bench.engine.waiting_limit = RELEASE_BELOW
    else:
        bench.c.out.waiting_limit = RELEASE_BELOW
    bench.splice.splice.channels[0].receive_window = 2**20
    for _ in range(5):
        bench.receive(bench.data(bytes(2**16)), repeat(1 << 17))
    assert not bench.stream(bench.a).paused
    assert bench.splice.failure == "too much waits for who does not read it"
    assert bench.engine.waiting == 0
    assert bench.a.alive
    assert bench.c.alive


@pytest.mark.anyio
async def test_a_stall_is_counted_once_until_there_is_room() -> None:
    bench = Bench()
    opener, agent = bench.splice.splice.channels
    traffic = bench.splice.route.traffic
    for stalls in (1, 2):
        bench.stream(bench.c).room = 0
        opener.receive_window = 2**20
        while bench.c.out.waiting <= RELEASE_BELOW:
            bench.receive(bench.data(bytes(2**15)), repeat(1 << 17))
        assert bench.splice.waiting == bench.c.out.waiting_for(agent) > 0
        reading = await read([bench.a, bench.c])
        assert reading.waiting[traffic] == reading.waiting[bench.traffic] == bench.splice.waiting
        opener.receive_window = 0  # It has used all that it may send, and gets no more.
        for _ in range(3):
            bench.splice.ends[1].window_adjust(2**20)
        assert traffic.stalls == bench.traffic.stalls == bench.a.traffic.stalls == stalls
        bench.stream(bench.c).room = None
        bench.c.flush()
        bench.engine.flush()
        assert opener.receive_window > 0
        assert (await read([bench.a])).waiting == {}


@pytest.mark.anyio
async def test_a_leg_that_others_crowd_out_keeps_its_streams() -> None:
    bench = Bench()
    bench.stream(bench.c).room = 0
    bench.engine.waiting_limit = 1
    for _ in range(2):  # The first fills the socket.
        bench.receive(bench.data(bytes(2**15)), repeat(1 << 17))
    assert not bench.splice.failure
    assert not bench.stream(bench.a).paused


@pytest.mark.anyio
async def test_one_key_on_many_legs_has_half_of_an_agent() -> None:
    bench = Bench()
    bench.c.limits = Limits(channels_per_leg=3)
    streams = [bench.splice, *(opened(bench) for _ in range(5))]
    assert bench.c.full_for(bench.a.identity)
    assert not bench.c.full_for(b"another")
    assert not bench.c.full(serving=True)
    for stream in streams:
        stream.ends[0].leg_lost()
        stream.ends[1].leg_lost()
    assert not bench.c.full_for(bench.a.identity)
    assert not bench.c.streams_of
