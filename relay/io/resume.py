"""The stream of a session that may change its carrier: `core/resume.py` with channels under it.

    inner leg ─► ResumableStream ─► NestedStream (one after the other) ─► outer leg

What is kept is copied before the outer seal, which is made in the same memory. As long as all that
was made is on its way, a packet goes by `carry`, sealed twice where it lies; what waits for a new
carrier, or for room on it, goes in pieces as a stock ssh's does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from relay.core.limits import ACKNOWLEDGED_WITHIN, ANSWERS_PER_LEG
from relay.core.output import Buffer
from relay.core.resume import Resumable, State
from relay.core.retained import Budget
from relay.errors import LegLost
from relay.io.nested import NestedStream
from relay.io.stream import Reader
from relay.wire.resume import ATTACH_SIZE, Attach, may_be_attach, parse_attach


class Session(Reader, Protocol):
    """The inner leg."""

    def says_received(self, received: int, wanted: bool) -> None:
        """Send `RESUME_RECEIVED`."""

    def held(self) -> None:
        """Its carrier is lost, and there is no other yet."""

    def goes_on(self, away: float) -> None:
        """It has a carrier again, after so many seconds."""

    def let_go(self) -> None:
        """The carrier that it had is not used any more."""


class _Carrier:
    """A channel, as long as it is the stream's. Its `Reader`."""

    def __init__(self, stream: ResumableStream, channel: NestedStream) -> None:
        self._stream = stream
        self.channel = channel

    def received(self, view: memoryview, start: int, end: int) -> int:
        return self._stream.came(self, view, start, end)

    def flush(self) -> None:
        self._stream.has_more_room(self)

    def wake(self) -> None:
        """Nobody waits here."""

    def stream_lost(self, error: Exception | None) -> None:
        self._stream.carrier_lost(self, error)


class ResumableStream(Resumable):
    """What an inner leg runs on. C's begins with whatever comes: a session, or an attach."""

    def __init__(self, channel: NestedStream, budget: Budget) -> None:
        super().__init__(budget)
        self.engine = channel.engine
        self.headroom, self.tailroom = channel.headroom, channel.tailroom
        self.max_data = channel.max_data
        self._loop = channel.engine.loop
        self._reader: Session | None = None
        self._carrier: _Carrier | None = _Carrier(self, channel)
        # C: the carrier that is to take the place of that one.
        self._next: _Carrier | None = None
        # What goes first on a new carrier.
        self._first = b""
        # Why the leg is not fed; outlives the carrier.
        self._pauses: set[object] = set()
        # The leg waits to be told that there is room.
        self._awaited = False
        self._tell_timer: asyncio.TimerHandle | None = None
        self._lifetime_timer: asyncio.TimerHandle | None = None
        # Since when it is held.
        self._held_at = 0.0
        # C: what becomes of an attach, and what has come of one; None: this is no attach.
        self.attached: Callable[[Attach], None] | None = None
        self._opening: bytearray | None = None

    # -- how it begins

    def listen_for_attach(self, attached: Callable[[Attach], None]) -> None:
        """What comes may be an attach: then nothing else happens here but that `attached` is
        called. It has the channel taken over, or denies it."""
        self.attached, self._opening = attached, bytearray()

    def attach(self, reader: Session) -> None:
        """`reader`, the inner leg, is fed from now on."""
        self._reader = reader
        if self._carrier is not None:
            self._carrier.channel.attach(self._carrier)

    def start(self) -> None:
        """As a `Stream`'s."""
        if self._carrier is not None:
            self._carrier.channel.start()

    # -- in

    def came(self, carrier: _Carrier, view: memoryview, start: int, end: int) -> int:
        """From a carrier; returns where the first unused byte is."""
        if carrier is not self._carrier:
            return end
        if self._opening is not None:
            start = self._open(view, start, end)
            if self._opening is not None or carrier is not self._carrier:
                return start
        if self.state is State.ATTACHING:
            start += self.answer(view[start:end])
            if self._carrier is not carrier:
                return end
        reader = self._reader
        if reader is None or not self._flows or start == end:
            return start
        used = reader.received(view, start, end)
        if used > start and self.used(used - start) and self._tell_timer is None:
            self._tell_timer = self._loop.call_later(ACKNOWLEDGED_WITHIN, self._tell_late)
        return used

    def _open(self, view: memoryview, start: int, end: int) -> int:
        """The first bytes, which are not the session's if they are an attach's."""
        opening, attached = self._opening, self.attached
        assert opening is not None
        assert attached is not None
        data = bytes(opening) + bytes(view[start : min(end, start + ATTACH_SIZE - len(opening))])
        if not may_be_attach(data):
            # (Bytes of it that came before, if there were any, are lost with what cannot be SSH.)
            self._opening = self.attached = None
            return start
        taken = len(data) - len(opening)
        opening += data[len(opening) :]
        if len(opening) == ATTACH_SIZE:
            # Its version line has to be before the answer.
            if self._reader is not None:
                self._reader.flush()
            self._opening = self.attached = None
            attached(parse_attach(bytes(opening)))
        return start + taken

    def _tell_late(self) -> None:
        self._tell_timer = None
        self.tell()

    def pause(self, reason: object) -> None:
        self._pauses.add(reason)
        if self._carrier is not None:
            self._carrier.channel.pause(reason)

    def resume(self, reason: object) -> None:
        self._pauses.discard(reason)
        if self._carrier is not None:
            self._carrier.channel.resume(reason)

    # -- out

    @property
    def has_room(self) -> bool:
        """A packet would begin to leave at once, and may be kept."""
        carrier = self._carrier
        return (
            carrier is not None
            and self._flows
            and not self.out.unsent
            and carrier.channel.has_room
            and not self.out.full
        )

    def carry(self, view: memoryview, start: int, size: int) -> bool:
        """As a `NestedStream`'s. What is kept is copied before the outer seal."""
        carrier, out = self._carrier, self.out
        if carrier is None or out.unsent or not self._flows:
            return False
        if not out.keeping:
            if not carrier.channel.carry(view, start, size):
                return False
            out.passed(size)
            return True
        if carrier.channel.headroom > self.headroom:
            return False  # The new way leads over more hosts than the first.
        copy = bytes(view[start : start + size])
        if not carrier.channel.carry(view, start, size):
            return False
        out.carried(copy)
        return True

    def send(self, buffers: list[Buffer]) -> int:
        """As a `Stream`'s. All is taken that is given, whether there is room or not: what can wait
        was not given then (`has_room`). Only where the carrier takes nothing, nor does this."""
        if self.state is State.OVER:
            return sum(map(len, buffers))
        self._push()
        out, carrier = self.out, self._carrier
        if not out.keeping:
            assert carrier is not None
            sent = 0 if out.unsent else carrier.channel.send(buffers)
            if sent:
                out.passed(sent)
            return sent
        if self._flows and out.unsent > ANSWERS_PER_LEG:
            return 0
        data = bytes(buffers[0]) if len(buffers) == 1 else b"".join(buffers)
        out.add(data)
        self._push()
        self._check_reserve()
        return len(data)

    def _push(self) -> None:
        """Give the carrier what it takes."""
        carrier = self._carrier
        if carrier is None:
            return
        while self._first:
            sent = carrier.channel.send([self._first])
            self._first = self._first[sent:]
            if not sent:
                carrier.channel.await_room()
                return
        while self.out.unsent and self._flows:
            pieces = self.out.pieces()
            sent = carrier.channel.send([*pieces])
            self.out.took(sent)
            if sent < sum(map(len, pieces)):
                carrier.channel.await_room()
                return

    def await_room(self) -> None:
        """Call the leg's `flush` when there is room again."""
        self._awaited = True
        self.ask_for_room()
        if self._carrier is not None and not self._carrier.channel.has_room:
            self._carrier.channel.await_room()

    def has_more_room(self, carrier: _Carrier) -> None:
        """A carrier takes bytes again."""
        if carrier is not self._carrier:
            return
        self._push()
        if carrier.channel.over and self.resumable:
            # It cannot tell, as long as the leg takes nothing from it.
            self.lost(carrier.channel.reason)
        else:
            self._may_make()

    def _may_make(self) -> None:
        if self._awaited and self._reader is not None:
            self._awaited = False
            self.engine.mark(self._reader)

    def _acknowledge(self, received: int, wanted: bool) -> None:
        if self._reader is not None:
            self._reader.says_received(received, wanted)

    # -- it is held, and goes on

    def carrier_lost(self, carrier: _Carrier, error: Exception | None) -> None:
        """A carrier has come to its end."""
        if carrier is self._carrier:
            self.lost(str(error) if error else "the connection to the relay was lost")

    def _drop(self) -> None:
        carrier, self._carrier = self._carrier, None
        self._first = b""
        if carrier is not None:
            carrier.channel.abort()
            if self._reader is not None:
                self._reader.let_go()

    def _hold(self) -> None:
        self._held_at = self._loop.time()
        assert self.agreement is not None
        self._lifetime_timer = self._loop.call_later(
            self.agreement.lifetime / 1000, self.expired, "it was held for too long"
        )
        if self._reader is not None:
            self._reader.held()

    def attach_to(self, channel: NestedStream) -> None:
        """A: try with this channel, which is open."""
        first = self.begin_attach()
        if not first:
            channel.abort()
            return
        self._carrier = _Carrier(self, channel)
        channel.attach(self._carrier)
        self._first = first
        self._push()
        channel.start()

    def hand_over(self, other: ResumableStream, question: Attach) -> None:
        """C: the channel of this one, on which an attach came, carries `other` from now on."""
        carrier, self._carrier = self._carrier, None
        assert carrier is not None
        self.ended()
        other.take_over(carrier.channel, question)

    def take_over(self, channel: NestedStream, question: Attach) -> None:
        """C: an attach that `is_asked` came on this channel."""
        self._next = _Carrier(self, channel)
        first = self.accept(question)
        if self.state is State.OVER:
            channel.abort()
            return
        self._first = first
        self._push()
        self._loop.call_soon(channel.start)

    def _go_on(self) -> None:
        """(C's answer is not there yet, and is sent before all else.)"""
        if self._lifetime_timer is not None:
            self._lifetime_timer.cancel()
            self._lifetime_timer = None
        if self._next is not None:
            self._carrier, self._next = self._next, None
            self._carrier.channel.attach(self._carrier)
        assert self._carrier is not None
        for reason in self._pauses:
            self._carrier.channel.pause(reason)
        if self._reader is not None:
            self._reader.goes_on(self._loop.time() - self._held_at if self._held_at else 0.0)
            self._held_at = 0.0
            # What is unsent, and the next of the leg.
            self.engine.mark(self)
            self.engine.mark(self._reader)

    def flush(self) -> None:
        """The engine's turn."""
        self._push()

    def wake(self) -> None:
        """Nobody waits here."""

    @property
    def about(self) -> str:
        """For a person who asks."""
        if not self.resumable or self.agreement is None:
            return "no"
        seconds = self._loop.time() - self._held_at
        most = self.agreement.lifetime / 1000
        return f"held for {seconds:.0f} of {most:.0f} s" if self.held else f"for {most:.0f} s"

    # -- how it ends

    def _reset(self) -> None:
        if self._reader is not None:
            # Told later: whoever found it may be in the middle of something.
            self._loop.call_soon(self._reader.stream_lost, LegLost(self.reason))

    def deny(self, line: bytes) -> None:
        """C: say no to an attach."""
        if self._carrier is not None:
            self._carrier.channel.send([line])

    def abort(self) -> None:
        """The leg is over: close the carrier; what was given to it is still sent."""
        if self._reader is not None:
            self._reader.flush()
        self.ended()
        for timer in (self._tell_timer, self._lifetime_timer):
            if timer is not None:
                timer.cancel()
        self._drop()
