"""A mux with nobody around it: whom it calls writes that down, and its peer is told what to send.

The peer of a `Leg` seals and opens with ciphers of its own, so that what goes in and out is what is
on the wire.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from relay.core.handler import ChannelHandler, OpenRefused
from relay.core.handshake import BeforeLogin
from relay.core.limits import KIB
from relay.core.mux import Mux
from relay.core.outgoing import Outgoing
from relay.core.output import Buffer
from relay.core.requests import GlobalRequest
from relay.wire.cipher import Opener, Plain, Sealer
from relay.wire.encoding import byte, string, uint32
from relay.wire.gcm import GcmCipher
from relay.wire.numbers import MSG_CHANNEL_OPEN_CONFIRMATION, MSG_KEXINIT, MSG_NEWKEYS
from relay.wire.packet import OVERHEAD, frame, payload_end

PLENTY: Final = 2**40

KEXINIT: Final = byte(MSG_KEXINIT) + b"kexinit"
NEWKEYS: Final = byte(MSG_NEWKEYS)


class Shared:
    """What an engine is to a leg."""

    def __init__(self) -> None:
        self.waiting = self.legs_waiting = 0
        self.too_much_for_one = PLENTY
        self.marked: list[Outgoing] = []
        self.woken: list[Outgoing] = []

    def mark(self, leg: Outgoing) -> None:
        self.marked.append(leg)

    def wake(self, leg: Outgoing) -> None:
        self.woken.append(leg)

    def flush(self) -> None:
        """The end of a batch."""
        while self.marked or self.woken:
            marked, self.marked = self.marked, []
            for leg in marked:
                leg.flush()
            woken, self.woken = self.woken, []
            for leg in woken:
                leg.wake()


class Stream:
    """Takes `room` bytes, and no more."""

    def __init__(self, room: int = PLENTY) -> None:
        self.room = room
        self.taken = bytearray()
        self.sends = 0
        self.pauses: set[object] = set()
        self.awaited = 0

    def send(self, buffers: list[Buffer]) -> int:
        data = b"".join(buffers)[: self.room]
        self.room -= len(data)
        self.taken += data
        self.sends += 1
        return len(data)

    def await_room(self) -> None:
        self.awaited += 1

    def pause(self, reason: object) -> None:
        self.pauses.add(reason)

    def resume(self, reason: object) -> None:
        self.pauses.discard(reason)


class Handler(ChannelHandler):
    """Writes down what comes on its channel."""

    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []

    def data(self, view: memoryview, start: int, length: int, size: int) -> None:
        self.said.append(("data", bytes(view[start + 14 : start + 14 + size])))

    def window_adjust(self, size: int) -> None:
        self.said.append(("window", size))

    def eof(self) -> None:
        self.said.append(("eof",))

    def peer_closed(self) -> None:
        self.said.append(("close",))

    def request(self, want_reply: bool) -> None:
        self.said.append(("request", want_reply))

    def opened_by_peer(self, sender: int, window: int, packet: int) -> None:
        self.said.append(("opened", sender, window, packet))

    def confirmed(self, sender: int, window: int, packet: int) -> None:
        self.said.append(("confirmed", sender, window, packet))

    def failed(self, code: int, reason: str) -> None:
        self.said.append(("failed", code, reason))

    def leg_lost(self) -> None:
        self.said.append(("lost",))


def cipher(number: int) -> GcmCipher:
    """One of any number of ciphers; both ends of a direction get the same."""
    return GcmCipher(bytes([number]) * 16, bytes(12))


class Leg:
    """A mux, as its owner, and its peer."""

    def __init__(self, before_login: BeforeLogin | None = None) -> None:
        self.shared = Shared()
        self.stream = Stream()
        self.happened: list[tuple[Any, ...]] = []
        self.mux = Mux(self.shared, self, before_login or BeforeLogin(300, 64 * KIB))
        self.out = self.mux.out
        self.out.attach(self.stream)
        # What serves an open, or refuses it; what is done with a message below 80.
        self.opens: Callable[[], ChannelHandler] = Handler
        self.on_handshake: Callable[[bytes], None] = lambda payload: None
        self.on_request: Callable[[GlobalRequest], None] = lambda request: None
        self.on_line: Callable[[bytes], None] = lambda line: self.mux.lines_are_over()
        # The peer's.
        self.peer_seals: Sealer = Plain()
        self.peer_opens: Opener = Plain()
        self._unread = bytearray()
        # Of ours, those that the mux has been given, and those that the peer has heard of.
        self._ciphers = 0
        self._ciphers_heard = 0

    # -- its owner

    def line(self, data: bytes) -> None:
        self.happened.append(("line", data))
        self.on_line(data)

    def handshake(self, payload: bytes) -> None:
        self.happened.append(("handshake", payload))
        self.on_handshake(payload)

    def opened(self, kind: bytes, fields: bytes) -> ChannelHandler:
        self.happened.append(("opened", kind, fields))
        return self.opens()

    def refused(self, what: str) -> None:
        self.happened.append(("refused", what))

    def idle(self) -> None:
        self.happened.append(("idle",))

    def requested(self, request: GlobalRequest) -> None:
        self.happened.append(("requested", request))
        self.on_request(request)

    def told(self, name: bytes, fields: bytes) -> None:
        self.happened.append(("told", name, fields))

    def limit_hit(self, limit: str, /) -> None:
        self.happened.append(("limit", limit))

    def others_wait(self) -> None:
        self.happened.append(("others wait",))

    def failed(self, error: Exception) -> None:
        self.happened.append(("failed", error))
        self.out.close()

    def events(self) -> list[tuple[Any, ...]]:
        """What it was told since this was last asked."""
        happened, self.happened = self.happened, []
        return happened

    # -- its peer

    def sealed(self, *payloads: bytes) -> bytes:
        """The packets of these, as the peer sends them."""
        packets = b""
        for payload in payloads:
            packet = frame(payload)
            own = self.peer_seals.seal(memoryview(packet), 0, len(packet) - OVERHEAD)
            packets += packet if own is None else own
        return packets

    def send(self, *payloads: bytes, now: float = 0.0) -> tuple[int, bool]:
        """The peer sends these in one piece."""
        return self.feed(self.sealed(*payloads), now)

    def feed(self, data: bytes, now: float = 0.0) -> tuple[int, bool]:
        """These bytes come, in the middle of other memory."""
        view = memoryview(bytearray(b"x" * 7 + data + b"x" * 40))
        start, much = self.mux.received(view, 7, 7 + len(data), now)
        return start - 7, much

    def heard(self) -> list[bytes]:
        """The payloads that have come to the peer since this was last asked."""
        self.shared.flush()
        self._unread += self.stream.taken
        self.stream.taken.clear()
        payloads = []
        while len(self._unread) >= self.peer_opens.head:
            view = memoryview(bytearray(self._unread))
            length = self.peer_opens.length(view, 0)
            after = length + self.peer_opens.overhead
            if len(view) < after:
                break
            assert self.peer_opens.open(view, 0, length) is None
            payloads.append(bytes(view[5 : payload_end(view, 0, length)]))
            del self._unread[:after]
            if payloads[-1] == NEWKEYS:
                self._ciphers_heard += 1
                self.peer_opens = cipher(self._ciphers_heard)
        return payloads

    # -- how it begins

    def start(self) -> Leg:
        """The versions have been exchanged."""
        self.feed(b"SSH-2.0-peer\r\n")
        self.events()
        return self

    def our_kexinit(self) -> None:
        self.mux.send_handshake(KEXINIT)

    def our_newkeys(self, *, strict: bool = True) -> None:
        self._ciphers += 1
        mine = self._ciphers
        self.mux.send_handshake(NEWKEYS)
        self.mux.seal_with(lambda number: cipher(mine), strict=strict)
        self.mux.keys_changed()

    def their_newkeys(self, *payloads: bytes, strict: bool = True) -> tuple[int, bool]:
        """The peer changes its keys, and sends these under the new ones."""
        theirs = 100 + self._ciphers

        def changed(payload: bytes) -> None:
            if payload == NEWKEYS:
                self.mux.open_with(lambda number: cipher(theirs), strict=strict)

        before, self.on_handshake = self.on_handshake, changed
        data = self.sealed(NEWKEYS)
        self.peer_seals = cipher(theirs)
        done = self.feed(data + self.sealed(*payloads))
        self.on_handshake = before
        return done

    def keyed(self) -> Leg:
        """The first keys are in force, both ways."""
        self.our_kexinit()
        self.send(KEXINIT)
        self.our_newkeys()
        self.their_newkeys()
        self.heard()
        self.events()
        return self

    def logged_in(self) -> Leg:
        """The login is over."""
        self.start().keyed().mux.logged_in()
        self.shared.flush()
        return self

    def channel(self) -> tuple[int, Handler]:
        """One more channel, as if it were open."""
        handler = Handler()
        return self.mux.add(handler), handler


def refusing(code: Any, reason: str) -> Callable[[], ChannelHandler]:
    """What refuses every open."""

    def opens() -> ChannelHandler:
        raise OpenRefused(code, reason)

    return opens


def message(number: int, *fields: int | bytes) -> bytes:
    """A payload: numbers are uint32, bytes stand as they are."""
    parts = (uint32(field) if isinstance(field, int) else field for field in fields)
    return byte(number) + b"".join(parts)


def confirmation(number: int, sender: int = 7, window: int = 1000, packet: int = 2000) -> bytes:
    return message(MSG_CHANNEL_OPEN_CONFIRMATION, number, sender, window, packet)


def open_message(kind: bytes = b"kind", sender: int = 7, packet: int = 2000) -> bytes:
    return message(90, string(kind), sender, 1000, packet, b"fields")
