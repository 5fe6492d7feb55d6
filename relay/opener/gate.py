"""Where new connections wait while there is no leg to carry them, or while the leg is so new that
the agent behind it may not be back yet."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

import anyio
from anyio.abc import TaskGroup

AGAIN: Final = 1.0
"""Seconds between two tries to open a stream to a service that is not published yet. An agent that
lost B when we did is back within a second, as a rule."""


class Carrier(Protocol):
    """A leg, as far as the gate knows one."""

    @property
    def alive(self) -> bool: ...


Way = TypeVar("Way", bound=Carrier)


class Gate(Generic[Way]):
    """The leg of the moment, and who waits for the next one."""

    def __init__(self, wait: float, tasks: TaskGroup) -> None:
        """`wait` is for how many seconds; who waits does so in `tasks`, and ends with them."""
        self.wait = wait
        self._tasks = tasks
        self._leg: Way | None = None
        self._opened = anyio.Event()
        self._opened_at = -math.inf
        # How many wait for a leg, and the news that somebody does.
        self._waiting = 0
        self._came = anyio.Event()
        # Why there will be none any more.
        self._failure: Exception | None = None

    @property
    def leg(self) -> Way | None:
        """The leg, if there is one and it lives."""
        return self._leg if self._leg is not None and self._leg.alive else None

    @property
    def waiting(self) -> int:
        """How many wait for a leg."""
        return self._waiting

    def open(self, leg: Way) -> None:
        """There is a leg: for those who wait, and for those who come while it lives."""
        self._leg = leg
        self._opened_at = anyio.current_time()
        opened, self._opened = self._opened, anyio.Event()
        opened.set()

    def fail(self, error: Exception) -> None:
        """There will be no leg any more: who waits for one with `next_leg` is given the error."""
        self._failure = error
        self._opened.set()

    def shut(self) -> None:
        """The leg is there, but carries nothing at present: who comes waits."""
        self._leg = None

    async def wanted(self) -> None:
        """Return when somebody waits for a leg."""
        while not self._waiting:
            await self._came.wait()

    def enter(self, visitor: Visitor[Way]) -> None:
        """Let the visitor begin with the leg, now or when there is one, or else turn it away."""
        leg = self.leg
        if leg is not None:
            visitor.begin(leg)
        else:
            self._tasks.start_soon(self._wait, visitor, 0.0)

    def may_enter_again(self, came: float, *, stopping: bool = False) -> bool:
        """Is it worth another try, for one who came then and whose service was not there? For no
        longer than it may wait at all, nor than that after the leg came up: then the name is wrong.
        Where B is stopping the leg ends soon, and its age says nothing."""
        last = (came if stopping else min(came, self._opened_at)) + self.wait
        return anyio.current_time() + AGAIN <= last

    def enter_again(self, visitor: Visitor[Way]) -> None:
        """The same after a while, for one who may."""
        visitor.again = True
        self._tasks.start_soon(self._wait, visitor, AGAIN)

    async def _wait(self, visitor: Visitor[Way], pause: float) -> None:
        leg: Way | None = None
        try:
            await anyio.sleep(pause)
            leg = await self.next_leg(visitor.came + self.wait)
        finally:
            # Also when the program ends, since a socket hangs on it.
            if leg is None:
                visitor.turn_away()
        if leg is not None:
            visitor.begin(leg)

    async def next_leg(self, until: float) -> Way | None:
        """The leg, as soon as there is one; None: there is none by then. Raises what the gate has
        failed with."""
        leg: Way | None = None
        self._waiting += 1
        came, self._came = self._came, anyio.Event()
        came.set()
        try:
            with anyio.CancelScope(deadline=until):
                while (leg := self.leg) is None:
                    if self._failure is not None:
                        raise self._failure
                    await self._opened.wait()
        finally:
            self._waiting -= 1
        return leg


class Visitor(Generic[Way]):
    """A new connection. `begin` is given a leg, or else `turn_away` is called."""

    def __init__(self, begin: Callable[[Way], None], turn_away: Callable[[], None]) -> None:
        self.begin = begin
        self.turn_away = turn_away
        self.came = anyio.current_time()
        # It has entered more than once.
        self.again = False
