"""Events on their way from the link's loop to whoever asks for them."""

from __future__ import annotations

from collections import deque
from typing import Final

import anyio

from relay.events import Event, Events, Note

MOST_EVENTS: Final = 1000
"""Events that wait for a reader; who does not read loses the oldest. An event a second for a
quarter of an hour."""


class Feed:
    """The events of one reader. All is called in the link's loop."""

    def __init__(self) -> None:
        self._waiting: deque[Event] = deque(maxlen=MOST_EVENTS)
        self._ended = False

    def begin(self, events: Events) -> None:
        # Made here, in the loop.
        self._changed = anyio.Event()
        self._unsubscribe = events.subscribe(self._happened)

    def _happened(self, event: Event) -> None:
        if not isinstance(event, Note):  # These are for readers of a log.
            self._waiting.append(event)
            self._tell()

    async def next(self) -> Event | None:
        """The next one; None: there will be none."""
        while not self._waiting:
            if self._ended:
                return None
            await self._changed.wait()
        return self._waiting.popleft()

    def end(self) -> None:
        """There will be no more."""
        if not self._ended:
            self._ended = True
            self._unsubscribe()
            self._tell()

    def _tell(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()
