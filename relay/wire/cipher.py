"""What a leg opens and seals its packets with: two methods, whatever the cipher.

A packet that is opened has the shape that `packet.py` draws, be it AES-GCM's or not: one that was
padded for another cipher lies in memory of its own, so that everybody behind this finds the same.
In the other direction a packet is framed for AES-GCM, and what another cipher makes of it is told.
"""

from __future__ import annotations

from typing import Final, Protocol

from relay.errors import ProtocolViolation
from relay.wire.encoding import byte, uint32
from relay.wire.packet import (
    LENGTH_SIZE,
    MAX_LENGTH,
    MIN_PADDING,
    PAYLOAD_OFFSET,
    payload_end,
    read_length,
)

PLAIN_BLOCK: Final = 8
"""RFC 4253 §6: a packet without cipher is a multiple of this."""

LEAST_LENGTH: Final = 8
"""The least length: a byte of payload and its padding. RFC 4253 §6 has 12 ("the minimum size of a
packet is 16"); under chacha20-poly1305, whose length is not part of what is padded, OpenSSH sends
8."""


class TagMismatch(ProtocolViolation):
    """A packet was changed on its way, or sealed with another key."""

    def __init__(self) -> None:
        super().__init__("a packet failed its integrity check")


class Opener(Protocol):
    """The receiving direction of a leg."""

    @property
    def head(self) -> int:
        """Bytes that must be there to know a packet's length."""

    @property
    def overhead(self) -> int:
        """What a packet takes beside what its length field counts: that field, and a tag."""

    @property
    def cost(self) -> int:
        """What a packet counts of `PACKETS_PER_TURN`."""

    def length(self, view: memoryview, start: int) -> int:
        """What the length field of the packet at `start` says. Raises `ProtocolViolation`."""

    def open(self, view: memoryview, start: int, length: int) -> memoryview | None:
        """Verify and decrypt that packet. None: it lies where it came; else it is the whole of what
        is returned, which has room for `TAIL_ROOM`. Raises `TagMismatch`: not a byte may be used
        then."""


class Sealer(Protocol):
    """The sending direction of a leg."""

    def seal(self, view: memoryview, start: int, length: int) -> bytes | None:
        """Encrypt the packet at `start`, which is framed for AES-GCM. None: it lies there, its tag
        behind it; else what is returned is sent."""


def repadded(view: memoryview, start: int, length: int, block: int, uncounted: int = 0) -> bytes:
    """The packet at `start` without its length field, with zeros for padding, so that it is a
    multiple of `block` with the `uncounted` bytes before it."""
    payload = view[start + PAYLOAD_OFFSET : payload_end(view, start, length)]
    size = -(uncounted + 1 + len(payload)) % block
    if size < MIN_PADDING:
        size += block
    return byte(size) + bytes(payload) + bytes(size)


def check_size(length: int, block: int, uncounted: int = 0) -> None:
    """Is this what a length field may say? (RFC 4253 §6) Raises `ProtocolViolation`."""
    if length > MAX_LENGTH:
        raise ProtocolViolation(f"a packet of {length} bytes, more than {MAX_LENGTH}")
    if length < LEAST_LENGTH or (uncounted + length) % block:
        raise ProtocolViolation(f"a packet of {length} bytes, no multiple of {block}")


class Plain:
    """No cipher yet."""

    head = LENGTH_SIZE
    overhead = LENGTH_SIZE
    cost = 1

    def length(self, view: memoryview, start: int) -> int:
        length: int = read_length(view, start)[0]
        check_size(length, PLAIN_BLOCK, LENGTH_SIZE)  # So it is 12 or more.
        return length

    def open(self, view: memoryview, start: int, length: int) -> memoryview | None:
        return None

    def seal(self, view: memoryview, start: int, length: int) -> bytes | None:
        body = repadded(view, start, length, PLAIN_BLOCK, LENGTH_SIZE)
        return uint32(len(body)) + body
