"""The shape of an SSH packet under an AEAD cipher, and of a data packet in it.

RFC 4253 §6 and RFC 5647 §7.3; the length is authenticated but not encrypted:

     0        4      5    6          10        14            14+n
    | length | pad  | 94 | channel  | n       | n data bytes | padding | 16-byte tag |
    |  AAD   |◄────────── encrypted, a multiple of 16 ────────────────►|

A data packet that arrives on one leg and leaves on another has the same shape on both; only
the channel number, the label, differs. All that follows from this picture is written down
here and nowhere else.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from relay.errors import ProtocolViolation
from relay.wire.numbers import MSG_CHANNEL_DATA

LENGTH_SIZE: Final = 4
TAG_SIZE: Final = 16
BLOCK_SIZE: Final = 16
MIN_PADDING: Final = 4
"""RFC 4253 §6: "There MUST be at least four bytes of padding"."""

OVERHEAD: Final = LENGTH_SIZE + TAG_SIZE
"""What a packet takes beside its encrypted part."""

PAYLOAD_OFFSET: Final = 5
LABEL_OFFSET: Final = 6
DATA_OFFSET: Final = 14
DATA_HEADER: Final = 9
"""Message number, channel and length: what a data packet's payload has before the data."""

MAX_LENGTH: Final = 256 * 1024
"""The largest packet length that is accepted: OpenSSH's and asyncssh's own bound. RFC 4253 §6.1
asks for 35,000 bytes at least, and for a check, so that nobody makes us hold more."""

MAX_DATA: Final = 120 * 1024
"""The largest data that our own programs put in a packet. Measured on loopback: from here on the
fixed cost of a packet no longer shows, and on a slow link others wait for a packet's last byte.
Four of them, framed, fit in one receive of 512 KiB."""

TAIL_ROOM: Final = MIN_PADDING + BLOCK_SIZE + TAG_SIZE
"""Memory that padding and tag may take behind the data."""

_LENGTH = Struct(">I")
_HEADER = Struct(">IBBII")
_PADDINGS = [bytes(size) for size in range(MIN_PADDING + BLOCK_SIZE)]

read_length = _LENGTH.unpack_from
write_label = _LENGTH.pack_into
read_header = _HEADER.unpack_from
"""Of an opened packet: length, padding, message number, and what in a data packet are the channel
and the size of the data. The smallest packet has as many bytes."""


def check_length(length: int) -> None:
    """Is this what a packet's length field may say? (RFC 4253 §6, RFC 5647 §7.2)"""
    if length > MAX_LENGTH:
        raise ProtocolViolation(f"a packet of {length} bytes, more than {MAX_LENGTH}")
    if length < BLOCK_SIZE or length % BLOCK_SIZE:
        raise ProtocolViolation(f"a packet of {length} bytes, no multiple of {BLOCK_SIZE}")


def padding_for(payload_size: int) -> int:
    """Bytes of padding that bring the encrypted part to a multiple of the block size."""
    return MIN_PADDING + -(1 + payload_size + MIN_PADDING) % BLOCK_SIZE


def payload_end(buffer: memoryview | bytearray, start: int, length: int) -> int:
    """Where the payload of the opened packet at `start` ends.

    Raises `ProtocolViolation` when the padding is out of range: RFC 4253 §6 asks for four bytes
    at least, and a payload has a byte at least.
    """
    padding = buffer[start + LENGTH_SIZE]
    end = start + LENGTH_SIZE + length - padding
    if padding < MIN_PADDING or end <= start + PAYLOAD_OFFSET:
        raise ProtocolViolation(f"a padding of {padding} bytes in a packet of {length}")
    return end


def check_data(length: int, padding: int, size: int) -> None:
    """Do the three lengths of an opened data packet agree?"""
    if 1 + DATA_HEADER + size + padding != length or padding < MIN_PADDING:
        raise ProtocolViolation(
            f"a data packet of {length} bytes that claims {size} of data and {padding} of padding"
        )


def frame_data(buffer: memoryview, start: int, size: int) -> int:
    """Write header and padding around `size` bytes of data that stand at `start + DATA_OFFSET`.

    Returns the packet's length field. The label is left to whoever seals it. The padding is
    zeros where RFC 4253 §6 would like random bytes: under an AEAD cipher they hide nothing,
    and what stood in the buffer before must not leak.
    """
    padding = padding_for(DATA_HEADER + size)
    length = 1 + DATA_HEADER + size + padding
    _HEADER.pack_into(buffer, start, length, padding, MSG_CHANNEL_DATA, 0, size)
    end = start + DATA_OFFSET + size
    buffer[end : end + padding] = _PADDINGS[padding]
    return length


def frame(payload: bytes) -> bytearray:
    """A whole packet around a payload, with room for its tag, ready to be sealed."""
    padding = padding_for(len(payload))
    length = 1 + len(payload) + padding
    packet = bytearray(length + OVERHEAD)
    _LENGTH.pack_into(packet, 0, length)
    packet[LENGTH_SIZE] = padding
    packet[PAYLOAD_OFFSET : PAYLOAD_OFFSET + len(payload)] = payload
    return packet
