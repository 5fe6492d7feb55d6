"""Is the peer there? Asked by a global request that any server and client answers, as ssh does.

A clock that is read, not a timer that is made anew for each packet.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from relay.core.requests import Answered

NEVER_GIVE_UP: Final = 2**31 - 1
"""Questions without an answer after which a peer is given up, where it never is."""

LONGEST_PATIENCE: Final = 24 * 3600.0
"""Seconds of silence that are worth telling the kernel of, which gives up earlier by itself: its
timeouts are counted in 31 bits of milliseconds."""


class Owner(Protocol):
    """The leg."""

    @property
    def listening(self) -> bool:
        """Is the peer's input read at present?"""

    def ask_whether_alive(self, answered: Answered) -> None:
        """Ask the peer anything that it must answer, if only by a refusal."""

    def gives_no_answer(self) -> None:
        """The peer is given up."""


class Keepalive:
    """Made in a running event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, owner: Owner) -> None:
        self._loop = loop
        self._owner = owner
        # The loop's time at which the peer was last heard. The leg's to set.
        self.heard = loop.time()
        # Seconds of silence after which the peer is asked, and questions without an answer after
        # which it is given up; 0 seconds: never.
        self._interval = 0.0
        self._count_max = 0
        self._unanswered = 0
        # Between `begin` and `stop`; there is a timer then, unless the interval is 0.
        self._runs = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def silence(self) -> float:
        """Seconds since the peer was last heard."""
        return self._loop.time() - self.heard

    @property
    def patience(self) -> float:
        """Seconds of silence after which the peer is given up; 0: it never is, or so late that it
        makes no difference."""
        seconds = self._interval * (self._count_max + 1)
        return seconds if seconds <= LONGEST_PATIENCE else 0.0

    def set(self, interval: float, count_max: int) -> None:
        """Ask after so many seconds of silence, and give up after so many questions."""
        self._interval, self._count_max = interval, count_max
        self._wait(interval)

    def begin(self) -> None:
        """The login is over: no server takes a global request before (RFC 4252 §6). Or the leg
        has a carrier again."""
        self.heard = self._loop.time()
        self._unanswered = 0
        self._runs = True
        self._wait(self._interval)

    def stop(self) -> None:
        """The leg is over, or has no carrier."""
        self._runs = False
        self._wait(0.0)

    def _wait(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._runs and self._interval:
            self._timer = self._loop.call_later(seconds, self._check)

    def _check(self) -> None:
        # Whom we do not listen to may have said much.
        silence = self.silence if self._owner.listening else 0.0
        if silence < self._interval:
            self._unanswered = 0
            self._wait(self._interval - silence)
            return
        self._unanswered += 1
        if self._unanswered > self._count_max:
            self._owner.gives_no_answer()
            return
        self._wait(self._interval)
        self._owner.ask_whether_alive(self._answered)

    def _answered(self, fields: bytes | None) -> None:
        self._unanswered = 0
