"""Opens that wait for their service: neither granted nor refused yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from typing import NoReturn

from relay.core.handler import ChannelHandler, OpenRefused
from relay.core.hold import Hold
from relay.core.services import Service, ServiceKey, service_key, wanted_key
from relay.errors import ProtocolViolation
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
        self._number = self.leg.mux.add(self)
        self._waits(self)

    def try_again(self) -> None:
        """It waits no more: pass the open on, or refuse it."""
        if not self.leg.alive:
            return
        sender, window, packet = self._open
        self.leg.mux.remove(self._number)
        try:
            handler = self._again()
        except OpenRefused as refusal:
            self.leg.out.send_payload(messages.open_failure(sender, refusal.code, str(refusal)))
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


class HeldOpens:
    """All that wait, and the clock that `Hold` goes by."""

    def __init__(self, seconds: float) -> None:
        self._hold: Hold[ServerLeg, HeldOpen] = Hold(seconds)
        self._began = asyncio.get_running_loop().time()
        # When the next of them have waited in vain.
        self._ends: asyncio.TimerHandle | None = None

    @property
    def is_new(self) -> bool:
        """Did it begin so lately that who was there before may not be back? For as long as a lost
        service is missed, since each was lost then."""
        return asyncio.get_running_loop().time() < self._began + self._hold.seconds

    def configure(self, seconds: float) -> None:
        """A lost service is missed for so long from now on."""
        self._hold.seconds = seconds
        self._expire()

    def lost(self, service: Service[ServerLeg]) -> None:
        """The leg of its only agent is gone: who opens it now waits until it is back."""
        now, holder = asyncio.get_running_loop().time(), service.holder
        key = service_key(service.bind, service.port)
        self._hold.lost(key, holder, now, holder.identity)
        self._await_end()

    def missed(self) -> Iterator[tuple[ServiceKey, ServerLeg, float]]:
        """As of `Hold`, in the loop's time."""
        return self._hold.missed()

    def published(self, service: Service[ServerLeg]) -> None:
        """It is there again."""
        held = self._hold.end(service_key(service.bind, service.port))
        # Later: the agent hears first that it is published.
        asyncio.get_running_loop().call_soon(_try_again, held)

    def forget(self, may_return: Callable[[ServerLeg], bool]) -> None:
        """Keys have changed: what some had published will not come back."""
        _try_again(self._hold.forget(may_return))

    def takes(self, leg: ServerLeg, host: str, port: int) -> bool:
        """May an open of this leg wait for what it wants?"""
        key = wanted_key(host, port)
        now = asyncio.get_running_loop().time()
        return key is not None and self._hold.takes(key, now, leg.identity)

    def hold(
        self, leg: ServerLeg, host: str, port: int, again: Callable[[], ChannelHandler]
    ) -> HeldOpen:
        """It does; `takes` was asked before."""
        key = wanted_key(host, port)
        assert key is not None
        waits = partial(self._hold.wait, key, whose=leg.identity)
        return HeldOpen(leg, again, waits, self._hold.leave)

    def stop(self) -> None:
        """Nobody waits any longer."""
        _try_again(self._hold.stop())
        if self._ends is not None:
            self._ends.cancel()
            self._ends = None

    def _expire(self) -> None:
        """Whose time is over?"""
        if self._ends is not None:
            self._ends.cancel()
            self._ends = None
        _try_again(self._hold.expire(asyncio.get_running_loop().time()))
        self._await_end()

    def _await_end(self) -> None:
        due = self._hold.due()
        if self._ends is None and due is not None:
            self._ends = asyncio.get_running_loop().call_at(due, self._expire)


def _try_again(held: list[HeldOpen]) -> None:
    """Pass them on to the service, or refuse them if it is not there."""
    for one in held:
        one.try_again()
