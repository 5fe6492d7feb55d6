"""What happens in a program, as typed facts. The log is one sink of them; metrics, the page and the
library's `events()` are others.

    events = Events(LogSink(log))
    unsubscribe = events.subscribe(sink)
    events.emit(LimitHit("max-startups"))

An event says what happened and nothing of how that is told: its level, its sentence and how often
it is worth one are the log's business (relay/observe/lines.py). What is read rather than told (how
many bytes, how many streams) is no event; relay/server/counters.py has it. What nobody but a
reader of the log has a use for is a `Note`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from relay.errors import INTERNAL

Level = Literal["debug", "info", "warning", "error"]
Field = str | int | float | None
"""What a line of the log can show."""

_log: Final = logging.getLogger(INTERNAL)


class Event:
    """Base of all events. They are immutable: a sink may keep one."""

    __slots__ = ()


Sink = Callable[[Event], object]
"""Is called with each event as it happens, in the event loop: it must not wait."""


class Events:
    """Where a program says what happened, and who is told."""

    def __init__(self, *sinks: Sink) -> None:
        # Replaced, never changed: a sink may subscribe another while it is called.
        self._sinks = sinks

    def subscribe(self, sink: Sink) -> Callable[[], None]:
        """Call `sink` with every event from now on, until what is returned is called."""
        self._sinks += (sink,)

        def unsubscribe() -> None:
            self._sinks = tuple(one for one in self._sinks if one is not sink)

        return unsubscribe

    def emit(self, event: Event) -> None:
        """Tell every sink. One that fails is our fault, and keeps nobody from anything."""
        for sink in self._sinks:
            try:
                sink(event)
            except Exception:
                _log.exception("internal error while telling of %r", event)

    def note(
        self, level: Level, name: str, text: str, /, *, per: str = "", **fields: Field
    ) -> None:
        """Tell whoever reads the log; the arguments are those of `Note`."""
        if self._sinks:
            self.emit(Note(level, name, text, per, fields))


@dataclass(frozen=True, slots=True)
class Note(Event):
    """A line of the log that no program has a use for."""

    level: Level
    name: str
    text: str
    """A `str.format` template over `fields`."""
    per: str
    """Who can cause it as often as it likes; empty: nobody."""
    fields: Mapping[str, Field]


@dataclass(frozen=True, slots=True)
class LegName:
    """A leg, as events name it."""

    number: int
    """No other leg of the process has had it."""
    fingerprint: str
    """Of the key that its client showed last and that may log in: the one that it has proved to
    have, once it is logged in. Empty: none yet."""
    comment: str
    """That key's comment in authorized_keys."""
    peer: str
    """Where it comes from."""

    @property
    def who(self) -> str:
        """Its client."""
        if not self.fingerprint:
            return "nobody"
        return f"{self.fingerprint} ({self.comment or 'no comment'})"

    def __str__(self) -> str:
        return f"{self.who} at {self.peer}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamClosed(Event):
    """Base of what is told when such a stream is over."""

    received: int
    """Bytes from the leg to the socket."""
    sent: int
    refused: bool
    """It never came to be, because one side or the other said no."""
    reason: str
    """Empty: it ended by itself."""
