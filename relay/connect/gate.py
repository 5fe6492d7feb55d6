"""Where new connections wait while there is no leg to carry them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import anyio
from anyio.abc import TaskGroup


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
        # How many wait, and the news that somebody does.
        self._waiting = 0
        self._came = anyio.Event()

    @property
    def leg(self) -> Way | None:
        """The leg, if there is one and it lives."""
        return self._leg if self._leg is not None and self._leg.alive else None

    def open(self, leg: Way) -> None:
        """There is a leg: for those who wait, and for those who come while it lives."""
        self._leg = leg
        opened, self._opened = self._opened, anyio.Event()
        opened.set()

    def enter(self, begin: Callable[[Way], None], turned_away: Callable[[], None]) -> None:
        """Call `begin` with the leg, now or when there is one, or else `turned_away`."""
        leg = self.leg
        if leg is not None:
            begin(leg)
        else:
            self._tasks.start_soon(self._wait, begin, turned_away)

    async def wanted(self) -> None:
        """Return when somebody waits."""
        while not self._waiting:
            await self._came.wait()

    async def _wait(self, begin: Callable[[Way], None], turned_away: Callable[[], None]) -> None:
        leg: Way | None = None
        self._waiting += 1
        came, self._came = self._came, anyio.Event()
        came.set()
        try:
            with anyio.move_on_after(self.wait):
                while (leg := self.leg) is None:
                    await self._opened.wait()
        finally:
            self._waiting -= 1
            # Also when the program ends, since a socket hangs on it.
            if leg is None:
                turned_away()
        if leg is not None:
            begin(leg)
