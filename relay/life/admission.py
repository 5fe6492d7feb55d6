"""Who may come in: what a server does with strangers before they have logged in.

B's, and that of an agent that is an endpoint of its own. A connection comes, is refused, held back
or begun; it has logged in, or is gone. What is counted for that by source (PerSourceNetBlockSize)
is kept here: how many have not logged in, how fast they come, how many keys were refused.
"""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import Callable
from itertools import islice
from typing import Final, Protocol

from relay.errors import LegLost
from relay.events import Events
from relay.events.server import LimitHit
from relay.life.sources import Sources, source_of
from relay.life.startups import StartupTable
from relay.life.throttle import Throttle
from relay.settings.server import Limits
from relay.system import hung_up

CHECKED_AT_ONCE: Final = 16
"""Held back connections of one source that are looked at before another one of it is refused: they
are the oldest, and as many gone ones make room for as many newcomers."""

_REASONS: Final = {
    "max-startups": "Exceeded MaxStartups",
    "per-source-max-startups": "Exceeded PerSourceMaxStartups",
}


class Leg(Protocol):
    """What a connection becomes that is spoken with."""

    def fail(self, error: BaseException) -> None:
        """End it."""


class Startup:
    """A connection that has not logged in: held back until its turn, and then a leg."""

    def __init__(
        self,
        source: str,
        begin: Callable[[Startup], Leg | None],
        refuse: Callable[[str], object],
        sock: socket.socket | None,
    ) -> None:
        self.source = source
        self.begin = begin
        self.refuse = refuse
        self.sock = sock
        # Its turn, while it is held back.
        self.turn: asyncio.TimerHandle | None = None
        self.leg: Leg | None = None


class Admission:
    """Counts and remembers. `clock` and `chance` are the tests' to set."""

    def __init__(
        self,
        events: Events,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.limits = Limits()
        self._events = events
        self._clock = clock
        self._chance = chance
        self._sources = Sources()
        self._throttle = Throttle()
        # All that have not logged in, and those of them that hear nothing of us yet, by source.
        self._startups: StartupTable[Startup] = StartupTable()
        self._held_back: dict[str, dict[Startup, None]] = {}

    def __len__(self) -> int:
        """How many have not logged in."""
        return len(self._startups)

    # -- a connection comes

    def admit(
        self,
        address: str,
        begin: Callable[[Startup], Leg | None],
        refuse: Callable[[str], object],
        sock: socket.socket | None = None,
        *,
        scarce: bool = False,
    ) -> None:
        """A connection from this address came.

        Args:
            begin: is called when it may be spoken with, now or later; makes its leg, or returns
                None if it is gone.
            refuse: is called with the reason, now or later, if it may not.
            sock: tells while it is held back whether its peer is still there.
            scarce: descriptors run out; somebody has to go for it.
        """
        source = source_of(address, self.limits.per_source_net_block_size)
        reason = self._refusal(source, scarce)
        if reason:
            refuse(reason)
            return
        if scarce or len(self._startups) >= self.limits.max_startups.full:
            self.make_room()
        startup = Startup(source, begin, refuse, sock)
        self._startups.add(source, startup)
        delay = self._throttle.attempt(source, self._clock())
        if delay:
            self.hit("attempts-per-second")
            self._held_back.setdefault(source, {})[startup] = None
            loop = asyncio.get_running_loop()
            startup.turn = loop.call_later(delay, self._begin, startup)
        else:
            self._begin(startup)

    def _refusal(self, source: str, scarce: bool) -> str:
        """Why a newcomer from this source is not let in; empty: it is."""
        limit = self._startups.refusal(source, self.limits, self._chance(), scarce=scarce)
        if limit and self._forget_gone(source):
            limit = self._startups.refusal(source, self.limits, self._chance(), scarce=scarce)
        if limit:
            self.hit(limit)
            return _REASONS[limit]
        if self._sources.wait(source, self._clock()):
            self.hit("max-failed-tries")
            return "Too many failed tries, come back later"
        return ""

    def _forget_gone(self, source: str) -> bool:
        """Forget those of a source that are held back and did not wait: nobody reads them, so that
        they would stand in the way of others until their turn came. Were there any?"""
        held = islice(self._held_back.get(source, ()), CHECKED_AT_ONCE)
        waiting = {startup.sock: startup for startup in held if startup.sock is not None}
        gone = hung_up(waiting)
        for sock in gone:
            self._discard(waiting[sock])
            sock.close()
        return bool(gone)

    def make_room(self) -> None:
        """The oldest of the source that has most gives way to somebody else."""
        oldest = self._startups.oldest_of_most()
        if oldest is None:
            return
        self.hit("max-startups")
        self._discard(oldest)
        if oldest.leg is not None:
            oldest.leg.fail(LegLost("too many have not logged in, and its address has most"))
        else:
            oldest.refuse(_REASONS["max-startups"])

    def _begin(self, startup: Startup) -> None:
        """Speak with whoever is there."""
        self._release(startup)
        startup.leg = startup.begin(startup)
        if startup.leg is None:
            self._discard(startup)

    def _release(self, startup: Startup) -> None:
        """It is held back no longer."""
        if startup.turn is None:
            return
        startup.turn.cancel()
        startup.turn = None
        held = self._held_back[startup.source]
        del held[startup]
        if not held:
            del self._held_back[startup.source]

    def _discard(self, startup: Startup) -> None:
        self._release(startup)
        self._startups.discard(startup.source, startup)

    def close(self) -> None:
        """Nobody is held back any longer."""
        held_back = [startup for held in self._held_back.values() for startup in held]
        for startup in held_back:
            self._discard(startup)
            startup.refuse("Not allowed at this time")

    # -- what becomes of it

    def logged_in(self, startup: Startup) -> None:
        """Somebody there has a good key."""
        self._discard(startup)
        self._sources.logged_in(startup.source)
        self._throttle.logged_in(startup.source)

    def gone(self, startup: Startup, tries: int) -> None:
        """It ended without a login, after so many refused tries."""
        self._discard(startup)
        # The first is the method "none", by which a client asks what methods there are.
        if tries > 1 and self.limits.max_failed_tries:
            free = self.limits.max_failed_tries
            self._sources.failed(startup.source, tries - 1, free, self._clock())

    def hit(self, limit: str) -> None:
        """A limit was hit."""
        self._events.emit(LimitHit(limit))


def turn_away(sock: socket.socket, reason: str) -> None:
    """Close a connection with one line before our version line, as RFC 4253 §4.2 permits, and as
    sshd does."""
    sock.setblocking(False)
    try:
        sock.send(f"{reason}\r\n".encode())
    except OSError:
        pass
    sock.close()
