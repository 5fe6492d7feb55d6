"""relay/io/engine.py: what legs share, and what two engines do not."""

from __future__ import annotations

import asyncio
import os

import pytest

from relay.core.limits import WAITING_PER_PROCESS
from relay.io.engine import Engine
from tests.ssh.bench import Bench, expected


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Leg:
    """Writes down what it is told; `wakes` others when it is flushed."""

    def __init__(self, engine: Engine, journal: list[str], name: str, *wakes: Leg) -> None:
        self._engine = engine
        self._journal = journal
        self._name = name
        self._wakes = wakes

    def flush(self) -> None:
        self._journal.append(f"flush {self._name}")
        for leg in self._wakes:
            self._engine.wake(leg)
        self._wakes = ()

    def wake(self) -> None:
        self._journal.append(f"wake {self._name}")
        self._engine.mark(self)


async def test_two_engines_in_one_loop_do_not_know_of_each_other() -> None:
    one, two = Bench(), Bench()
    assert one.engine is not two.engine
    one.engine.waiting_limit = 1
    one.engine.windows.most = 2**18
    one.engine.credit.take(2**20)
    assert two.engine.waiting_limit == WAITING_PER_PROCESS
    assert two.engine.windows.most > 2**18
    assert two.engine.credit.free > one.engine.credit.free
    assert two.engine.scratch.obj is not one.engine.scratch.obj
    # What is sealed on a leg of one is not sent by a flush of the other.
    sent = bytearray(one.data(b"token"))
    one.a.received(memoryview(sent), 0, len(sent))
    two.engine.flush()
    assert one.read(one.c) == []
    one.engine.flush()
    assert one.read(one.c) == [expected(b"token")]


async def test_who_waits_is_told_between_flushes_and_never_in_one() -> None:
    engine, journal = Engine(asyncio.get_running_loop()), list[str]()
    waiting = Leg(engine, journal, "waiting")
    engine.mark(Leg(engine, journal, "first", waiting))
    engine.mark(Leg(engine, journal, "second"))
    engine.flush()
    assert journal == ["flush first", "flush second", "wake waiting", "flush waiting"]
    engine.close()


async def test_what_is_marked_outside_of_a_batch_is_flushed_soon() -> None:
    engine, journal = Engine(asyncio.get_running_loop()), list[str]()
    engine.mark(Leg(engine, journal, "leg"))
    assert journal == []
    await asyncio.sleep(0)
    assert journal == ["flush leg"]
    engine.close()


async def test_nothing_is_left_of_a_closed_engine() -> None:
    before = os.listdir("/proc/self/fd")
    Engine(asyncio.get_running_loop()).close()
    assert len(os.listdir("/proc/self/fd")) <= len(before)
