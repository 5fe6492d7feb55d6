"""How B stops: nothing new is begun, and what is open may finish."""

from __future__ import annotations

import anyio

from relay.core.services import GOODBYE
from relay.events import Events
from relay.events.server import Draining
from relay.ssh.legs import Legs


class Drain:
    """Whether B stops, and what its legs are told then."""

    def __init__(self, legs: Legs, events: Events) -> None:
        self._legs = legs
        self._events = events
        self.begun = False
        # Set when no leg is left.
        self._over = anyio.Event()

    def begin(self) -> None:
        """From now on nothing new is taken: whoever takes something looks at `begun`."""
        self.begun = True

    async def wait(self, seconds: float) -> None:
        """Until every stream is over, for at most so long. A leg is told to go as soon as it has
        none: its client can look for another relay."""
        busy = sum(bool(leg.mux.channels) for leg in self._legs)
        if busy:
            self._events.emit(Draining(busy, seconds))
        for leg in self._legs:
            if leg.mux.channels:
                # Later: the leg is in the middle of the packet that made it idle.
                leg.when_idle = lambda idle: idle.loop.call_soon(idle.dismiss, GOODBYE)
            else:
                leg.dismiss(GOODBYE)
        if self._legs:
            with anyio.move_on_after(seconds):
                await self._over.wait()

    def leg_down(self) -> None:
        """One is gone."""
        if self.begun and not self._legs:
            self._over.set()
