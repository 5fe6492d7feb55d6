"""A stream's open that waits for its service: neither granted nor refused yet."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from relay.errors import ProtocolViolation
from relay.ssh.handler import ChannelHandler, OpenRefused
from relay.ssh.server import ServerLeg
from relay.wire import messages


class HeldOpen(ChannelHandler):
    """Stands in its leg's table while it waits, so that it counts as a channel and ends with the
    leg. The opener does not know its number: nothing may come for it."""

    def __init__(
        self,
        leg: ServerLeg,
        again: Callable[[], ChannelHandler],
        waits: Callable[[HeldOpen], object],
        leaves: Callable[[HeldOpen], object],
    ) -> None:
        """
        Args:
            leg: the opener's.
            again: looks for the service once more, and raises `OpenRefused` if it is not there.
            waits: is told when the open is there and waits.
            leaves: is told when the leg is gone.
        """
        self.leg = leg
        self._again = again
        self._waits = waits
        self._leaves = leaves

    def opened_by_peer(self, sender: int, window: int, packet: int) -> None:
        self._open = sender, window, packet
        self._number = self.leg.add_handler(self)
        self._waits(self)

    def try_again(self) -> None:
        """It waits no more: pass the open on, or refuse it."""
        if not self.leg.alive:
            return
        sender, window, packet = self._open
        self.leg.remove_channel(self._number)
        try:
            handler = self._again()
        except OpenRefused as refusal:
            self.leg.send_payload(messages.open_failure(sender, refusal.code, str(refusal)))
        else:
            handler.opened_by_peer(sender, window, packet)

    def leg_lost(self) -> None:
        self._leaves(self)

    # -- what must not come

    def _forbidden(self) -> NoReturn:
        raise ProtocolViolation(f"a message for channel {self._number}, which is not open")

    def data(self, view: memoryview, start: int, length: int, size: int) -> None:
        self._forbidden()

    def window_adjust(self, size: int) -> None:
        self._forbidden()

    def eof(self) -> None:
        self._forbidden()

    def peer_closed(self) -> None:
        self._forbidden()

    def request(self, want_reply: bool) -> None:
        self._forbidden()

    def confirmed(self, sender: int, window: int, packet: int) -> None:
        self._forbidden()

    def failed(self, code: int, reason: str) -> None:
        self._forbidden()
