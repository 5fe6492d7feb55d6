"""relay/life/reconcile.py: when what is not granted is asked for again, on a virtual clock."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import anyio
import pytest
import trio.testing

from relay.core.backoff import HELD, HURRIED, SLOW, Backoff
from relay.core.forwards import Desired, Far
from relay.errors import LegLost, Refused, RelayError
from relay.life.reconcile import Reconciler


class B:
    """Refuses until it is told to grant."""

    def __init__(self) -> None:
        self.reconciler: Reconciler[str] = Reconciler(lambda: Backoff(random.random, longest=SLOW))
        self.desired = self.reconciler.want("x:1")
        self.grants = False
        self.lost = False
        self.asked_at: list[float] = []
        self.withdrawn: list[str] = []
        # What it does before it grants.
        self.answering: Callable[[], Awaitable[object]] = anyio.lowlevel.checkpoint

    async def ask(self, desired: Desired[str], granted: Callable[[int], None]) -> None:
        self.asked_at.append(anyio.current_time())
        await self.answering()
        if self.lost:
            raise LegLost("lost")
        if not self.grants:
            raise Refused("no")
        granted(1)

    async def cancel(self, desired: Desired[str]) -> None:
        await self.answering()
        self.withdrawn.append(desired.key)

    def takes(self) -> None:
        self.reconciler.taken(self.desired, "taken")


Story = Callable[[B], Awaitable[None]]


def on_a_virtual_clock(main: Callable[[], Awaitable[None]]) -> None:
    clock = trio.testing.MockClock(autojump_threshold=0)
    anyio.run(main, backend="trio", backend_options={"clock": clock})


def play(story: Story) -> B:
    """From the first refusal on."""
    said = []

    async def main() -> None:
        b = B()
        said.append(b)
        await b.reconciler.begin(b, lambda desired, error: None)
        b.asked_at.clear()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(b.reconciler.run, b)
            await story(b)
            tasks.cancel_scope.cancel()

    on_a_virtual_clock(main)
    return said[0]


def test_ever_more_rarely() -> None:
    async def story(b: B) -> None:
        await anyio.sleep(24 * 3600)

    b = play(story)
    assert b.asked_at[0] <= 0.5
    assert 24 * 3600 / SLOW <= len(b.asked_at) <= 3 * 24 * 3600 / SLOW


def test_at_once_when_b_says_so() -> None:
    async def story(b: B) -> None:
        await anyio.sleep(3600.5)
        b.grants = True
        last = b.asked_at[-1]
        b.reconciler.hurry()
        await anyio.sleep(HURRIED)
        assert b.asked_at[-1] == max(3600.5, last + HURRIED)
        count = len(b.asked_at)
        await anyio.sleep(3600)
        assert len(b.asked_at) == count

    play(story)


def test_a_b_that_says_so_behind_its_first_no_is_asked_at_once() -> None:
    async def main() -> None:
        b = B()

        async def and_says_so() -> None:
            b.reconciler.hurry()

        b.answering = and_says_so
        await b.reconciler.begin(b, lambda desired, error: None)
        b.grants = True
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(b.reconciler.run, b)
            await b.reconciler.settled(b.desired)
            while b.desired.far is not Far.GRANTED:
                await b.reconciler.change()
            tasks.cancel_scope.cancel()
        assert b.asked_at == [0.0, 0.0]

    on_a_virtual_clock(main)


def test_a_b_that_says_so_without_end_is_asked_once_a_second() -> None:
    async def story(b: B) -> None:
        for _ in range(10_000):
            b.reconciler.hurry()
            await anyio.sleep(0.01)

    # (The first waits are short by themselves.)
    assert 90 / HURRIED <= len(play(story).asked_at) <= 100 / HURRIED + 10


def test_a_b_that_grants_and_takes_without_end_is_asked_ever_more_rarely() -> None:
    async def story(b: B) -> None:
        b.grants = True
        for _ in range(3600):
            await anyio.sleep(1)
            b.takes()

    assert len(play(story).asked_at) < 100


def test_what_was_held_for_a_while_is_asked_for_soon() -> None:
    async def story(b: B) -> None:
        await anyio.sleep(3600)
        b.grants = True
        b.reconciler.hurry()
        await anyio.sleep(HURRIED + HELD)
        b.takes()
        before = anyio.current_time()
        await anyio.sleep(1)
        assert before <= b.asked_at[-1] <= before + 0.5

    play(story)


def test_without_a_leg_nobody_is_asked() -> None:
    async def story(b: B) -> None:
        b.lost = True
        await anyio.sleep(1000)
        assert len(b.asked_at) == 1

    play(story)


def test_each_waits_for_its_own_answer_only() -> None:
    async def story(b: B) -> None:
        b.answering = anyio.sleep_forever
        await anyio.sleep(10)
        b.answering = anyio.lowlevel.checkpoint
        b.grants = True
        other = b.reconciler.want("y:1")
        await b.reconciler.settled(other)
        assert other.far is Far.GRANTED
        assert b.desired.far is Far.ASKED

    play(story)


def test_what_is_wanted_and_not_is_answered() -> None:
    async def story(b: B) -> None:
        refused = b.reconciler.want("y:1")
        await b.reconciler.settled(refused)
        assert refused.reason == "no"
        b.grants = True
        granted = b.reconciler.want("z:1")
        await b.reconciler.settled(granted)
        assert granted.far is Far.GRANTED
        assert b.reconciler.drop("z:1") is granted
        await b.reconciler.settled(granted)
        assert b.withdrawn == ["z:1"]
        # What was never granted is not withdrawn.
        assert b.reconciler.drop("y:1") is refused
        await b.reconciler.settled(refused)
        assert b.reconciler.drop("z:1") is None
        assert b.withdrawn == ["z:1"]

    play(story)


def test_the_first_refusals_are_told_and_may_end_it() -> None:
    async def main() -> None:
        b = B()
        told: list[str] = []

        def refused(desired: Desired[str], error: RelayError) -> None:
            told.append(f"{desired.key}: {error}")
            if len(told) == 2:
                raise error

        b.reconciler.want("y:1"), b.reconciler.want("z:1")
        with pytest.raises(Refused):
            await b.reconciler.begin(b, refused)
        assert told == ["x:1: no", "y:1: no"]

    on_a_virtual_clock(main)


def test_a_leg_that_is_lost_ends_the_first_round() -> None:
    async def main() -> None:
        b = B()
        b.lost = True
        with pytest.raises(LegLost):
            await b.reconciler.begin(b, lambda desired, error: None)
        # The next leg begins anew.
        b.reconciler.leg_lost()
        b.lost, b.grants = False, True
        await b.reconciler.begin(b, lambda desired, error: None)
        assert b.desired.far is Far.GRANTED

    on_a_virtual_clock(main)
