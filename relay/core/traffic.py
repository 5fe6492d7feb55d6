"""How much went over a leg, or to a service: streams and their bytes.

It is counted when a stream begins and when it is over. What an open stream has moved so far is in
the stream, and is *settled* when somebody wants to know (relay/server/reading.py): added here, and
remembered by the stream as counted. So a byte is counted once, whenever its stream ends, and the
data path counts nothing more.
"""

from __future__ import annotations


class Traffic:
    """Of one leg, one service, or all of them."""

    __slots__ = ("open", "opened", "received", "sent", "stalls")

    def __init__(self) -> None:
        # Streams that are open or asked for.
        self.open = 0
        # All that there were.
        self.opened = 0
        # Bytes, those of open streams as far as they are settled: from whom this is about, and to
        # it. They never become fewer.
        self.received = 0
        self.sent = 0
        # How often one side of a stream was held back because too much waited for the other.
        self.stalls = 0

    def begun(self) -> None:
        """A stream was asked for."""
        self.open += 1
        self.opened += 1

    def ended(self) -> None:
        """It is over, and settled."""
        self.open -= 1

    def moved(self, received: int, sent: int) -> None:
        """So many bytes more."""
        self.received += received
        self.sent += sent
