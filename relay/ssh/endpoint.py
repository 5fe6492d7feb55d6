"""The joint of one channel and one local TCP socket: on A, on C, and behind B's open ports.

The socket is read straight to where the data of a packet stands, framed and sealed there; in the
other direction the data of an opened packet goes to the socket from the receive buffer. So there
is no copy in user space while both can keep up.

    socket ─recv_into─► [ header | data | padding | tag ] ─► leg
    leg    ─► [ header | data | … ] ─send─► socket

How a stream ends (RFC 4254 §5.3):

* the local peer is at its end (FIN): EOF goes out, the other direction lives on;
* EOF comes: the socket is shut down for writing once all that came before is delivered;
* both: CLOSE goes out;
* the local peer is gone (reset): CLOSE goes out at once;
* CLOSE comes after EOF from both sides: the socket is closed once all is delivered. Otherwise the
  stream did not end but broke, and the local peer gets a reset: a reader must not take half an
  answer for a whole one, and who still writes is told at once that nobody listens.
"""

from __future__ import annotations

import os
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from relay.core.channel import MIN_PACKET, Channel, Half, Message
from relay.core.window import ReceiveWindow
from relay.events import Events, StreamClosed
from relay.io.dial import RESET_ON_CLOSE
from relay.io.engine import Engine
from relay.io.local import spare_pacing
from relay.ssh.handler import ChannelHandler
from relay.ssh.leg import Leg
from relay.system import AF_UNIX
from relay.wire import messages
from relay.wire.numbers import OpenFailure
from relay.wire.packet import DATA_OFFSET, OVERHEAD, frame_data

_FINISH: Final = struct.pack("ii", 0, 0)
"""SO_LINGER off: close() sends what is left and then FIN."""


class Endpoint(ChannelHandler):
    """One stream. `ended` is called once, with the reason if it did not end by itself."""

    def __init__(self, leg: Leg, ended: Callable[[Endpoint, str], None]) -> None:
        self.leg = leg
        self.channel = Channel()
        # Bytes from the channel to the socket, and from the socket to the channel.
        self.received_bytes = 0
        self.sent_bytes = 0
        # The stream never came to be, because one side or the other said no.
        self.refused = False
        self._ended: Callable[[Endpoint, str], None] | None = ended
        self._loop = leg.engine.loop
        self._watch = leg.engine.watch
        self._sock: socket.socket | None = None
        self._reading = False
        self._writing = False
        # What came and the socket has not taken; its bytes are within the channel's window.
        self._pending: deque[memoryview] = deque()
        # Of the received bytes, those that the socket has taken.
        self._delivered = 0
        self._window = ReceiveWindow(leg.engine.windows)
        self.channel.local_id = leg.add_handler(self)
        self.channel.receive_window = self._window.size
        self.channel.receive_packet = leg.max_data

    # -- how it begins

    def open(self, sock: socket.socket, kind: bytes, fields: bytes) -> None:
        """Ask the peer for a channel for the connected `sock`, which is ours from now on."""
        self._adopt(sock)
        channel = self.channel
        channel.ask()
        self.leg.send_payload(
            messages.channel_open(
                kind, channel.local_id, channel.receive_window, channel.receive_packet, fields
            )
        )

    def confirmed(self, sender: int, window: int, packet: int) -> None:
        self.channel.confirmed(sender)
        self._may_send(window, packet)
        if packet < MIN_PACKET:
            self._close_channel()
            self._drop_socket(reset=True)
            self._report(f"refused: the other side takes packets of {packet} bytes")
        elif self._sock is None:
            self._close_channel()
        else:
            self._read()

    def failed(self, code: int, reason: str) -> None:
        self.channel.refused()
        self._refused(reason)

    def give_up(self) -> None:
        """The peer takes too long for its answer to our open: our side is over. The channel's
        number stays the peer's until it answers."""
        self._drop_socket(reset=True)
        self._report("refused: no answer")

    def serve(self, dial: Callable[[], Awaitable[socket.socket]]) -> None:
        """Answer the peer's open, which is to be passed in next, by what `dial` comes to."""
        self._dial = dial

    def opened_by_peer(self, sender: int, window: int, packet: int) -> None:
        self.leg.create_task(self._answer(sender, window, packet))

    async def _answer(self, sender: int, window: int, packet: int) -> None:
        try:
            sock = await self._dial()
        except OSError as error:
            reason = error.strerror or str(error)
            self.leg.send_payload(messages.open_failure(sender, OpenFailure.CONNECT_FAILED, reason))
            self._refused(reason)
            return
        if self._ended is None:  # The leg was lost meanwhile.
            sock.close()
            return
        self._adopt(sock)
        self._confirm(sender, window, packet)
        self._read()

    def _confirm(self, sender: int, window: int, packet: int) -> None:
        """Grant the peer's open."""
        channel = self.channel
        channel.confirm(sender)
        self._may_send(window, packet)
        self.leg.send_payload(
            messages.open_confirmation(
                sender, channel.local_id, channel.receive_window, channel.receive_packet
            )
        )

    def _may_send(self, window: int, packet: int) -> None:
        """What the peer announced."""
        self.channel.send_window = window
        self.channel.send_packet = min(packet, self.leg.max_data)

    def _adopt(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            spare_pacing(sock)
        self._sock = sock
        self._watch.add(sock, self._reset)

    def _reset(self) -> None:
        """The socket has an error. While it is read, that is found behind what there is still to
        read, but not by libuv, which tells of an error once and polls no more; else it is asked
        for here."""
        if self._reading:
            before = self.sent_bytes
            self._readable()
            if self.sent_bytes > before:
                self._loop.call_soon(self._reset)
        elif self._sock is not None:
            code = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            self._local_lost(OSError(code, os.strerror(code)))

    # -- from the socket to the channel

    def _read(self) -> None:
        """Read the socket, exactly while the peer's window and our leg have room."""
        sock = self._sock
        if sock is None or self.channel.sending is not Half.OPEN:
            wanted = False
        elif not self.leg.has_room:
            wanted = False
            self.leg.await_room(self)
        else:
            wanted = self.channel.send_window > 0
        if wanted != self._reading and sock is not None:
            self._reading = wanted
            if wanted:
                self._loop.add_reader(sock, self._readable)
            else:
                self._loop.remove_reader(sock)

    def leg_has_room(self, leg: Leg) -> None:
        self._read()

    def _readable(self) -> None:
        engine = self.leg.engine
        flush = engine.begin_read()
        before = self.sent_bytes
        try:
            goes_on = self._read_packets(engine)
        finally:
            if flush:
                engine.flush()
            engine.end_read(self.sent_bytes - before)
        if not goes_on:
            self._read()

    def _read_packets(self, engine: Engine) -> bool:
        """What the socket has, as packets one behind the other in the scratch memory. Returns
        whether that was all, and more may come."""
        leg, channel, sock, scratch = self.leg, self.channel, self._sock, engine.scratch
        while sock is not None and leg.has_room:
            start = engine.scratch_used + leg.headroom
            data = start + DATA_OFFSET
            room = min(channel.send_window, channel.send_packet)
            if room == 0 or data + room + leg.tailroom > len(scratch):
                return False
            try:
                size = sock.recv_into(scratch[data : data + room])
            except (BlockingIOError, InterruptedError):
                return True
            except OSError as error:
                self._local_lost(error)
                return False
            if size == 0:
                self._local_eof()
                return False
            channel.send_window -= size
            self.sent_bytes += size
            length = frame_data(scratch, start, size)
            # Nothing stands between two packets that no outer packet has to be written around.
            end = start + length + OVERHEAD
            engine.scratch_used = data + size + leg.tailroom if leg.headroom else end
            leg.send_data(scratch, start, length, channel)
            if size < room:
                return True
        return False

    def window_adjust(self, size: int) -> None:
        self.channel.received_window_adjust(size)
        if not self._reading:
            self._read()

    def _local_eof(self) -> None:
        if self.channel.sent(Message.EOF):
            self.leg.send_payload(messages.eof(self.channel.remote_id))
        self._close_if_done()

    def _local_lost(self, error: OSError) -> None:
        self._pending.clear()
        self._close_channel()
        self._drop_socket(reset=True)
        self._report(f"local peer: {error.strerror or error}")

    # -- from the channel to the socket

    def data(self, view: memoryview, start: int, length: int, size: int) -> None:
        self.channel.received_data(size)
        sock = self._sock
        if sock is None:
            self.data_unjoined(view[start + DATA_OFFSET : start + DATA_OFFSET + size])
            return
        self.received_bytes += size
        if self.received_bytes > self._window.next_mark:
            self._window.reached(self._delivered, self._loop.time())
        data = view[start + DATA_OFFSET : start + DATA_OFFSET + size]
        sent = 0
        if not self._pending:
            try:
                sent = sock.send(data)
            except (BlockingIOError, InterruptedError):
                pass
            except OSError as error:
                self._local_lost(error)
                return
        if sent < size:
            self._pending.append(memoryview(bytes(data[sent:])))
            self._await_writable(sock)
        self._deliver(sent)

    def data_unjoined(self, data: memoryview) -> None:
        """Data of a channel that has no socket. Here that is one whose CLOSE is on its way."""

    def _await_writable(self, sock: socket.socket) -> None:
        if not self._writing:
            self._writing = True
            self._loop.add_writer(sock, self._writable)

    def _writable(self) -> None:
        sock, pending = self._sock, self._pending
        assert sock is not None
        while pending:
            try:
                sent = sock.send(pending[0])
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._local_lost(error)
                return
            if sent < len(pending[0]):
                pending[0] = pending[0][sent:]
            else:
                pending.popleft()
            self._deliver(sent)
        self._writing = False
        self._loop.remove_writer(sock)
        self._delivered_all()

    def _deliver(self, size: int) -> None:
        """The socket has taken `size` bytes: open the window again when it is time."""
        self._delivered += size
        channel = self.channel
        if self._delivered < self._window.next_opening or channel.receiving is not Half.OPEN:
            return
        announced = self.received_bytes + channel.receive_window
        more = self._window.opened(self._delivered, announced, self._loop.time())
        if more:
            channel.granted(more)
            self.leg.send_payload(messages.window_adjust(channel.remote_id, more))

    def eof(self) -> None:
        self.channel.received(Message.EOF)
        if not self._pending:
            self._delivered_all()

    def _delivered_all(self) -> None:
        """What came so far is with the socket: pass on what came behind it."""
        sock = self._sock
        if sock is None or self.channel.receiving is Half.OPEN:
            return
        if self.channel.receiving is Half.CLOSED:
            self._drop_socket(reset=False)
            self._report("")
            return
        try:
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # It is gone; reading tells.
        self._close_if_done()

    # -- how it ends

    def _close_if_done(self) -> None:
        channel = self.channel
        if channel.sending is Half.EOF and channel.receiving is Half.EOF and not self._pending:
            self._close_channel()
            self._drop_socket(reset=False)
            self._report("")

    def _close_channel(self) -> None:
        if self.channel.sent(Message.CLOSE):
            self.leg.send_payload(messages.close(self.channel.remote_id))
        if self.channel.finished:
            self.leg.remove_channel(self.channel.local_id)

    def peer_closed(self) -> None:
        channel = self.channel
        ended = channel.receiving is Half.EOF and channel.sending is not Half.OPEN
        self.channel.received(Message.CLOSE)
        self._close_channel()
        if not ended:
            self._drop_socket(reset=True)
            self._report("closed by the other side")
        elif not self._pending:
            self._delivered_all()

    def request(self, want_reply: bool) -> None:
        self.channel.received(Message.REQUEST)
        if want_reply and self.channel.sending is not Half.CLOSED:
            self.leg.send_payload(messages.channel_failure(self.channel.remote_id))

    def leg_lost(self) -> None:
        self._drop_socket(reset=True)
        self._report("the connection to the relay was lost")

    def _refused(self, reason: str) -> None:
        """The channel never came to be."""
        self.refused = True
        if self.leg.alive:
            self.leg.remove_channel(self.channel.local_id)
        self._drop_socket(reset=False)
        self._report(f"refused: {reason}")

    def take_back(self) -> socket.socket | None:
        """Before `failed` is passed on: the socket as it came, for another try. This one is over
        without a word."""
        self._ended = None
        sock, self._sock = self._sock, None
        if sock is not None:
            self._watch.remove(sock)
        return sock

    def _drop_socket(self, *, reset: bool) -> None:
        sock, self._sock = self._sock, None
        if sock is None:
            return
        self._watch.remove(sock)
        if self._reading:
            self._loop.remove_reader(sock)
        if self._writing:
            self._loop.remove_writer(sock)
        self._reading = self._writing = False
        if not reset and sock.family != AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _FINISH)
        sock.close()

    def _report(self, reason: str) -> None:
        ended, self._ended = self._ended, None
        self.leg.engine.windows.forget(self._window)
        if ended is not None:
            ended(self, reason)


def tell_end(
    events: Events, closed: Callable[..., StreamClosed]
) -> Callable[[Endpoint, str], None]:
    """An `ended` that tells what `closed` makes of it: it is given `received`, `sent`, `refused`
    and `reason`."""

    def ended(endpoint: Endpoint, reason: str) -> None:
        events.emit(
            closed(
                received=endpoint.received_bytes, sent=endpoint.sent_bytes,
                refused=endpoint.refused, reason=reason,
            )
        )  # fmt: skip

    return ended
