"""When a loop polls its sockets before it sleeps: the rules with a clock of their own, and what
comes of them on asyncio's loop with real sockets, whose selector tells whether it is to sleep."""

from __future__ import annotations

import asyncio
import selectors
import socket
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from relay.core.limits import BUSY_POLL
from relay.io.busy_poll import BULK, BULK_REST, LATE, LEAST, LONGEST_REST, SHORTEST_REST, BusyPoll
from relay.io.endpoint import Endpoint
from relay.io.engine import Engine
from relay.io.stream import Stream
from relay.wire.numbers import MSG_CHANNEL_DATA
from tests.ssh.bench import Bench
from tests.turns import until

MOST = BUSY_POLL * 1e-6
TURN = 2e-6
"""Seconds for one turn of the loop."""


class Loop:
    """The clock, the core, and the turns of a loop that does nothing else."""

    def __init__(self, *, can_give_up: bool = True) -> None:
        self.now = 1000.0
        # How long others keep the core, once it is given up.
        self.others = 0.0
        self.given_up = 0
        self._next: list[Callable[[], None]] = []
        loop: Any = self
        give_up = self._give_up if can_give_up else None
        self.poll = BusyPoll(loop, lambda: self.now, give_up)

    def call_soon(self, callback: Callable[[], None]) -> None:
        self._next.append(callback)

    def _give_up(self) -> None:
        self.given_up += 1
        self.now += self.others

    def work(self, size: int = 64) -> None:
        """Something comes, and is handled in no time."""
        self.poll.begin()
        self.poll.end(size)

    def wait(self, seconds: float) -> float:
        """Nothing comes for so long; returns for how much of that the loop did not sleep."""
        start = self.now
        while self._next and self.now - start < seconds:
            self.now += TURN
            ready, self._next = self._next, []
            for callback in ready:
                callback()
        awake = self.now - start
        self.now = max(self.now, start + seconds)
        return awake if self.given_up else 0.0

    def grow(self) -> None:
        """Work in quick succession, until it polls as long as it may."""
        self.work()
        for _ in range(10):
            self.wait(0.9 * MOST)
            self.work()


def test_at_first_it_sleeps() -> None:
    loop = Loop()
    loop.work()
    assert loop.wait(1) == 0


@pytest.mark.parametrize(("times", "expected"), [(1, 1), (2, 2), (3, 4), (4, 8), (5, 8)])
def test_it_polls_twice_as_long_each_time_that_something_comes_soon(
    times: int, expected: int
) -> None:
    """Longer than it polled, and sooner than it may poll: only then is there more to be had."""
    loop = Loop()
    loop.work()
    for wait in (LEAST / 2, 1.5 * LEAST, 3 * LEAST, 6 * LEAST, MOST / 2)[:times]:
        loop.wait(wait)
        loop.work()
    assert loop.wait(1) == pytest.approx(expected * LEAST, abs=2 * TURN)


def test_it_never_polls_longer_than_it_may() -> None:
    loop = Loop()
    loop.grow()
    assert loop.wait(1) == pytest.approx(MOST, abs=2 * TURN)


def test_it_gives_up_the_core_at_each_turn() -> None:
    loop = Loop()
    loop.grow()
    before = loop.given_up
    awake = loop.wait(1)
    assert loop.given_up - before == pytest.approx(awake / TURN, abs=1)


def test_what_comes_late_makes_it_sleep_the_next_time() -> None:
    loop = Loop()
    loop.grow()
    loop.wait(1.01 * MOST)
    loop.work()
    assert loop.wait(1) == 0


def test_work_while_it_polls_makes_it_poll_on() -> None:
    loop = Loop()
    loop.grow()
    loop.wait(MOST / 2)
    loop.work()
    assert loop.wait(1) == pytest.approx(MOST, abs=2 * TURN)


def test_tokens_every_20_ms_cost_nothing() -> None:
    loop = Loop()
    loop.grow()
    loop.wait(1)
    awake = 0.0
    for _ in range(50):
        loop.work()
        awake += loop.wait(0.02)
    assert awake == 0


def test_after_bulk_it_rests() -> None:
    loop = Loop()
    loop.grow()
    loop.work(BULK + 1)
    before, began = loop.given_up, loop.now
    while loop.given_up == before:
        loop.wait(MOST / 2)
        loop.work()
    assert loop.now - began == pytest.approx(BULK_REST, abs=2 * MOST)


def _lose_core(loop: Loop) -> float:
    """Others take the core for long; returns the seconds until it polls again."""
    loop.grow()
    loop.others = 2 * LATE
    loop.wait(1e-3)
    loop.others = 0.0
    lost = loop.now
    loop.work()
    while True:
        loop.wait(MOST / 2)
        before = loop.given_up
        loop.work()
        loop.wait(MOST / 2)
        if loop.given_up > before:
            return loop.now - lost
        loop.work()


def test_beside_somebody_who_wants_all_of_the_core_it_rests_longer_and_longer() -> None:
    loop = Loop()
    rests = [_lose_core(loop) for _ in range(10)]
    expected = [min(SHORTEST_REST * 2**number, LONGEST_REST) for number in range(10)]
    assert rests == pytest.approx(expected, abs=2 * MOST)


def test_after_a_calm_second_it_rests_shortly_again() -> None:
    loop = Loop()
    for _ in range(5):
        _lose_core(loop)
    loop.wait(SHORTEST_REST * 2**5 + LONGEST_REST)
    assert _lose_core(loop) == pytest.approx(SHORTEST_REST, abs=2 * MOST)


def test_zero_is_never() -> None:
    loop = Loop()
    loop.grow()
    loop.poll.limit(0)
    loop.wait(1)
    loop.grow()
    before = loop.given_up
    assert before
    loop.wait(1)
    assert loop.given_up == before


def test_where_the_core_cannot_be_given_up_it_sleeps() -> None:
    loop = Loop(can_give_up=False)
    loop.grow()
    assert loop.wait(1) == 0


# -- on a real loop


class Watched(selectors.DefaultSelector):
    """Asked by its loop for what is ready: at once, or to sleep until something is."""

    def __init__(self) -> None:
        super().__init__()
        # Turns without sleep since somebody last asked for them, and who asks.
        self._turns = 0
        self._asked: asyncio.Future[int] | None = None

    async def turns_before_sleep(self) -> int:
        """How often the loop looks, from now on, before it sleeps."""
        self._turns = 0
        self._asked = asyncio.get_running_loop().create_future()
        return await self._asked

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout == 0:
            self._turns += 1
        elif self._asked is not None and not self._asked.done():
            self._asked.set_result(self._turns)
            timeout = 0
        return super().select(timeout)


ASLEEP = 2
"""Turns at most in which a loop that sleeps at once ends what it has begun: its own callbacks."""

AWAKE = 5
"""Turns at least of one that polls for `LEAST`, if each look at the clock takes a microsecond."""


class Leg:
    """Reads a leg's socket, and takes all that comes."""

    def __init__(self, sock: socket.socket) -> None:
        self.engine = Engine(asyncio.get_running_loop())
        self.came = 0
        self._stream = Stream(self.engine, sock, self)
        self._stream.start()

    def received(self, view: memoryview, start: int, end: int) -> int:
        self.came += end - start
        return end

    def flush(self) -> None: ...
    def wake(self) -> None: ...

    def stream_lost(self, error: Exception | None) -> None: ...

    def close(self) -> None:
        self._stream.abort()


class Local:
    """An endpoint, which reads a local socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._bench = Bench()
        self.engine = self._bench.engine
        self._came = 0
        self._endpoint = Endpoint(self._bench.c, lambda endpoint, reason: None)
        self._endpoint.open(sock, b"direct-tcpip", b"")
        self._endpoint.confirmed(1, 2**20, 2**15)

    @property
    def came(self) -> int:
        """What has left on the leg."""
        payloads = self._bench.read(self._bench.c)
        self._came += sum(len(one) - 9 for one in payloads if one[0] == MSG_CHANNEL_DATA)
        return self._came

    def close(self) -> None:
        self._endpoint.leg_lost()


def turns(reads: type[Leg | Local], busy_poll: int, *sizes: int) -> int:
    """Send so many bytes at a time, and let each be read; how often does the loop look for more
    before it sleeps?"""
    selector = Watched()

    async def main() -> int:
        ours, theirs = socket.socketpair()
        reader = reads(ours)
        # Each look at the clock takes a microsecond: how busy the machine is does not matter.
        clock = count(10**6)
        poll = BusyPoll(reader.engine.loop, lambda: next(clock) * 1e-6, lambda: None)
        poll.limit(busy_poll)
        reader.engine.poll = poll
        expected = 0
        for size in sizes:
            expected += size
            theirs.sendall(bytes(size))
            await until(lambda: reader.came >= expected)  # noqa: B023
        looked = await selector.turns_before_sleep()
        reader.close()
        theirs.close()
        reader.engine.close()
        return looked

    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        return runner.run(main())


whoever_reads = pytest.mark.parametrize("reads", [Leg, Local])


@whoever_reads
def test_a_loop_looks_for_more_where_the_last_came_soon(reads: type[Leg | Local]) -> None:
    assert turns(reads, BUSY_POLL, 64, 64) > AWAKE


@whoever_reads
def test_a_loop_sleeps_after_the_first(reads: type[Leg | Local]) -> None:
    assert turns(reads, BUSY_POLL, 64) <= ASLEEP


@whoever_reads
def test_a_loop_sleeps_after_bulk(reads: type[Leg | Local]) -> None:
    assert turns(reads, BUSY_POLL, 64, BULK + 1) <= ASLEEP


@whoever_reads
def test_a_loop_that_may_not_poll_sleeps(reads: type[Leg | Local]) -> None:
    assert turns(reads, 0, 64, 64) <= ASLEEP
