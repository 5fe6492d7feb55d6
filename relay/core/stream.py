"""What a leg runs on, as its mux sees it, and who waits for a leg."""

from __future__ import annotations

from typing import Protocol

from relay.core.output import Taker


class Stream(Taker, Protocol):
    """What a leg runs on: a socket, or a channel of an outer leg."""

    def await_room(self) -> None:
        """Call `flush` when more can be taken."""

    def pause(self, reason: object) -> None:
        """Bring no more until `resume` is called with every reason that was given."""

    def resume(self, reason: object) -> None:
        """Take back a reason; without effect if it was not given."""


class InnerStream(Stream, Protocol):
    """A channel of an outer leg."""

    headroom: int
    tailroom: int

    @property
    def max_data(self) -> int: ...

    @property
    def has_room(self) -> bool: ...

    def carry(self, view: memoryview, start: int, size: int) -> bool:
        """Send a sealed packet in its memory; False: there is no room, nothing was sent."""


class Waiter(Protocol):
    """Somebody who stopped because a leg was full."""

    def leg_has_room(self) -> None: ...
