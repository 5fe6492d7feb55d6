"""When to try again, and when to say so again: numbers and nothing else.

The wait before a try is drawn evenly from zero to a ceiling that doubles with each failure ("full
jitter"). Whoever was connected to one B loses it at the same moment, and with any rule that has no
chance in it they would all come back at the same moment too.

Three things keep the wait in proportion. It is never longer than B has been away, so that a few
short draws do not let the ceiling run ahead of the clock: who was away for two seconds is found
again within about two more. Somebody who waits for B now makes it short (`WANTED`). And nobody
can hurry a refusal that only a person can undo (`SLOW`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

FIRST: Final = 0.5
"""Seconds: the first ceiling. Most losses are a restart or a changed address, over at once."""

LONGEST: Final = 30.0
"""Seconds: the last ceiling. A B that is back after an hour has everybody back in half a minute,
and a B that is down is asked four times a minute by each."""

HELD: Final = 10.0
"""Seconds that a connection must have held to begin anew with `FIRST`. One that is closed as soon
as it is made must not be made twice a second for ever."""

WANTED: Final = 4.0
"""Seconds: the last ceiling while somebody waits for the connection. It is well below what anybody
waits (`--wait`, 15 s), so that a B that is back is found in time, and a thousand clients that are
all waited for are still spread over seconds."""

URGENT: Final = 1.0
"""Seconds: the same while streams stand still that go on where they were as soon as there is a way,
on both sides of it. What is drawn stands half of that away on the average, so that a B that is back
has them going within a second. Only those do so who had streams open when it went."""

SLOW: Final = 120.0
"""Seconds at most between tries after a refusal that only a person can undo, by editing a file
somewhere: often enough for whoever has just done so, and so seldom that B, which forgives a source
a refused key every `FORGIVEN_AFTER`, does not take the tries of some keys for an attack."""

REMINDED: Final = 60.0
"""Seconds without a line, while there is no connection, after which one says that it is still
tried: who looks must not have to guess whether the program lives."""

HURRIED: Final = 1.0
"""Seconds that must lie between two tries when the other side says that it is worth trying now."""

SAID_AGAIN: Final = 60.0
"""Seconds after which a reason that has not changed is said a second time; twice as many for each
further time, up to `SAID_RARELY`."""

SAID_RARELY: Final = 3600.0

MAX_REASONS: Final = 16
"""Reasons that are remembered as said. They may hold what a peer wrote, so there may be any
number of them; real ones are few."""

Random = Callable[[], float]
"""A number from 0 to 1, as `random.random`."""


class Backoff:
    """The waits between the tries of one thing."""

    def __init__(self, random: Random, *, first: float = FIRST, longest: float = LONGEST) -> None:
        self._random = random
        self._first = first
        self._longest = longest
        self._ceiling = first

    def next(self, away: float = math.inf) -> float:
        """Seconds to wait after one more failure; `away` is how long there has been no connection
        that held."""
        # Drawn always at its longest, the sum of the waits is what this lets pass.
        ceiling = min(self._ceiling, self._first + away)
        self._ceiling = min(2 * self._ceiling, self._longest)
        return ceiling * self._random()

    def wanted(self) -> float:
        """Seconds to wait at most, from when somebody waits for the connection."""
        return WANTED * self._random()

    def urgent(self) -> float:
        """The same while streams stand still until there is one."""
        return URGENT * self._random()

    def slow(self) -> float:
        """Seconds to wait after a refusal that will not change by itself."""
        return SLOW * (1 + self._random()) / 2

    def reset(self) -> None:
        """It has worked: the next failure is a first one."""
        self._ceiling = self._first


class Repeats:
    """Whether a reason is worth a line: the first time, and then ever more rarely."""

    def __init__(self) -> None:
        # For each reason, when it may be said again and how long the pause after that will be.
        self._said: dict[str, tuple[float, float]] = {}

    def due(self, reason: str, now: float) -> bool:
        """Is `reason` to be said at the time `now`? If so, it counts as said."""
        again, pause = self._said.get(reason, (now, SAID_AGAIN))
        if now < again:
            return False
        if len(self._said) >= MAX_REASONS:
            self._said.clear()
        self._said[reason] = now + pause, min(2 * pause, SAID_RARELY)
        return True

    def reset(self) -> None:
        """It has worked: the next failure is news."""
        self._said.clear()
