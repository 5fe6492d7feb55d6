"""How much went over a leg, or to a service: streams and their bytes.

It is counted when a stream begins and when it is over. What an open stream has moved so far is in
the stream, and is added by who reads (relay/server/counters.py): the data path counts nothing more.
"""

from __future__ import annotations


class Traffic:
    """Of one leg, one service, or all of them."""

    __slots__ = ("open", "opened", "received", "sent")

    def __init__(self) -> None:
        # Streams that are open or asked for.
        self.open = 0
        # All that there were.
        self.opened = 0
        # Bytes of those that are over: from whom this is about, and to it.
        self.received = 0
        self.sent = 0

    def begun(self) -> None:
        """A stream was asked for."""
        self.open += 1
        self.opened += 1

    def ended(self, received: int, sent: int) -> None:
        """It is over."""
        self.open -= 1
        self.moved(received, sent)

    def moved(self, received: int, sent: int) -> None:
        """So many bytes more."""
        self.received += received
        self.sent += sent
