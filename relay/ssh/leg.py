"""The data path of a leg: opened, relabelled and sealed in place.

Per packet one receive, one open, one seal, one send. `received` is the loop over what a receive
brought; `forward` is where a packet goes out. A packet for a leg that can send goes straight into
its output, in the memory in which it came. While the leg's socket is full, or the leg changes its
keys, packets are copied out and wait in the leg's `FairQueue`, and leave in turn.

    Stream ─received─► Leg ─data─► ChannelHandler ─forward─► Leg ─flush─► Stream
                         └─ everything else ─► asyncssh ─write─┘

What is sealed is sent in the order in which it was sealed: the cipher's counter is the packet's
place in the stream. So only what the socket is about to take is sealed.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol, cast

import asyncssh

from relay.core.channel import Channel
from relay.core.limits import (
    ANSWERS_PER_LEG,
    DEFERRED_PER_LEG,
    FED_PACKET,
    FLUSH_PACKETS,
    FLUSH_SIZE,
    OUTPUT_PER_LEG,
    PACKETS_PER_TURN,
    STALL_BYTES,
    STALL_TIMEOUT,
    WAITING_PER_LEG,
)
from relay.core.queue import FairQueue
from relay.errors import LegLost, ProtocolViolation
from relay.io.engine import Engine
from relay.io.output import Output
from relay.io.stream import Buffer, Reader, Stream, Taker
from relay.ssh.handler import ChannelHandler
from relay.ssh.internals import FastConnection
from relay.wire.numbers import (
    MSG_CHANNEL_CLOSE,
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_EOF,
    MSG_CHANNEL_WINDOW_ADJUST,
)
from relay.wire.packet import (
    DATA_OFFSET,
    LABEL_OFFSET,
    LENGTH_SIZE,
    MAX_DATA,
    OVERHEAD,
    PAYLOAD_OFFSET,
    TAIL_ROOM,
    check_data,
    check_length,
    frame,
    payload_end,
    read_header,
    read_length,
    write_label,
)

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable


class LegStream(Taker, Protocol):
    """What a leg runs on: a socket's `Stream`, or an `InnerStream`."""

    def await_room(self) -> None: ...
    def pause(self, reason: object) -> None: ...
    def resume(self, reason: object) -> None: ...


class InnerStream(LegStream, Protocol):
    """A channel of an outer leg (`nested.py`)."""

    headroom: int
    tailroom: int

    @property
    def max_data(self) -> int: ...
    @property
    def has_room(self) -> bool: ...
    def carry(self, view: memoryview, start: int, size: int) -> bool: ...
    def attach(self, reader: Reader) -> None: ...
    def start(self) -> None: ...


class Waiter(Protocol):
    """Somebody who stopped because a leg was full."""

    def leg_has_room(self, leg: Leg) -> None: ...


class Leg(FastConnection):
    """One SSH connection and the traffic on it."""

    def __init__(self, engine: Engine, *args: Any, **kwargs: Any) -> None:
        super().__init__(engine.loop, *args, **kwargs)
        self.engine = engine
        self.stream: LegStream | None = None
        # The stream, when it is a channel of an outer leg.
        self._nested: InnerStream | None = None
        # What must be free in memory before and behind a packet that `forward` is given, for
        # the headers and tags of outer legs; and the largest data in a packet of this leg.
        self.headroom = 0
        self.tailroom = TAIL_ROOM
        self.max_data = MAX_DATA
        # What may wait for this leg, and whom to tell by its name when a limit is hit.
        self.waiting_limit = WAITING_PER_LEG
        self.limit_hit: Callable[[str], object] | None = None
        # What is sealed and not sent. Until the end of the batch it may lie in the receive buffer
        # of the leg that it came from.
        self._output = Output()
        # The socket took less than it was given: it is waited for, and `_output` holds nothing
        # but memory of its own.
        self._blocked = False
        self._marked = False
        self._flushing = False
        # Unsealed packets that could not go at once.
        self._queue: FairQueue[Channel] = FairQueue()
        # Who is to be told when this leg has room again, in the order in which they came.
        self._waiters: dict[Waiter, None] = {}
        # The legs that have stopped the reading of this one.
        self._paused_by: set[Leg] = set()
        # Bytes that the socket has taken in all, and the check whether it still takes some while
        # others are paused for it.
        self._taken = 0
        self._stall_check: asyncio.TimerHandle | None = None

    # -- its life

    def attach(self, sock: socket.socket) -> None:
        """Start the SSH protocol on a connected socket, which is the leg's from now on."""
        stream = self.stream = Stream(self.engine, sock, self)
        stream.give_up_after(self.patience)
        self.connection_made(cast(asyncio.Transport, stream))
        stream.start()

    def attach_nested(self, stream: InnerStream) -> None:
        """Start the SSH protocol on a channel of an outer leg."""
        self.stream = self._nested = stream
        self.headroom, self.tailroom = stream.headroom, stream.tailroom
        self.max_data = stream.max_data
        stream.attach(self)
        self.connection_made(cast(asyncio.Transport, stream))
        stream.start()

    def stream_lost(self, error: Exception | None) -> None:
        """The socket is at its end, or broke."""
        if not self.alive:
            return
        if isinstance(error, LegLost):
            self.connection_lost(error)
        elif isinstance(error, OSError):
            self.connection_lost(LegLost(f"connection lost: {error.strerror or error}"))
        else:
            self.connection_lost(LegLost("connection closed by the other side"))

    def closed(self) -> None:
        if self._stall_check is not None:
            self._stall_check.cancel()
        waited, self._queue = self._queue.waiting, FairQueue()
        self._let_go(waited)
        self._tell_waiters()

    # -- in

    def received(self, view: memoryview, start: int, end: int) -> int:
        """Use the whole packets in `view[start:end]`; returns where the first unused byte is."""
        if not self.alive:
            return end  # A packet behind one that was forged must not be taken for the next.
        self.heard()
        try:
            start = self._use_packets(view, start, end)
            self.rekey_if_due()
            self.check_rekey()
        except (ProtocolViolation, asyncssh.DisconnectError) as error:
            self.fail(error)
        except Exception:
            self.internal_error()
        return start if self.alive else end

    def _use_packets(self, view: memoryview, start: int, end: int) -> int:
        handlers = self.handlers
        # The packets of this batch that asyncssh has not been told of, and where they began.
        packets, first = 0, start
        # What may still be used in this turn of the loop.
        turn = PACKETS_PER_TURN
        while start < end:
            opener = self.opener
            if opener is None:
                used, fed = self._feed_slowly(view, start, end)
                start = first = start + used
                turn -= fed * FED_PACKET
                if not used or self._stopped() or self._turn_over(turn):
                    return start
                continue
            if end - start < LENGTH_SIZE:
                break
            length: int = read_length(view, start)[0]
            check_length(length)
            after = start + length + OVERHEAD
            if after > end:
                break
            opener.open(view, start, length)
            _, padding, message, label, size = read_header(view, start)
            handler = handlers.get(label)
            if message == MSG_CHANNEL_DATA and isinstance(handler, ChannelHandler):
                check_data(length, padding, size)
                handler.data(view, start, length, size)
            elif not self._control(handler, message, size, view, start, length):
                self.received_fast(packets, start - first)
                packets, first = -1, after
                packet = bytes(view[start:after])
                self.feed_opened(packet, packet[LENGTH_SIZE : LENGTH_SIZE + length])
                turn -= FED_PACKET
                if self._stopped():
                    return after
            packets += 1
            start = after
            turn -= 1
            if turn <= 0 and self._turn_over(turn):
                break
        if packets:
            self.received_fast(packets, start - first)
        return start

    def _turn_over(self, turn: int) -> bool:
        """Whether enough was used at once. The rest waits for the loop's next turn, so that a peer
        that sends very many very small packets has no more of the loop than its share."""
        if turn > 0:
            return False
        assert self.stream is not None
        self.stream.pause("turn")
        self.loop.call_soon(self.stream.resume, "turn")
        return True

    def _feed_slowly(self, view: memoryview, start: int, end: int) -> tuple[int, int]:
        """Give asyncssh what it must read by itself; returns how many bytes and packets it was."""
        size = self.needed(view, start, end)
        packets = self.feed(bytes(view[start : start + size])) if size else 0
        return size, packets

    def _stopped(self) -> bool:
        """asyncssh has closed the connection, or takes nothing until a task of its is done."""
        if self.waits and self.stream is not None:
            self.stream.pause("asyncssh")
            return True
        return not self.alive

    def _control(
        self, handler: object, message: int, second: int, view: memoryview, start: int, length: int
    ) -> bool:
        """Give a control message to the handler of its channel; `second` is what stands behind
        the channel's number, if the message has that much. False: it is asyncssh's."""
        size = payload_end(view, start, length) - start - LABEL_OFFSET
        if not isinstance(handler, ChannelHandler):
            return False
        if message == MSG_CHANNEL_WINDOW_ADJUST and size == 8:
            handler.window_adjust(second)
        elif message == MSG_CHANNEL_EOF and size == 4:
            handler.eof()
        elif message == MSG_CHANNEL_CLOSE and size == 4:
            handler.peer_closed()
        else:
            return False
        return True

    @property
    def listening(self) -> bool:
        return not self._paused_by

    def input_resumed(self) -> None:
        if self.stream is not None and self.alive:
            self.stream.resume("asyncssh")

    # -- out

    @property
    def has_room(self) -> bool:
        """A data packet would leave at once: nothing waits, and keys are not being changed."""
        if self._blocked or self._queue.waiting or not self.can_send:
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
        if self.sealer is None:
            size = read_header(view, start)[4]
            data = bytes(view[start + DATA_OFFSET : start + DATA_OFFSET + size])
            self.send_data_slowly(channel.remote_id, data)
            self._written()
        else:
            write_label(view, start + LABEL_OFFSET, channel.remote_id)
            self.sealer.seal(view, start, length)
            size = length + OVERHEAD
            self.sent_fast(size)
            if self._nested is None or not self._carry(view, start, size):
                self._output.add(view, start, start + size)
                self._written()

    def _carry(self, view: memoryview, start: int, size: int) -> bool:
        """Send a sealed packet on the outer leg, in its memory, if nothing is before it."""
        assert self._nested is not None
        if self._output.size:
            self.flush()
        return not self._output.size and self._nested.carry(view, start, size)

    def send_on_channel(self, channel: Channel, payload: bytes) -> None:
        """Send a control message behind the data that waits for its channel."""
        if self._queue.holds(channel):
            self._hold(channel, frame(payload))
        else:
            self.send_payload(payload)

    def send_payload(self, payload: bytes) -> None:
        """Send a message now, or after the key exchange under way."""
        self.send_packet(payload[0], payload[1:])

    @property
    def waiting(self) -> int:
        """Bytes that wait until the socket of this leg takes more."""
        return self._queue.waiting + (self._output.size if self._blocked else 0)

    def throttle(self, source: Leg) -> None:
        """Read no further from `source` while too much of what it causes waits here."""
        output = self._output.size if self._blocked else 0
        if output > OUTPUT_PER_LEG or self.deferred > DEFERRED_PER_LEG:
            self._pause(source)

    def _pause(self, source: Leg) -> None:
        # A leg that changes its keys is read whatever waits elsewhere: else two that do so at
        # once, each with much waiting for the other, would never hear the answers to it.
        if source.stream is not None and source.can_send and self.alive:
            source.stream.pause(self)
            source._paused_by.add(self)
            self._waiters[source] = None
            if self._stall_check is None:
                self._stall_check = self.loop.call_later(
                    STALL_TIMEOUT, self._check_stall, self._taken
                )

    def _check_stall(self, taken_before: int) -> None:
        """Others stand still because this leg is full: does its peer still read at all?"""
        self._stall_check = None
        if not self._waiters or not self.alive:
            return
        if self._taken - taken_before < STALL_BYTES:
            self.fail(LegLost("it does not read what it asked for, and others wait for it"))
            return
        self._stall_check = self.loop.call_later(STALL_TIMEOUT, self._check_stall, self._taken)

    def cut(self, channel: Channel) -> bool:
        """Throw away what waits for `channel`; was there anything?"""
        size = self._queue.drop(channel)
        self._let_go(size)
        return size > 0

    def write(self, data: Buffer) -> None:
        self._output.append(data)
        if not self._blocked:
            self._mark()
        elif self._output.size > ANSWERS_PER_LEG and self.stream is not None:
            self.stream.pause(self)

    def _written(self) -> None:
        """A data packet is in the output: enough of them leave before the end of the batch."""
        if self._output.size >= FLUSH_SIZE or self._output.packets >= FLUSH_PACKETS:
            self.flush()
        else:
            self._mark()

    def _mark(self) -> None:
        if not self._marked and not self._flushing:
            self._marked = True
            self.engine.mark(self)

    def flush(self) -> None:
        """Send what is sealed, then what waits, for as long as the socket takes it.

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
            while self._queue.waiting and not self._blocked and self.can_send and self.alive:
                self._seal_waiting()
                self._send_output()
        except Exception:
            self._output = Output()  # Whatever is missing of it, the peer can read no more.
            self.internal_error()
        finally:
            self._flushing = False
        if self._waiters:
            if self.has_room:
                self.engine.wake(self)
            elif self._nested is not None:
                self._nested.await_room()  # It tells only once.

    def _send_output(self) -> None:
        stream, output = self.stream, self._output
        if stream is None:
            return
        if output.size:
            self._taken += output.send(stream)
            self._blocked = output.size > 0
            if self._blocked:
                stream.await_room()
                return
        self._blocked = False
        stream.resume(self)

    def keys_changing(self) -> None:
        for leg in list(self._paused_by):
            self.leg_has_room(leg)

    def keys_changed(self) -> None:
        self.engine.mark(self)

    # -- what waits

    def _enqueue(self, view: memoryview, start: int, length: int, channel: Channel) -> None:
        self._hold(channel, bytearray(view[start : start + length + OVERHEAD]))
        waiting, most = self._queue.waiting, self.engine.too_much_for_one
        if waiting <= self.waiting_limit and waiting <= most:
            return
        if self.limit_hit is not None:
            full = waiting > self.waiting_limit
            self.limit_hit("waiting-per-leg" if full else "waiting-per-process")
        handler = self.handlers.get(channel.local_id)
        if isinstance(handler, ChannelHandler):
            handler.overflow()

    def _hold(self, channel: Channel, packet: bytearray) -> None:
        if not self._queue:
            self.engine.legs_waiting += 1
        self._queue.push(channel, packet)
        self.engine.waiting += len(packet)

    def _let_go(self, size: int) -> None:
        """So much waits here no longer."""
        self.engine.waiting -= size
        if size and not self._queue:
            self.engine.legs_waiting -= 1

    def _seal_waiting(self) -> None:
        """Seal of what waits as much as leaves in one send."""
        queue, output = self._queue, self._output
        while queue and output.size < FLUSH_SIZE and self.can_send and self.alive:
            channel, packet = queue.pop()
            self._let_go(len(packet))
            self._seal_waited(channel, packet)

    def _seal_waited(self, channel: Channel, packet: bytearray) -> None:
        length = len(packet) - OVERHEAD
        if packet[PAYLOAD_OFFSET] == MSG_CHANNEL_DATA:
            write_label(packet, LABEL_OFFSET, channel.remote_id)
        if self.sealer is not None:
            self.sealer.seal(memoryview(packet), 0, length)
            self.sent_fast(len(packet))
            self._output.append(packet)
            return
        end = payload_end(packet, 0, length)
        self.send_payload(bytes(packet[PAYLOAD_OFFSET:end]))

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
                waiter.leg_has_room(self)
            except Exception:  # The others are told nevertheless.
                self.internal_error()

    def leg_has_room(self, leg: Leg) -> None:
        """A leg that this one feeds has room again, or need not have any."""
        self._paused_by.discard(leg)
        if self.stream is not None:
            self.stream.resume(leg)
