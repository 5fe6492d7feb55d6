"""How fast one source may try: a stranger costs a key exchange, which costs us more than him.

Each source may make a number of attempts at once, and then so many a second; who is faster is not
refused but made to wait. A login gives its attempt back: a fleet behind one address that comes
back after a restart is as fast as its keys are good.
"""

from __future__ import annotations

from typing import Final

from relay.core.limits import ATTEMPTS_AT_ONCE, ATTEMPTS_PER_SECOND, FAILED_SOURCES

_INTERVAL: Final = 1 / ATTEMPTS_PER_SECOND


class Throttle:
    """When the attempts of each source are paid for. Every `now` is seconds of one clock."""

    def __init__(self, size: int = FAILED_SOURCES) -> None:
        self._size = size
        # The one that tried last is at the end, so that the front is forgotten first.
        self._paid_at: dict[str, float] = {}

    def attempt(self, source: str, now: float) -> float:
        """A connection came from there; the seconds for which it has to wait."""
        paid_at = max(self._paid_at.pop(source, now), now) + _INTERVAL
        self._paid_at[source] = paid_at
        if len(self._paid_at) > self._size:
            del self._paid_at[next(iter(self._paid_at))]
        # Rounded: what floats cannot hold exactly is not for a client to wait.
        return max(0.0, round(paid_at - now - ATTEMPTS_AT_ONCE * _INTERVAL, 6))

    def logged_in(self, source: str) -> None:
        """An attempt from there was no stranger's."""
        if source in self._paid_at:
            self._paid_at[source] -= _INTERVAL
