"""What leaves a leg: sealed where it lies, or waiting for its turn.

A data packet for a leg that can send is sealed in the memory in which it came, and leaves from
there before that memory is used again. While the leg's stream is full, or keys are being changed,
packets are copied out and wait in a `Backlog`, and leave in turn.

    forward, send_data ──seal──► Output ──flush──► stream
            └──► Backlog ─────────┘

What is sealed is sent in the order in which it was sealed: the cipher's counter is the packet's
place in the stream. So only what the stream is about to take is sealed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple, Protocol

from relay.core import backlog
from relay.core.backlog import Backlog
from relay.core.channel import Channel
from relay.core.handler import ChannelHandler
from relay.core.limits import (
    ANSWERS_PER_LEG,
    DEFERRED_PER_LEG,
    FLUSH_PACKETS,
    FLUSH_SIZE,
    OUTPUT_PER_LEG,
    STALL_BYTES,
    WAITING_PER_LEG,
)
from relay.core.output import Output
from relay.core.stream import InnerStream, Stream, Waiter
from relay.wire.cipher import Plain, Sealer
from relay.wire.numbers import MSG_CHANNEL_CLOSE, MSG_CHANNEL_DATA, MSG_CHANNEL_EOF
from relay.wire.packet import (
    LABEL_OFFSET,
    MAX_DATA,
    OVERHEAD,
    PAYLOAD_OFFSET,
    TAIL_ROOM,
    frame,
    write_label,
)

_ENDS: Final = (MSG_CHANNEL_EOF, MSG_CHANNEL_CLOSE)
"""Messages that have a place behind data. The others speak of the other direction, or answer: they
go ahead of it, so that a peer that does not read makes nobody keep more than two for a channel."""


class Shared(backlog.Shared, Protocol):
    """What the legs of one process share: the engine."""

    @property
    def too_much_for_one(self) -> int: ...

    def mark(self, leg: Outgoing) -> None:
        """Call `flush` at the end of the batch."""

    def wake(self, leg: Outgoing) -> None:
        """Call `wake` between two flushes."""


class Owner(Protocol):
    """What is told of a leg's sending."""

    def limit_hit(self, limit: str, /) -> object:
        """This limit, by its name, holds something up."""

    def others_wait(self) -> None:
        """Legs stand still until this one takes more."""

    def failed(self, error: Exception) -> None:
        """A fault of ours; the leg cannot go on. Called from within a flush: it raises nothing."""


class Outgoing:
    """The sending half of a `Mux`."""

    def __init__(
        self, shared: Shared, owner: Owner, channels: Mapping[int, ChannelHandler]
    ) -> None:
        self._shared = shared
        self._owner = owner
        self._channels = channels
        self.stream: Stream | None = None
        # The stream, when it is a channel of an outer leg.
        self._nested: InnerStream | None = None
        # What must be free in memory before and behind a packet that `forward` is given, for
        # the headers and tags of outer legs; and the largest data in a packet of this leg.
        self.headroom = 0
        self.tailroom = TAIL_ROOM
        self.max_data = MAX_DATA
        # The cipher in force, and what went out under its key.
        self.sealer: Sealer = Plain()
        self.sent_bytes = 0
        self.sent_packets = 0
        # Messages of RFC 4254 may be sent: the login is over, and we are not between our KEXINIT
        # and our NEWKEYS (RFC 4253 §7.1). The mux's to set.
        self.ready = False
        # Those that wait until they may.
        self.deferred: list[bytes] = []
        # Nothing is sent any more.
        self.closed = False
        # What may wait for this leg.
        self.waiting_limit = WAITING_PER_LEG
        # What is sealed and not sent. Until the end of the batch it may lie in the receive buffer
        # of the leg that it came from.
        self._output = Output()
        # The stream took less than it was given: it is waited for, and `_output` holds nothing
        # but memory of its own.
        self._blocked = False
        self._marked = False
        self._flushing = False
        # Unsealed packets that could not go at once.
        self._queue = Backlog(shared)
        # Who is to be told when this leg has room again, in the order in which they came.
        self._waiters: dict[Waiter, None] = {}
        # The legs that have stopped the reading of this one.
        self.paused_by: set[Outgoing] = set()
        # Bytes that the stream has taken in all.
        self.taken = 0

    def attach(self, stream: Stream) -> None:
        """Where it goes: a socket."""
        self.stream = stream

    def attach_nested(self, stream: InnerStream) -> None:
        """Where it goes: a channel of an outer leg."""
        self.stream = self._nested = stream
        self.headroom, self.tailroom = stream.headroom, stream.tailroom
        self.max_data = stream.max_data

    # -- data

    @property
    def has_room(self) -> bool:
        """A data packet would leave at once: nothing waits, and keys are not being changed."""
        if self._blocked or self._queue.waiting or not self.ready:
            return False
        return self._nested is None or self._nested.has_room

    def forward(self, view: memoryview, start: int, length: int, channel: Channel) -> None:
        """Send the opened data packet at `start` on `channel` of this leg. Who it comes from
        flushes at the end of its batch. Where too much waits already, the channel breaks."""
        if self.has_room:
            self.send_data(view, start, length, channel)
        else:
            self._enqueue(view, start, length, channel)

    def send_data(self, view: memoryview, start: int, length: int, channel: Channel) -> None:
        """Send the opened data packet at `start` on `channel`. The caller has asked `has_room`,
        and flushes before it uses the memory again."""
        write_label(view, start + LABEL_OFFSET, channel.remote_id)
        sealed = self.sealer.seal(view, start, length)
        if sealed is not None:
            self._sealed(sealed)
            return
        size = length + OVERHEAD
        self.sent_bytes += size
        self.sent_packets += 1
        nested = self._nested
        if nested is not None and self._carry(nested, view, start, size):
            return
        output = self._output
        output.add(view, start, start + size)
        if output.size >= FLUSH_SIZE or output.packets >= FLUSH_PACKETS:
            self.flush()
        elif not self._marked and not self._flushing:
            self._marked = True
            self._shared.mark(self)

    def _carry(self, nested: InnerStream, view: memoryview, start: int, size: int) -> bool:
        """Send a sealed packet on the outer leg, in its memory, if nothing is before it."""
        if self._output.size:
            self.flush()
        return not self._output.size and not self.closed and nested.carry(view, start, size)

    # -- everything else

    def send_on_channel(self, channel: Channel, payload: bytes) -> None:
        """Send a control message; one that ends what is sent, behind the data that waits for its
        channel."""
        if payload[0] in _ENDS and self._queue.holds(channel):
            self._queue.push(channel, frame(payload))
        else:
            self.send_payload(payload)

    def send_payload(self, payload: bytes) -> None:
        """Send a message of RFC 4254 now, or when it may be sent."""
        if self.ready:
            self.send_now(payload)
        elif not self.closed:
            self.deferred.append(payload)

    def send_now(self, payload: bytes) -> None:
        """Send a message whatever the state of the key exchange."""
        if self.closed:
            return  # RFC 4253 §11.1: nothing follows a DISCONNECT.
        packet = frame(payload)
        self._sealed(self.sealer.seal(memoryview(packet), 0, len(packet) - OVERHEAD) or packet)

    def send_line(self, line: bytes) -> None:
        """RFC 4253 §4.2: what comes before the first packet."""
        self._output.append(line)
        self._mark()

    def send_deferred(self) -> None:
        """What waited may be sent."""
        deferred, self.deferred = self.deferred, []
        for payload in deferred:
            self.send_payload(payload)
        self._shared.mark(self)  # And what waits in the queue.

    def _sealed(self, packet: bytes | bytearray) -> None:
        """A packet in memory of its own goes out."""
        self.sent_bytes += len(packet)
        self.sent_packets += 1
        self._output.append(packet)
        if not self._blocked:
            self._mark()
        elif self._output.size > ANSWERS_PER_LEG and self.stream is not None:
            self.stream.pause(self)

    def _mark(self) -> None:
        if not self._marked and not self._flushing:
            self._marked = True
            self._shared.mark(self)

    # -- flush

    def flush(self) -> None:
        """Send what is sealed, then what waits, for as long as the stream takes it.

        A loop, and the bottom of every call: it calls nobody back. Who waits for room is told by
        the engine (`wake`). Whatever goes wrong ends this leg and is not raised, since those who
        flush are in the middle of another leg's batch; and when this returns, nothing of the output
        is left in the memory of others.
        """
        self._marked = False
        if self._flushing:
            return  # Its own failure is closing the leg.
        self._flushing = True
        try:
            self._send_output()
            while self._queue.waiting and self.ready and not self.closed and self._takes_more:
                self._seal_waiting()
                self._send_output()
        except Exception as error:
            # Whatever is missing of it, the peer can read no more.
            self._output = Output()
            self.stream = self._nested = None
            self._owner.failed(error)
        finally:
            self._flushing = False
        if self._waiters and self.has_room:
            self._shared.wake(self)
        elif self._nested is not None and (self._waiters or self._queue.waiting):
            self._nested.await_room()  # It tells only once.

    @property
    def _takes_more(self) -> bool:
        """What waits may be sealed. (A channel may take what cannot wait, and nothing else.)"""
        return not self._blocked and (self._nested is None or self._nested.has_room)

    def _send_output(self) -> None:
        stream, output = self.stream, self._output
        if stream is None:
            return
        if output.size:
            self.taken += output.send(stream)
            self._blocked = output.size > 0
            if self._blocked:
                stream.await_room()
                return
        self._blocked = False
        stream.resume(self)

    # -- what waits

    @property
    def waiting(self) -> int:
        """Bytes that wait until the stream takes more."""
        return self._queue.waiting + (self._output.size if self._blocked else 0)

    def waiting_for(self, channel: Channel) -> int:
        """Those of one channel."""
        return self._queue.size(channel) if self._queue.waiting else 0

    def cut(self, channel: Channel) -> bool:
        """Throw away what waits for `channel`; was there anything?"""
        return self._queue.drop(channel) > 0

    def _enqueue(self, view: memoryview, start: int, length: int, channel: Channel) -> None:
        if self.closed:
            return  # Who sends it has not been told yet.
        self._queue.push(channel, bytearray(view[start : start + length + OVERHEAD]))
        waiting, most = self._queue.waiting, self._shared.too_much_for_one
        if waiting <= self.waiting_limit and waiting <= most:
            return
        full = waiting > self.waiting_limit
        self._owner.limit_hit("waiting-per-leg" if full else "waiting-per-process")
        handler = self._channels.get(channel.local_id)
        if handler is not None:
            handler.overflow()

    def _seal_waiting(self) -> None:
        """Seal of what waits as much as leaves in one send."""
        queue, output = self._queue, self._output
        while queue and output.size < FLUSH_SIZE:
            channel, packet = queue.pop()
            length = len(packet) - OVERHEAD
            if packet[PAYLOAD_OFFSET] == MSG_CHANNEL_DATA:
                write_label(packet, LABEL_OFFSET, channel.remote_id)
            sealed = self.sealer.seal(memoryview(packet), 0, length) or packet
            self.sent_bytes += len(sealed)
            self.sent_packets += 1
            output.append(sealed)

    # -- who waits

    def await_room(self, waiter: Waiter) -> None:
        """Tell `waiter` once when the leg has room again."""
        self._waiters[waiter] = None
        if self._nested is not None and not self._nested.has_room:
            self._nested.await_room()

    def wake(self) -> None:
        """Tell those who wait, if there still is room for them."""
        if self.has_room:
            self._tell_waiters()

    def _tell_waiters(self) -> None:
        waiters, self._waiters = self._waiters, {}
        for waiter in waiters:
            try:
                waiter.leg_has_room()
            except Exception as error:  # The others are told nevertheless.
                self._owner.failed(error)

    def throttle(self, source: Outgoing) -> None:
        """Read no further from the leg `source` while too much of what it causes waits here."""
        output = self._output.size if self._blocked else 0
        if output <= OUTPUT_PER_LEG and len(self.deferred) <= DEFERRED_PER_LEG:
            return
        # A leg that changes its keys is read whatever waits elsewhere: else two that do so at
        # once, each with much waiting for the other, would never hear the answers to it.
        if source.stream is not None and source.ready and not self.closed:
            source.stream.pause(self)
            source.paused_by.add(self)
            self._waiters[_Reading(source, self)] = None
            self._owner.others_wait()

    def stands_still(self, taken_before: int) -> bool:
        """Others wait for this leg; has its peer taken next to nothing since it had taken so much
        in all?"""
        return bool(self._waiters) and self.taken - taken_before < STALL_BYTES

    @property
    def others_waiting(self) -> bool:
        return bool(self._waiters)

    def read_on(self) -> None:
        """Whoever has stopped the reading of this leg: it goes on."""
        while self.paused_by:
            by = self.paused_by.pop()
            if self.stream is not None:
                self.stream.resume(by)

    # -- its end

    def close(self) -> None:
        """Nothing goes out any more, but for what is sealed."""
        self.closed = True
        self.ready = False
        self.deferred.clear()

    def drop(self) -> None:
        """Throw everything away; who waits for room need not wait."""
        self.close()
        self._queue.clear()
        self._tell_waiters()


class _Reading(NamedTuple):
    """A leg whose reading waits for another's room. Equal for the same two, so that it waits
    once."""

    source: Outgoing
    by: Outgoing

    def leg_has_room(self) -> None:
        """What this one feeds has room again, or need not have any."""
        self.source.paused_by.discard(self.by)
        if self.source.stream is not None:
            self.source.stream.resume(self.by)
