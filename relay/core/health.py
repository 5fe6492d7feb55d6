"""Is a service there? What follows from one result after the other of asking it.

    state      a good result                       a bad result
    UNKNOWN    UP                                  DOWN
    UP         UP                                  DOWN, the `count`-th in a row; else UP
    DOWN       UP, the n-th in a row; else DOWN    DOWN

The first result decides alone: a service that is still being started when its agent is must not be
published first. Afterwards one result says little, and `count` of them in a row are needed.

A service that comes and goes would have its name come and go as often, and each time streams of
somebody would break. So n is `count` at first, and doubles, up to `MOST_TIMES` as many, with each
fall that comes before it has been up for `STEADY`; a fall later than that begins anew.

Pure: results come with their time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from relay.core.forward import Forward
from relay.core.services import unmarked
from relay.errors import UsageError

STEADY: Final = 300.0
"""Seconds for which a service must have been up for its earlier falls to be forgotten."""

MOST_TIMES: Final = 16
"""Results that are needed at most, in multiples of `count`: with the defaults, a service that has
fallen over and over is back 160 s after it has become whole, and falls no more often than that."""

HTTP: Final = "http:/"
"""How a check by HTTP is written; the path begins with its last character."""


class State(Enum):
    """What is known of a service."""

    UNKNOWN = "unknown"
    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Check:
    """How a service is asked."""

    path: str = ""
    """Of an HTTP request, which 2xx or 3xx must answer; empty: it must take a connection."""


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often, and what its answers are worth."""

    interval: float
    """Seconds from the begin of one question to that of the next."""
    timeout: float
    """Seconds in which it must have answered."""
    count: int
    """Results in a row that change the state; see above."""


@dataclass(frozen=True, slots=True)
class Checks:
    """What is checked, and how."""

    rhythm: Rhythm
    each: Check | None
    """Where nothing else is said; None: those are not checked."""
    named: Mapping[str, Check]
    """By where they are published, as `Forward.listening` has it."""

    def of(self, forward: Forward) -> Check | None:
        """None: it is not checked. (Where a stream names its own target there is none to ask.)"""
        if forward.dynamic:
            return None
        return self.named.get(unmarked(forward.listening), self.each)


def parse_check(text: str) -> tuple[str, Check]:
    """`tcp` or `http:/path`, with `NAME:PORT=` before it for one service alone. Returns that name
    too, or nothing. Raises `UsageError`."""
    name, how = "", text
    if not text.startswith(HTTP):
        before, is_named, after = text.partition("=")
        name, how = (before, after) if is_named else ("", text)
    if how == "tcp":
        return name, Check()
    path = how.removeprefix("http:")
    if how.startswith(HTTP) and path.isascii() and path.isprintable() and " " not in path:
        return name, Check(path)
    raise UsageError(
        f"{text!r} is no check: give tcp or http:/path, or for one service alone "
        "gpu1:8000=tcp or gpu1:8000=http:/path"
    )


class Health:
    """What is known of one service."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.state = State.UNKNOWN
        # Why the last bad result was bad, and when the run of bad ones began that it belongs to.
        # DOWN: it is not over before the service is up.
        self.problem = ""
        self.since = 0.0
        # How many results there were in a row that speak against the state.
        self._against = 0
        # When it came up last, whether it has fallen before, and how many good results in a row
        # its next return takes.
        self._up_since = 0.0
        self._fell = False
        self._needed = count

    def result(self, problem: str, now: float) -> bool:
        """One more result; an empty `problem` is a good one. Is the state another one now?"""
        is_down = self.state is State.DOWN
        if problem:
            self.problem = problem
            if not is_down and not self._against:
                self.since = now
        self._against = self._against + 1 if bool(problem) is not is_down else 0
        needed = self._needed if is_down else self._count
        if self.state is State.UNKNOWN:
            self._becomes(State.DOWN if problem else State.UP, now)
        elif self._against >= needed:
            self._becomes(State.UP if is_down else State.DOWN, now)
        else:
            return False
        return True

    def _becomes(self, state: State, now: float) -> None:
        if state is State.UP:
            self._up_since = now
        elif self.state is State.UP:
            again = self._fell and now - self._up_since < STEADY
            most = MOST_TIMES * self._count
            self._needed = min(2 * self._needed, most) if again else self._count
            self._fell = True
        self.state = state
        self._against = 0
