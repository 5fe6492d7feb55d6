"""One leg's packets and channels: bytes in, bytes out.

`received` is the loop over what a receive brought. Each packet is opened where it lies; data goes
straight to what stands in the table of channels, other messages of RFC 4254 (numbers 80 to 127) are
read here, and those of the transport and of the login, below 80, are the handshake's.

    bytes ─received─► Mux ──data──► ChannelHandler ──► Outgoing of another leg, or of this one
                       ├─ 80-127 ─► requests, opens, ends
                       └─ below ──► Handshake ──send_handshake──► Outgoing

The lines and packets of the key exchange are the handshake's to understand, but what they change is
seen here: behind a NEWKEYS the cipher is another, and between a KEXINIT of ours and our NEWKEYS
nothing else may be sent (RFC 4253 §7.1).

    our KEXINIT goes out      `out.ready` ends: data and messages wait
    our NEWKEYS goes out      the next packet is sealed with the new cipher; what waited goes out
    a NEWKEYS comes           the next packet is opened with the new cipher

When which of them may pass, and when keys must be changed, is in `rekey.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from relay.core import outgoing, requests
from relay.core.channel import MIN_PACKET
from relay.core.handler import ChannelHandler, OpenRefused
from relay.core.handshake import BeforeLogin
from relay.core.limits import ANSWERS_DEFERRED, FED_PACKET, PACKETS_PER_TURN
from relay.core.outgoing import Outgoing, Shared
from relay.core.rekey import Event, Rekey, State
from relay.core.requests import GlobalRequest, Requests
from relay.errors import ProtocolViolation
from relay.wire import messages
from relay.wire.cipher import Opener, Plain, Sealer
from relay.wire.encoding import Reader
from relay.wire.numbers import (
    MAX_UINT32,
    MSG_CHANNEL_CLOSE,
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_EOF,
    MSG_CHANNEL_EXTENDED_DATA,
    MSG_CHANNEL_FAILURE,
    MSG_CHANNEL_OPEN,
    MSG_CHANNEL_OPEN_CONFIRMATION,
    MSG_CHANNEL_OPEN_FAILURE,
    MSG_CHANNEL_REQUEST,
    MSG_CHANNEL_SUCCESS,
    MSG_CHANNEL_WINDOW_ADJUST,
    MSG_GLOBAL_REQUEST,
    MSG_KEXINIT,
    MSG_NEWKEYS,
    MSG_REQUEST_FAILURE,
    MSG_REQUEST_SUCCESS,
    MSG_USERAUTH_LAST,
    MSG_USERAUTH_REQUEST,
    OpenFailure,
)
from relay.wire.packet import PAYLOAD_OFFSET, check_data, frame_data, payload_end, read_header

LONGEST_LINE: Final = 8192
"""Of those before the first packet (RFC 4253 §4.2). Longer ones are handed on in pieces."""


class Owner(outgoing.Owner, requests.Owner, Protocol):
    """The leg: what a mux tells, and asks for."""

    def line(self, data: bytes) -> None:
        """A line before the first packet, or a piece of one; the handshake says by
        `lines_are_over` that it was the last."""

    def handshake(self, payload: bytes) -> None:
        """A message of the transport or of the login."""

    def opened(self, kind: bytes, fields: bytes) -> ChannelHandler:
        """The peer's CHANNEL_OPEN. Returns what serves it, or raises `OpenRefused`."""

    def refused(self, what: str) -> None:
        """The peer asked for something that is not given."""

    def idle(self) -> None:
        """The last channel is over."""


class Mux:
    """One SSH connection from its first byte to its last."""

    def __init__(self, shared: Shared, owner: Owner, before_login: BeforeLogin) -> None:
        self._owner = owner
        # By our number; a handler takes itself out (`remove`).
        self.channels: dict[int, ChannelHandler] = {}
        self._next_number = 0
        self.out = Outgoing(shared, owner, self.channels)
        self.requests = Requests(self.out.send_payload, owner)
        # What the peer has sent; None once the login is over.
        self.before_login: BeforeLogin | None = before_login
        # A message of RFC 4254 has come: the login is behind us (RFC 4252 §5.1).
        self._connected = False
        # What comes is lines, until the peer's version was among them.
        self._lines = True
        self._opener: Opener = Plain()
        # The handshake works on a packet in a task, and takes no other until it is done.
        self.busy = False
        # Packets that came since their count began anew (RFC 4253 §6.4), and those that went out
        # before the keys that we send with.
        self.received_packets = 0
        self._sent_before = 0
        self.rekey = Rekey()
        # Answers to what the peer asked for that wait for the end of a key exchange.
        self._answers_deferred = 0

    # -- channels

    def add(self, handler: ChannelHandler) -> int:
        """Give a channel its number."""
        number = self._next_number
        while number in self.channels:
            number = (number + 1) & MAX_UINT32
        self._next_number = (number + 1) & MAX_UINT32
        self.channels[number] = handler
        return number

    def remove(self, number: int) -> None:
        """A channel is over, its number free again. No effect if it is that already."""
        if self.channels.pop(number, None) is not None and not self.channels:
            self._owner.idle()

    # -- in

    @property
    def stopped(self) -> bool:
        """Nothing more can be used at present: the handshake is busy, or all is over."""
        return self.busy or self.out.closed

    def received(self, view: memoryview, start: int, end: int, now: float) -> tuple[int, bool]:
        """Use the whole packets in `view[start:end]`.

        Returns where the first unused byte is, and whether enough was used at once: the rest is for
        the loop's next turn, so that a peer that sends very many very small packets has no more of
        the loop than its share. `now` is seconds of any one clock. Raises `ProtocolViolation`.
        """
        turn = PACKETS_PER_TURN
        while self._lines and start < end and turn > 0 and not self.stopped:
            start = self._line(view, start, end)
            turn -= FED_PACKET
        channels = self.channels
        # Packets of this batch that are not counted yet, and where they began.
        packets, first = 0, start
        opener = self._opener
        head, overhead, cost = opener.head, opener.overhead, opener.cost
        deferred = len(self.out.deferred)
        while end - start >= head and turn > 0 and not self.busy:
            length = opener.length(view, start)
            if self.before_login is not None:
                self.before_login.announced(length)
            after = start + length + overhead
            if after > end:
                break
            opened = opener.open(view, start, length)
            packet, at = (view, start) if opened is None else (opened, 0)
            _, padding, message, label, size = read_header(packet, at)
            handler = channels.get(label)
            if message == MSG_CHANNEL_DATA and handler is not None:
                check_data(length, padding, size)
                if opened is not None:
                    length = frame_data(packet, at, size)
                handler.data(packet, at, length, size)
                packets += 1
                turn -= cost
            else:
                self._count(packets, start - first)
                packets, first = 0, after
                payload = packet[at + PAYLOAD_OFFSET : payload_end(packet, at, length)]
                turn -= self._message(message, handler, size, payload, after - start, now)
                opener = self._opener
                head, overhead, cost = opener.head, opener.overhead, opener.cost
                if self.out.closed:
                    return after, False
            start = after
        self._count(packets, start - first)
        self._count_answers(len(self.out.deferred) - deferred)
        self.rekey.check()
        return start, turn <= 0

    def _line(self, view: memoryview, start: int, end: int) -> int:
        line = bytes(view[start : min(end, start + LONGEST_LINE)])
        newline = line.find(b"\n")
        if newline >= 0:
            line = line[: newline + 1]
        assert self.before_login is not None
        self.before_login.came(len(line))
        self.before_login.packet()
        self._owner.line(line)
        return start + len(line)

    def lines_are_over(self) -> None:
        """The peer's version was among them: packets follow."""
        self._lines = False

    def _count(self, packets: int, size: int) -> None:
        """So many packets came, of `size` bytes in all."""
        self.received_packets += packets
        rekey = self.rekey
        rekey.packets += packets
        rekey.bytes += size
        rekey.late_bytes += size

    def _count_answers(self, more: int) -> None:
        if more > 0:
            self._answers_deferred += more
            if self._answers_deferred > ANSWERS_DEFERRED:
                raise ProtocolViolation("too many requests during a key exchange")

    def _message(
        self,
        message: int,
        handler: ChannelHandler | None,
        second: int,
        payload: memoryview,
        size: int,
        now: float,
    ) -> int:
        """Anything but data on a channel; returns what it costs. `second` is what stands behind the
        channel's number, if the message has that much."""
        cost = FED_PACKET
        self._count(1, size)
        if message <= MSG_USERAUTH_LAST:
            self._to_handshake(message, bytes(payload), now)
        elif self.before_login is not None:
            raise ProtocolViolation(f"message {message} before the login")
        elif handler is not None and _simple(handler, message, len(payload), second):
            cost = self._opener.cost
        else:
            self._rare(message, bytes(payload))
        if self.before_login is not None:
            self.before_login.came(size)
            self.before_login.packet()
        return cost

    def _to_handshake(self, message: int, payload: bytes, now: float) -> None:
        if message == MSG_KEXINIT:
            if self.rekey.keyed and self.before_login is not None:
                raise ProtocolViolation("a second key exchange before the login")
            self.rekey.asked_by_peer(self.out.sent_bytes, now)
        elif message == MSG_NEWKEYS:
            self.rekey.happens(Event.THEIR_NEWKEYS)
        elif message == MSG_USERAUTH_REQUEST and self._connected:
            raise ProtocolViolation("a request to log in behind a message of the connection")
        self._owner.handshake(payload)

    def _rare(self, message: int, payload: bytes) -> None:
        self._connected = True
        reader = Reader(payload)
        reader.byte()
        if message == MSG_GLOBAL_REQUEST:
            name, want_reply = reader.string(), reader.byte() != 0
            self.requests.received(GlobalRequest(name, reader.rest(), want_reply))
        elif message == MSG_REQUEST_SUCCESS:
            self.requests.answered(reader.rest())
        elif message == MSG_REQUEST_FAILURE:
            self.requests.answered(None)
        elif message == MSG_CHANNEL_OPEN:
            self._open(reader)
        elif MSG_CHANNEL_OPEN < message <= MSG_CHANNEL_FAILURE:
            self._on_channel(message, reader)
        else:
            # RFC 4253 §11.4: "An implementation MUST respond to all unrecognized messages".
            self.out.send_payload(messages.unimplemented(self.received_packets - 1))

    def _open(self, reader: Reader) -> None:
        kind, sender = reader.string(), reader.uint32()
        window, packet = reader.uint32(), reader.uint32()
        try:
            if packet < MIN_PACKET:
                self._owner.refused(f"packets of {packet} bytes")
                raise OpenRefused(
                    OpenFailure.ADMINISTRATIVELY_PROHIBITED,
                    f"the maximum packet size must be {MIN_PACKET} or more",
                )
            handler = self._owner.opened(kind, reader.rest())
        except OpenRefused as refusal:
            self.out.send_payload(messages.open_failure(sender, refusal.code, str(refusal)))
            return
        handler.opened_by_peer(sender, window, packet)

    def _on_channel(self, message: int, reader: Reader) -> None:
        number = reader.uint32()
        handler = self.channels.get(number)
        if handler is None:
            raise ProtocolViolation(f"message {message} on channel {number}, which is not there")
        if message == MSG_CHANNEL_OPEN_CONFIRMATION:
            handler.confirmed(reader.uint32(), reader.uint32(), reader.uint32())
        elif message == MSG_CHANNEL_OPEN_FAILURE:
            code, reason, _ = reader.uint32(), reader.string(), reader.string()
            reader.end()
            handler.failed(code, reason.decode(errors="replace")[: messages.LONGEST_REASON])
        elif message == MSG_CHANNEL_REQUEST:
            reader.string()
            handler.request(reader.byte() != 0)
        elif message == MSG_CHANNEL_EXTENDED_DATA:
            raise ProtocolViolation("extended data on a channel that has only one stream")
        elif message not in (MSG_CHANNEL_SUCCESS, MSG_CHANNEL_FAILURE):
            raise ProtocolViolation(f"message {message} has the wrong length")
        # We ask nothing of a channel, so a SUCCESS or FAILURE answers nothing.

    # -- the handshake

    def send_handshake(self, payload: bytes) -> None:
        """What the handshake has to send. It knows itself when it may."""
        message = payload[0]
        if message == MSG_KEXINIT:
            self.rekey.happens(Event.OUR_KEXINIT)
            self.out.ready = False
            self.out.read_on()
        self.out.send_now(payload)
        if message == MSG_NEWKEYS:
            self.rekey.happens(Event.OUR_NEWKEYS)

    def seal_with(self, cipher: Callable[[int], Sealer], *, strict: bool) -> None:
        """Our NEWKEYS has gone out: `cipher`, of the next packet's number, makes what seals all
        that follows. With a `strict` key exchange that is 0 (OpenSSH's PROTOCOL §1.10)."""
        self._sent_before = 0 if strict else self._sent_before + self.out.sent_packets
        self.out.sealer = cipher(self._sent_before & MAX_UINT32)
        self.out.sent_bytes = self.out.sent_packets = 0
        self.rekey.new_keys()
        self.rekey.uses(self.out.sealer, self._opener)

    def open_with(self, cipher: Callable[[int], Opener], *, strict: bool) -> None:
        """The same for the peer's, which has come."""
        if strict:
            self.received_packets = 0
        self._opener = cipher(self.received_packets & MAX_UINT32)
        self.rekey.uses(self.out.sealer, self._opener)

    def keys_changed(self) -> None:
        """What the handshake itself had to send under the new keys has gone out."""
        if self.before_login is None:
            self._may_send()

    def logged_in(self) -> None:
        """The login is over: channels may be opened."""
        self.before_login = None
        if self.rekey.may_send:
            self._may_send()

    def _may_send(self) -> None:
        self.out.ready = not self.out.closed
        self._answers_deferred = 0
        self.out.send_deferred()

    @property
    def may_change_keys(self) -> bool:
        """No key exchange is under way, and something was sent under these keys."""
        return self.out.ready and self.rekey.state is State.NONE and self.out.sent_packets > 0

    @property
    def rekey_due(self) -> bool:
        """Must the handshake change keys now?"""
        out = self.out
        return self.rekey.due(out.sent_bytes, out.sent_packets) and self.may_change_keys

    # -- its end

    def lost(self, ending: Callable[[Callable[[], None]], None]) -> None:
        """The leg is gone. Whoever has a part in it is told, each by way of `ending`, which lets no
        failure of one keep it from the others."""
        self.out.close()
        for handler in list(self.channels.values()):
            ending(handler.leg_lost)
        self.channels.clear()
        for answered in self.requests.lost():
            ending(partial(answered, None))
        ending(self.out.drop)


def _simple(handler: ChannelHandler, message: int, size: int, second: int) -> bool:
    """The three messages that come often; False: it is none of them, or not as it should be."""
    if message == MSG_CHANNEL_WINDOW_ADJUST and size == 9:
        handler.window_adjust(second)
    elif message == MSG_CHANNEL_EOF and size == 5:
        handler.eof()
    elif message == MSG_CHANNEL_CLOSE and size == 5:
        handler.peer_closed()
    else:
        return False
    return True
