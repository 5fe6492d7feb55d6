"""Polling before sleeping: where something came a moment ago, more comes soon.

To put a process to sleep and to wake it costs tens of microseconds, on a virtual machine more than
all that a small packet needs, and a request with its reply wakes six times between A and C. So
after a socket was served, the loop goes on asking for a while without sleeping, as Linux can for
its network cards (net.core.busy_poll) and KVM does for guests that halt (halt_poll_ns). The rules:

1. It polls only where that pays. If what came next came within `most`, it polls twice as long the
   next time, up to `most`; if later, it sleeps at once the next time. So a token every 20 ms, or a
   path of a millisecond and more, costs nothing.
2. The core is given up at each turn: whoever else is ready runs first.
3. A core that others want all the time comes back only when their time slice is over, while a
   sleeper would have been woken before. So if it comes back late, polling rests, and twice as long
   if that happens again soon.
4. After bulk polling rests too. Bytes in such number are not waited for one by one, and the core is
   better used by whoever sends or takes them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from time import monotonic
from typing import Final

from relay.core.limits import BUSY_POLL

LEAST: Final = 20e-6
"""Seconds to poll at first: a few turns of the loop."""

LATE: Final = 1e-3
"""Seconds after which a core has come back late. What shares a request's path with us uses it for
less; Linux's time slices are 0.7 ms and longer, and end at a tick (1 to 4 ms)."""

SHORTEST_REST: Final = 1e-3
LONGEST_REST: Final = 1.0
"""Seconds without polling. Beside a program that uses all of the core, one request a second is late
by a time slice; beside one that wakes up now and then, polling goes on."""

SOON: Final = 100
"""A core that comes back late again before so many rests have passed was lost to the same cause."""

BULK: Final = 16 * 1024
"""Bytes read at once that are no request and no reply to one, but a piece of something long."""

BULK_REST: Final = 10e-3
"""Seconds: longer than a transfer at full speed is without a piece."""

GIVE_UP_CORE: Final[Callable[[], None] | None] = getattr(os, "sched_yield", None)
"""Not to be had on Windows."""


class BusyPoll:
    """How one event loop waits. `begin` and `end` stand around all work on a socket."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float] = monotonic,
        give_up_core: Callable[[], None] | None = GIVE_UP_CORE,
    ) -> None:
        """Without a way to give up the core it never polls."""
        self._loop = loop
        self._clock = clock
        self._give_up_core = give_up_core
        # Seconds: the longest time to poll, 0 for never; and the time to poll after the next work.
        self._most = 0.0
        self._span = 0.0
        # When the last work ended, and until when to poll after it.
        self._idle_since = 0.0
        self._until = 0.0
        # `_turn` is to be called at the loop's next turn, which therefore does not sleep.
        self._turning = False
        # Rule 3: until when not to poll, and how long that was.
        self._rests_until = 0.0
        self._rest = SHORTEST_REST
        self.limit(BUSY_POLL)

    def limit(self, microseconds: int) -> None:
        """Poll for so long at most; 0: never."""
        self._most = microseconds * 1e-6
        self._span = min(self._span, self._most)

    def begin(self) -> float:
        """A socket is ready (rule 1); returns the time."""
        now = self._clock()
        waited = now - self._idle_since
        if waited > self._most:
            self._span = 0.0
        elif waited > self._span:
            self._span = min(max(LEAST, 2 * self._span), self._most)
        return now

    def end(self, size: int) -> float:
        """Its work is done: `size` bytes were read; returns the time."""
        now = self._idle_since = self._clock()
        if size > BULK:
            self._until = 0.0
            self._rests_until = now + BULK_REST
        elif self._span and now >= self._rests_until and self._give_up_core is not None:
            self._until = now + self._span
            if not self._turning:
                self._turning = True
                self._loop.call_soon(self._turn)
        return now

    def _turn(self) -> None:
        assert self._give_up_core is not None
        left = self._clock()
        if left >= self._until:
            self._turning = False
            return
        self._give_up_core()
        self._loop.call_soon(self._turn)
        back = self._clock()
        if back - left > LATE:
            self._until = 0.0
            again = back - self._rests_until < min(SOON * self._rest, LONGEST_REST)
            self._rest = min(2 * self._rest, LONGEST_REST) if again else SHORTEST_REST
            self._rests_until = back + self._rest
