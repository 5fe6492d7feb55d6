"""When a loop polls its sockets before it sleeps, told with a clock of its own."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest

from relay.core.limits import BUSY_POLL
from relay.io.busy_poll import BULK, BULK_REST, LATE, LEAST, LONGEST_REST, SHORTEST_REST, BusyPoll
from relay.io.engine import Engine
from relay.io.stream import Stream
from relay.ssh.endpoint import Endpoint
from tests.ssh.test_leg import Bench

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


def test_it_polls_twice_as_long_each_time_that_something_comes_soon() -> None:
    loop = Loop()
    loop.work()
    spans = []
    for wait in (LEAST / 2, 1.5 * LEAST, 3 * LEAST, 6 * LEAST, MOST / 2):
        loop.wait(wait)
        loop.work()
        spans.append(round(loop.poll._span / LEAST))
    assert spans == [1, 2, 4, 8, 8]


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


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Journal(list[str]):
    """What happens around the work on a socket."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.over = asyncio.Event()
        patch.setattr(BusyPoll, "begin", self._begin)
        patch.setattr(BusyPoll, "end", self._end)

    def _begin(self) -> float:
        self.append("begin")
        return 0.0

    def _end(self, size: int) -> float:
        self.append(f"end of {size}")
        self.over.set()
        return 0.0


class Sink:
    """What is read from a leg's socket, and nothing made of it."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def received(self, view: memoryview, start: int, end: int) -> int:
        self._journal.append("work")
        return end

    def flush(self) -> None: ...
    def wake(self) -> None: ...

    def stream_lost(self, error: Exception | None) -> None: ...


async def test_work_on_the_socket_of_a_leg_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(monkeypatch)
    ours, theirs = socket.socketpair()
    stream = Stream(Engine(asyncio.get_running_loop()), ours, Sink(journal))
    stream.start()
    theirs.send(b"xyz")
    await journal.over.wait()
    stream.abort()
    theirs.close()
    assert journal == ["begin", "work", "end of 3"]


async def test_work_on_a_local_socket_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(monkeypatch)
    ours, theirs = socket.socketpair()
    bench = Bench()
    endpoint = Endpoint(bench.c, lambda endpoint, reason: None)
    endpoint.open(ours, b"direct-tcpip", b"")
    endpoint.confirmed(1, 2**20, 2**15)
    monkeypatch.setattr(bench.c, "send_data", lambda *packet: journal.append("work"))
    theirs.send(b"xyz")
    await journal.over.wait()
    endpoint.leg_lost()
    theirs.close()
    assert journal == ["begin", "work", "end of 3"]
