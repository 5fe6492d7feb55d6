"""B's part of the data path: a splice stands in the channel tables of two legs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from relay.core.channel import MIN_PACKET, Half
from relay.core.handler import ChannelHandler
from relay.core.limits import RELEASE_BELOW
from relay.core.splice import NO_ANSWER, TOO_SMALL, Cut, Retire, Send, Side, Splice, first_credit
from relay.core.traffic import Traffic
from relay.events import Events
from relay.events.server import SpliceClosed, SpliceOpened
from relay.server.routes import Route
from relay.ssh.patience import Patience
from relay.ssh.server import ServerLeg
from relay.wire.numbers import PRIVATE_FAILURES, OpenFailure


class SpliceEnd(ChannelHandler):
    """One side of a splice on its leg. Does what the `Splice` says."""

    def __init__(self, leg: ServerLeg, side: Side, stream: SplicedStream) -> None:
        self.leg = leg
        self.out = leg.out
        self.side = side
        self.stream = stream
        # It waits until its leg has room, and holds the other side back.
        self._waits = False

    def data(self, view: memoryview, start: int, length: int, size: int) -> None:
        stream = self.stream
        splice = stream.splice
        channel = splice.data(self.side, size)
        if channel is None:
            return
        there = stream.ends[1 - self.side]
        there.out.forward(view, start, length, channel)
        if splice.wants_release(there.side):
            there.release()

    def window_adjust(self, size: int) -> None:
        self.stream.splice.window_adjust(self.side, size)
        self.release()

    def release(self) -> None:
        """Let the other side send more of what this one takes, if this leg can carry it off."""
        stream, out = self.stream, self.out
        size = stream.splice.releasable(self.side)
        if size == 0:
            return
        if out.waiting > RELEASE_BELOW:
            if not self._waits:
                self._waits = True
                stream.stalled()
            out.await_room(self)
            return
        stream.run(stream.splice.release(self.side, size))

    def leg_has_room(self) -> None:
        self._waits = False
        self.release()

    def eof(self) -> None:
        self.stream.run(self.stream.splice.eof(self.side))

    def peer_closed(self) -> None:
        self.stream.run(self.stream.splice.close(self.side))

    def request(self, want_reply: bool) -> None:
        # The answer goes back: the other side has not caused it, and is not to wait for it.
        self.stream.run(self.stream.splice.request(self.side, want_reply), answers=True)

    def opened_by_peer(self, sender: int, window: int, packet: int) -> None:
        self.stream.open(sender, window, packet)

    def confirmed(self, sender: int, window: int, packet: int) -> None:
        self.stream.confirmed(self.side, sender, window, packet)

    def failed(self, code: int, reason: str) -> None:
        if code >= PRIVATE_FAILURES:  # What such a code means, B alone says to its clients.
            code = OpenFailure.CONNECT_FAILED
        self.stream.failed(self.side, code, reason)

    def overflow(self) -> None:
        self.stream.overflow(self.side)

    def leg_lost(self) -> None:
        self.stream.lost(self.side)


class SplicedStream:
    """A splice and its two ends, from A's CHANNEL_OPEN until both numbers are free again."""

    def __init__(
        self,
        opener: ServerLeg,
        route: Route,
        events: Events,
        elsewhere: Callable[[SplicedStream], SplicedStream | None] = lambda stream: None,
    ) -> None:
        """`elsewhere` makes the stream that is tried when this one's agent has refused it, or is
        lost before it has answered."""
        self._elsewhere = elsewhere
        self.began = time.monotonic()
        # Why it broke or never came to be; empty when it ended by itself.
        self.failure = ""
        self.ends = (
            SpliceEnd(opener, Side.OPENER, self),
            SpliceEnd(route.leg, Side.ACCEPTOR, self),
        )
        self.route = route
        # As it is now: its leg may be gone before the stream is over.
        self.opener, self._identity = opener.name, opener.identity
        self._events = events
        self._told_end = False
        # What of `bytes_from` is settled.
        self._settled = (0, 0)

    def open(self, sender: int, window: int, packet: int) -> None:
        """The opener's CHANNEL_OPEN has been read: ask the acceptor."""
        self._asked = sender, window, packet
        opener, acceptor = (first_credit(len(end.leg.mux.channels)) for end in self.ends)
        credit = self.ends[0].leg.engine.credit
        self.splice = Splice(sender, window, packet, credit, (opener, acceptor))
        leg = self.ends[Side.OPENER].leg
        leg.traffic.begun()
        self.route.begun(self._identity)
        for end, channel in zip(self.ends, self.splice.channels, strict=True):
            channel.local_id = end.leg.mux.add(end)
        self.run(self.splice.open(self.route.kind, self.route.fields(leg)))
        self.patience = Patience(self.ends[Side.ACCEPTOR].leg, self._give_up)

    def confirmed(self, side: Side, sender: int, window: int, packet: int) -> None:
        """A confirmation, which only the acceptor may send."""
        commands = self.splice.confirmed(side, sender, window, packet)
        self.patience.answered()
        if packet < MIN_PACKET:
            self.failure = TOO_SMALL
        self.run(commands)
        self.route.refused_at = -math.inf
        if not self.failure:
            self._events.emit(SpliceOpened(self.route.name, self.opener))

    def failed(self, side: Side, code: int, reason: str) -> None:
        """A refusal, which only the acceptor may send. Where the service is what refuses, another
        agent is asked that shares it."""
        if code == OpenFailure.CONNECT_FAILED:
            self.route.refused_at = self.ends[side].leg.loop.time()
            if self._goes_elsewhere(reason):
                return
        commands = self.splice.failed(side, code, reason)
        self.patience.answered()
        self.failure = reason
        self.run(commands)

    def _goes_elsewhere(self, reason: str) -> bool:
        """The acceptor will not serve this stream, for this reason. Does another?"""
        if not self.splice.is_awaited:
            return False
        other = self._elsewhere(self)
        if other is None:
            return False
        self.patience.answered()
        self.failure = f"{reason}; another agent is asked"
        self.run(self.splice.passed_over())
        other.ends[Side.OPENER].opened_by_peer(*self._asked)
        return True

    def _give_up(self) -> None:
        """The acceptor has not answered in time."""
        if not self.failure:
            self.failure = NO_ANSWER
        self.run(self.splice.overdue())

    def overflow(self, side: Side) -> None:
        """The leg of this side can hold no more."""
        if not self.failure:
            self.failure = "too much waits for who does not read it"
        self.run(self.splice.overflow(side))

    def end(self, reason: str) -> bool:
        """Break it off, once it is open. Returns whether it was."""
        if self.splice.over or self.splice.channels[Side.ACCEPTOR].sending is Half.WAITING:
            return False
        if not self.failure:
            self.failure = reason
        self.run(self.splice.overflow(Side.OPENER))
        return True

    def lost(self, side: Side) -> None:
        """A leg is gone."""
        if not self.failure:
            self.failure = "lost the opener" if side is Side.OPENER else "lost the agent"
        if side is Side.ACCEPTOR:
            self.patience.answered()
            if self._goes_elsewhere(self.failure):
                return
        self.run(self.splice.lost(side))

    def run(self, commands: list[Send | Cut | Retire], *, answers: bool = False) -> None:
        """Do what the splice says, in its order. `answers`: it goes to whom it comes from."""
        for command in commands:
            side = command.side
            end, channel = self.ends[side], self.splice.channels[side]
            if isinstance(command, Send):
                end.out.send_on_channel(channel, command.payload)
                if not answers:
                    end.out.throttle(self.ends[1 - side].out)
            elif isinstance(command, Cut):
                if end.out.cut(channel) and command.last:
                    end.out.send_payload(command.last)
            else:
                end.leg.mux.remove(channel.local_id)
        if self.splice.over and not self._told_end:
            self._told_end = True
            self._over()

    def stalled(self) -> None:
        """One side is held back, since too much waits for the other."""
        for traffic in (self.ends[Side.OPENER].leg.traffic, *self.route.traffics):
            traffic.stalls += 1

    # -- as of a `Visitor`

    @property
    def number(self) -> tuple[int, int]:
        """That of its opener's leg, and that of its channel there."""
        return self.opener.number, self.splice.channels[Side.OPENER].local_id

    @property
    def agent(self) -> int:
        """The number of its leg."""
        return self.route.leg.number

    @property
    def traffics(self) -> tuple[Traffic, ...]:
        """Whose stream it is, beside its opener's."""
        return self.route.traffics

    @property
    def moved(self) -> tuple[int, int]:
        """Bytes there, to the service, and back."""
        there, back = self.splice.bytes_from
        return there, back

    @property
    def waiting(self) -> int:
        """Bytes that B holds, for either side."""
        sides = zip(self.ends, self.splice.channels, strict=True)
        return sum(end.out.waiting_for(channel) for end, channel in sides)

    def settle(self) -> None:
        """Count what it has moved until now with the traffic of its legs and its service."""
        there, back = self.moved
        more_there, more_back = there - self._settled[0], back - self._settled[1]
        if more_there or more_back:
            self._settled = there, back
            self.ends[Side.OPENER].leg.traffic.moved(more_there, more_back)
            self.route.moved(more_there, more_back)

    def _over(self) -> None:
        self.settle()
        there, back = self.moved
        self.ends[Side.OPENER].leg.traffic.ended()
        self.route.ended(self._identity)
        seconds = time.monotonic() - self.began
        self._events.emit(
            SpliceClosed(self.route.name, self.opener, there, back, seconds, self.failure)
        )
