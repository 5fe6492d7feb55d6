"""One channel on one leg: its numbers, its windows, and which messages may come and go.

The two directions of a channel are independent and each runs the same course (RFC 4254 §5):

    ANSWERING ──confirmation──► OPEN ──eof──► EOF ──close──► CLOSED
        │           WAITING ──►   │                          ▲   ▲
        │                         └───────────close──────────┘   │
        └────────────────────────────failure─────────────────────┘

It is ANSWERING if its sender was asked by CHANNEL_OPEN, and WAITING if its sender has asked and
may say nothing until it hears the answer. What the peer may send depends on the state of its
direction, `receiving`:

    message         WAITING  ANSWERING  OPEN     EOF      CLOSED
    CONFIRMATION    -        OPEN       -        -        -         §5.1: who was asked answers,
    FAILURE         -        CLOSED     -        -        -         once, and nobody else
    DATA            -        -          OPEN     -        -         §5.2, §5.3: no data after EOF
    WINDOW_ADJUST   -        -          OPEN     EOF      -         serves the other direction
    EOF             -        -          EOF      EOF      -         a second says nothing new
    REQUEST         -        -          OPEN     EOF      -         §5.4
    CLOSE           -        -          CLOSED   CLOSED   -         §5.3: once for each side

A dash is a violation: the peer's leg ends. A leg learns of a channel's number only by opening it
or by the confirmation, so every other message before that is a guess.

Windows are counted on both sides by ourselves: the peer's word is never taken for how much it
has sent, and a window never passes 2^32-1 (§5.2).
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from relay.errors import ProtocolViolation
from relay.wire.numbers import MAX_UINT32

MIN_PACKET: Final = 1024
"""The least that a side may announce as its maximum packet size. RFC 4254 §5.1 has no bound, but
a packet costs the same whatever is in it: a side that takes a byte at a time makes a million of
each MiB, and everybody else waits meanwhile. Every client we know announces 16 KiB and more."""


class Half(Enum):
    """How far one direction of a channel has come."""

    WAITING = "waiting for our answer"
    ANSWERING = "not confirmed yet"
    OPEN = "open"
    EOF = "at its EOF"
    CLOSED = "closed"


class Message(Enum):
    """The messages that name a channel."""

    CONFIRMATION = "OPEN_CONFIRMATION"
    FAILURE = "OPEN_FAILURE"
    DATA = "DATA"
    WINDOW_ADJUST = "WINDOW_ADJUST"
    EOF = "EOF"
    REQUEST = "REQUEST"
    CLOSE = "CLOSE"


TRANSITIONS: Final[dict[tuple[Half, Message], Half]] = {
    (Half.ANSWERING, Message.CONFIRMATION): Half.OPEN,
    (Half.ANSWERING, Message.FAILURE): Half.CLOSED,
    (Half.OPEN, Message.DATA): Half.OPEN,
    (Half.OPEN, Message.WINDOW_ADJUST): Half.OPEN,
    (Half.OPEN, Message.EOF): Half.EOF,
    (Half.OPEN, Message.REQUEST): Half.OPEN,
    (Half.OPEN, Message.CLOSE): Half.CLOSED,
    (Half.EOF, Message.WINDOW_ADJUST): Half.EOF,
    (Half.EOF, Message.EOF): Half.EOF,
    (Half.EOF, Message.REQUEST): Half.EOF,
    (Half.EOF, Message.CLOSE): Half.CLOSED,
}


class Channel:
    """One channel as this side sees it. Owned by the splice or the endpoint that it belongs to."""

    __slots__ = (
        "local_id",
        "receive_packet",
        "receive_window",
        "receiving",
        "remote_id",
        "send_packet",
        "send_window",
        "sending",
    )

    def __init__(self) -> None:
        # The number by which the peer calls this channel; the leg gives it.
        self.local_id = -1
        # The number by which we call it: the label of what we send. Known once OPEN.
        self.remote_id = -1
        # Bytes that the peer may still send, and the most in one packet: what was announced to
        # it, less what has come. Never negative.
        self.receive_window = 0
        self.receive_packet = 0
        # Bytes that we may still send, and the most in one packet: what the peer announced,
        # less what has gone. Never negative, never over 2^32-1.
        self.send_window = 0
        self.send_packet = 0
        # Until we have asked, the peer has nothing to answer.
        self.receiving = Half.WAITING
        self.sending = Half.WAITING

    def ask(self) -> None:
        """Our CHANNEL_OPEN goes out: the peer is to answer."""
        self.receiving = Half.ANSWERING

    def confirm(self, remote_id: int) -> None:
        """Our CONFIRMATION of the peer's open goes out; `remote_id` is the peer's number."""
        self.remote_id = remote_id
        self.receiving = self.sending = Half.OPEN

    def confirmed(self, remote_id: int) -> None:
        """The peer's CONFIRMATION of our open. Raises `ProtocolViolation` if we did not ask."""
        self.received(Message.CONFIRMATION)
        self.remote_id = remote_id
        self.sending = Half.OPEN

    def refused(self) -> None:
        """The peer's FAILURE of our open. Raises `ProtocolViolation` if we did not ask."""
        self.received(Message.FAILURE)
        self.sending = Half.CLOSED

    def received(self, message: Message) -> None:
        """The peer sent `message`; raises `ProtocolViolation` where the table has a dash."""
        half = TRANSITIONS.get((self.receiving, message))
        if half is None:
            raise ProtocolViolation(
                f"{message.value} on channel {self.local_id}, which is {self.receiving.value}"
            )
        self.receiving = half

    def received_data(self, size: int) -> None:
        """`DATA` of `size` bytes came: the hot path's form of `received`, with the window."""
        if self.receiving is not Half.OPEN:
            self.received(Message.DATA)
        if size > self.receive_window:
            raise ProtocolViolation(
                f"{size} bytes on channel {self.local_id}, whose window has {self.receive_window}"
            )
        if size > self.receive_packet:
            raise ProtocolViolation(
                f"{size} bytes in one packet on channel {self.local_id}, "
                f"which takes {self.receive_packet}"
            )
        self.receive_window -= size

    def received_window_adjust(self, size: int) -> None:
        """The peer lets us send `size` bytes more."""
        self.received(Message.WINDOW_ADJUST)
        self.send_window = _grown(self.send_window, size, self.local_id)

    def granted(self, size: int) -> None:
        """We let the peer send `size` bytes more."""
        self.receive_window = _grown(self.receive_window, size, self.local_id)

    def sent(self, message: Message) -> bool:
        """May `message` go out now? Notes it as sent if so; False if it would say nothing new."""
        half = TRANSITIONS.get((self.sending, message))
        if half is None or (message is Message.EOF and self.sending is Half.EOF):
            return False
        self.sending = half
        return True

    @property
    def finished(self) -> bool:
        """RFC 4254 §5.3: both sides have sent CLOSE; the number may be used again."""
        return self.receiving is Half.CLOSED and self.sending is Half.CLOSED


def _grown(window: int, size: int, channel: int) -> int:
    """RFC 4254 §5.2: "The window MUST NOT be increased above 2^32 - 1 bytes"."""
    if window + size > MAX_UINT32:
        raise ProtocolViolation(f"the window of channel {channel} grew over 2^32-1")
    return window + size
