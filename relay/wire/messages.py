"""The messages of the connection protocol that the relay writes and reads itself (RFC 4254 §5, §7).

A function named for a message returns its payload: the message number and its fields.
"""

from __future__ import annotations

from relay.wire.encoding import Reader, byte, string, uint32
from relay.wire.numbers import (
    MSG_CHANNEL_CLOSE,
    MSG_CHANNEL_EOF,
    MSG_CHANNEL_FAILURE,
    MSG_CHANNEL_OPEN,
    MSG_CHANNEL_OPEN_CONFIRMATION,
    MSG_CHANNEL_OPEN_FAILURE,
    MSG_CHANNEL_WINDOW_ADJUST,
    OpenFailure,
)

_EOF = byte(MSG_CHANNEL_EOF)
_CLOSE = byte(MSG_CHANNEL_CLOSE)
_FAILURE = byte(MSG_CHANNEL_FAILURE)
_WINDOW_ADJUST = byte(MSG_CHANNEL_WINDOW_ADJUST)


def channel_open(kind: bytes, sender: int, window: int, packet: int, fields: bytes) -> bytes:
    """§5.1; `fields` are those of the channel's kind."""
    return (
        byte(MSG_CHANNEL_OPEN)
        + string(kind)
        + uint32(sender)
        + uint32(window)
        + uint32(packet)
        + fields
    )


def tcpip_fields(host: str, port: int, origin_host: str, origin_port: int) -> bytes:
    """§7.2: the fields of `direct-tcpip` and of `forwarded-tcpip`."""
    return string(host) + uint32(port) + string(origin_host) + uint32(origin_port)


def streamlocal_fields(path: str) -> bytes:
    """OpenSSH's PROTOCOL §2.4: the fields of `direct-streamlocal@openssh.com`; a string and a
    number are reserved."""
    return string(path.encode(errors="surrogateescape")) + string(b"") + uint32(0)


def parse_tcpip(data: bytes) -> tuple[str, int, str, int]:
    """The same fields as they came. Raises `ProtocolViolation`."""
    reader = Reader(data)
    fields = reader.text(), reader.uint32(), reader.text(), reader.uint32()
    reader.end()
    return fields


def parse_forward(data: bytes) -> tuple[str, int]:
    """§7.1: the address and port of `tcpip-forward` and `cancel-tcpip-forward`. Raises
    `ProtocolViolation`."""
    reader = Reader(data)
    fields = reader.text(), reader.uint32()
    reader.end()
    return fields


def agent_started(age: int, name: bytes) -> bytes:
    """The fields of `AGENT_STARTED`; `age` in milliseconds."""
    return age.to_bytes(8, "big") + string(name)


def parse_agent_started(data: bytes) -> tuple[int, bytes]:
    """The same fields as they came. Raises `ProtocolViolation`."""
    reader = Reader(data)
    fields = reader.uint64(), reader.string()
    reader.end()
    return fields


def forward_fields(host: str, port: int) -> bytes:
    """§7.1: what `parse_forward` reads."""
    return string(host) + uint32(port)


def parse_port(data: bytes) -> int:
    """§7.1: the port that was picked, in the answer to a `tcpip-forward` for port 0. Raises
    `ProtocolViolation`."""
    reader = Reader(data)
    port = reader.uint32()
    reader.end()
    return port


def open_confirmation(recipient: int, sender: int, window: int, packet: int) -> bytes:
    """§5.1"""
    return (
        byte(MSG_CHANNEL_OPEN_CONFIRMATION)
        + uint32(recipient)
        + uint32(sender)
        + uint32(window)
        + uint32(packet)
    )


def open_failure(recipient: int, code: OpenFailure | int, reason: str) -> bytes:
    """§5.1; the language tag is empty."""
    return (
        byte(MSG_CHANNEL_OPEN_FAILURE)
        + uint32(recipient)
        + uint32(code)
        + string(reason)
        + string(b"")
    )


def window_adjust(recipient: int, size: int) -> bytes:
    """§5.2"""
    return _WINDOW_ADJUST + uint32(recipient) + uint32(size)


def eof(recipient: int) -> bytes:
    """§5.3"""
    return _EOF + uint32(recipient)


def close(recipient: int) -> bytes:
    """§5.3"""
    return _CLOSE + uint32(recipient)


def channel_failure(recipient: int) -> bytes:
    """§5.4: the request is not understood."""
    return _FAILURE + uint32(recipient)
