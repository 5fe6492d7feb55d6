"""relay/agent/program.py: when what B does not grant is asked for again, on a virtual clock."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import trio.testing

from relay.agent.program import Wish
from relay.errors import LegLost, Refused
from relay.life.backoff import HELD, HURRIED, SLOW


class B:
    """Refuses until it is told to grant."""

    def __init__(self) -> None:
        self.grants = False
        self.asked_at: list[float] = []

    async def ask(self) -> None:
        self.asked_at.append(anyio.current_time())
        if not self.grants:
            raise Refused("no")


def play(story: Callable[[B, Wish], Awaitable[None]]) -> B:
    b = B()

    async def main() -> None:
        wish = Wish(b.ask, lambda: ("x", 1))
        wish.missing.set()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wish.keep)
            await story(b, wish)
            tasks.cancel_scope.cancel()

    anyio.run(
        main,
        backend="trio",
        backend_options={"clock": trio.testing.MockClock(autojump_threshold=0)},
    )
    return b


def test_ever_more_rarely() -> None:
    async def story(b: B, wish: Wish) -> None:
        await anyio.sleep(24 * 3600)

    b = play(story)
    assert b.asked_at[0] <= 0.5
    assert 24 * 3600 / SLOW <= len(b.asked_at) <= 3 * 24 * 3600 / SLOW


def test_at_once_when_b_says_so() -> None:
    async def story(b: B, wish: Wish) -> None:
        await anyio.sleep(3600.5)
        b.grants = True
        last = b.asked_at[-1]
        wish.hurried.set()
        await anyio.sleep(HURRIED)
        assert b.asked_at[-1] == max(3600.5, last + HURRIED)
        count = len(b.asked_at)
        await anyio.sleep(3600)
        assert len(b.asked_at) == count

    play(story)


def test_a_b_that_says_so_without_end_is_asked_once_a_second() -> None:
    async def story(b: B, wish: Wish) -> None:
        for _ in range(10_000):
            wish.hurried.set()
            await anyio.sleep(0.01)

    # (The first waits are short by themselves.)
    assert 90 / HURRIED <= len(play(story).asked_at) <= 100 / HURRIED + 10


def test_a_b_that_grants_and_takes_without_end_is_asked_ever_more_rarely() -> None:
    async def story(b: B, wish: Wish) -> None:
        b.grants = True
        for _ in range(3600):
            await anyio.sleep(1)
            wish.missing.set()

    assert len(play(story).asked_at) < 100


def test_what_was_held_for_a_while_is_asked_for_soon() -> None:
    async def story(b: B, wish: Wish) -> None:
        await anyio.sleep(3600)
        b.grants = True
        wish.hurried.set()
        await anyio.sleep(HURRIED + HELD)
        wish.missing.set()
        before = anyio.current_time()
        await anyio.sleep(1)
        assert before <= b.asked_at[-1] <= before + 0.5

    play(story)


def test_what_is_taken_while_the_grant_is_read_is_missing() -> None:
    async def story(b: B, wish: Wish) -> None:
        async def granted_and_taken() -> None:
            b.asked_at.append(anyio.current_time())
            wish.ask = b.ask
            b.grants = True
            wish.missing.set()

        wish.ask = granted_and_taken
        await anyio.sleep(10)
        assert len(b.asked_at) == 2
        assert not wish.missing.is_set()

    play(story)


def test_a_leg_that_is_lost_is_asked_no_more() -> None:
    async def story(b: B, wish: Wish) -> None:
        async def lost() -> None:
            b.asked_at.append(anyio.current_time())
            raise LegLost("lost")

        wish.ask = lost
        await anyio.sleep(1000)
        assert len(b.asked_at) == 1

    play(story)
