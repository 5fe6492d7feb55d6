"""The messages of the connection protocol that the relay writes and reads itself (RFC 4254 §5, §7).

A function named for a message returns its payload: the message number and its fields.
"""

from __future__ import annotations

from typing import Final

from relay.wire.encoding import Reader, byte, string, uint32
from relay.wire.numbers import (
    MAX_UINT32,
    MSG_CHANNEL_CLOSE,
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_EOF,
    MSG_CHANNEL_FAILURE,
    MSG_CHANNEL_OPEN,
    MSG_CHANNEL_OPEN_CONFIRMATION,
    MSG_CHANNEL_OPEN_FAILURE,
    MSG_CHANNEL_WINDOW_ADJUST,
    MSG_DISCONNECT,
    MSG_GLOBAL_REQUEST,
    MSG_REQUEST_FAILURE,
    MSG_REQUEST_SUCCESS,
    MSG_UNIMPLEMENTED,
    OpenFailure,
)

LONGEST_REASON: Final = 400
"""Characters of a reason, which may be of a peer's making and is passed on to another: a whole list
of algorithms that have none in common is about as long. With a packet's 256 KiB for each open that
is refused, what waits for a peer that does not read would be bounded in number only."""

_UNIMPLEMENTED = byte(MSG_UNIMPLEMENTED)
_SUCCESS = byte(MSG_REQUEST_SUCCESS)
_REQUEST_FAILURE = byte(MSG_REQUEST_FAILURE)
_DATA = byte(MSG_CHANNEL_DATA)
_EOF = byte(MSG_CHANNEL_EOF)
_CLOSE = byte(MSG_CHANNEL_CLOSE)
_FAILURE = byte(MSG_CHANNEL_FAILURE)
_WINDOW_ADJUST = byte(MSG_CHANNEL_WINDOW_ADJUST)


def unimplemented(sequence: int) -> bytes:
    """RFC 4253 §11.4: which packet it was, of those that came."""
    return _UNIMPLEMENTED + uint32(sequence & MAX_UINT32)


def disconnect(code: int, reason: str) -> bytes:
    """RFC 4253 §11.1; the language tag is empty."""
    return byte(MSG_DISCONNECT) + uint32(code) + string(reason) + string(b"")


def global_request(name: bytes, *, want_reply: bool, fields: bytes) -> bytes:
    """§4"""
    return byte(MSG_GLOBAL_REQUEST) + string(name) + byte(want_reply) + fields


def request_answer(fields: bytes | None) -> bytes:
    """§4: REQUEST_SUCCESS with these fields; None: REQUEST_FAILURE."""
    return _REQUEST_FAILURE if fields is None else _SUCCESS + fields


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


def service_down(host: str, port: int, age: int, reason: str) -> bytes:
    """The fields of `SERVICE_DOWN`; `age` in milliseconds."""
    return forward_fields(host, port) + age.to_bytes(8, "big") + string(reason)


def parse_service_down(data: bytes) -> tuple[str, int, int, str]:
    """The same fields as they came. Raises `ProtocolViolation`."""
    reader = Reader(data)
    fields = reader.text(), reader.uint32(), reader.uint64(), reader.text()
    reader.end()
    return fields


def service_refused(cause: str, reason: str) -> bytes:
    """The fields of `SERVICE_REFUSED`. No more than `LONGEST_REASON` is told."""
    return string(cause) + string(reason[:LONGEST_REASON])


def parse_service_refused(data: bytes) -> tuple[str, str]:
    """The same fields as they came. Raises `ProtocolViolation`."""
    reader = Reader(data)
    fields = reader.text(), reader.text()
    reader.end()
    return fields


def service_state(code: int, reason: str, near: str) -> bytes:
    """The fields of the answer to `SERVICE_STATE`."""
    return uint32(code) + string(reason[:LONGEST_REASON]) + string(near)


def parse_service_state(data: bytes) -> tuple[int, str, str]:
    """The same fields as they came. Raises `ProtocolViolation`."""
    reader = Reader(data)
    fields = reader.uint32(), reader.text(), reader.text()
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
    """§5.1; the language tag is empty. No more than `LONGEST_REASON` is told."""
    return (
        byte(MSG_CHANNEL_OPEN_FAILURE)
        + uint32(recipient)
        + uint32(code)
        + string(reason[:LONGEST_REASON])
        + string(b"")
    )


def window_adjust(recipient: int, size: int) -> bytes:
    """§5.2"""
    return _WINDOW_ADJUST + uint32(recipient) + uint32(size)


def channel_data(recipient: int, data: bytes) -> bytes:
    """§5.2: what is sent outside the data path."""
    return _DATA + uint32(recipient) + string(data)


def eof(recipient: int) -> bytes:
    """§5.3"""
    return _EOF + uint32(recipient)


def close(recipient: int) -> bytes:
    """§5.3"""
    return _CLOSE + uint32(recipient)


def channel_failure(recipient: int) -> bytes:
    """§5.4: the request is not understood."""
    return _FAILURE + uint32(recipient)
