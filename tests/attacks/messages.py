"""The messages of SSH, one line each: what an attacker may send, however wrong, and how to read
what comes back. Written on asyncssh's encoders, so that no mistake of ours is on both sides.

A builder returns the payload of a packet. Numbers that a peer gives are `sender`, those that the
other side gave are `recipient`, as in RFC 4254 §5.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Final

from asyncssh.packet import Boolean, Byte, SSHPacket, String, UInt32

MIB: Final = 1 << 20

Text = str | bytes
"""What is to be text on the wire; bytes for one that is none."""

# RFC 4250 §4.1, RFC 8308, RFC 4250 §4.3
DISCONNECT, IGNORE, UNIMPLEMENTED, DEBUG, SERVICE_REQUEST, SERVICE_ACCEPT, EXT_INFO = range(1, 8)
KEXINIT, NEWKEYS, ECDH_INIT, ECDH_REPLY = 20, 21, 30, 31
USERAUTH_REQUEST, USERAUTH_FAILURE, USERAUTH_SUCCESS, USERAUTH_BANNER = range(50, 54)
GLOBAL_REQUEST, REQUEST_SUCCESS, REQUEST_FAILURE = range(80, 83)
OPEN, OPEN_CONFIRMATION, OPEN_FAILURE, WINDOW_ADJUST, DATA, EXTENDED_DATA, EOF = range(90, 97)
CLOSE, CHANNEL_REQUEST, CHANNEL_SUCCESS, CHANNEL_FAILURE = range(97, 101)
NOBODY_KNOWS: Final = 255
"""A message of no meaning: RFC 4253 §11.4 has it answered with UNIMPLEMENTED and its number."""

# Reasons of DISCONNECT (RFC 4250 §4.2.2)
PROTOCOL_ERROR, KEX_FAILED, MAC_ERROR, BY_APPLICATION = 2, 3, 5, 11

# Reasons of OPEN_FAILURE (RFC 4250 §4.3)
PROHIBITED, CONNECT_FAILED, UNKNOWN_CHANNEL_TYPE, RESOURCE_SHORTAGE = range(1, 5)


# -- the transport and the login


def disconnect(code: int = BY_APPLICATION, reason: str = "") -> bytes:
    return Byte(DISCONNECT) + UInt32(code) + String(reason) + String("")


def ignore(text: bytes = b"") -> bytes:
    return Byte(IGNORE) + String(text)


def unimplemented(sequence: int = 0) -> bytes:
    return Byte(UNIMPLEMENTED) + UInt32(sequence)


def debug(text: str = "") -> bytes:
    return Byte(DEBUG) + Boolean(False) + String(text) + String("")


def service_request(name: str = "ssh-userauth") -> bytes:
    return Byte(SERVICE_REQUEST) + String(name)


def kexinit(
    kex: str = "curve25519-sha256",
    host_key: str = "ssh-ed25519",
    cipher: str = "aes128-gcm@openssh.com",
    mac: str = "hmac-sha2-256",
    compression: str = "none",
) -> bytes:
    names = [kex, host_key, *[cipher] * 2, *[mac] * 2, *[compression] * 2, "", ""]
    return Byte(KEXINIT) + os.urandom(16) + b"".join(map(String, names)) + bytes(5)


def newkeys() -> bytes:
    return Byte(NEWKEYS)


def ecdh_init(public: bytes) -> bytes:
    return Byte(ECDH_INIT) + String(public)


def userauth_request(user: str, method: str = "none", fields: bytes = b"") -> bytes:
    names = String(user) + String("ssh-connection") + String(method)
    return Byte(USERAUTH_REQUEST) + names + fields


# -- the connection


def global_request(name: Text, fields: bytes = b"", want_reply: bool = True) -> bytes:
    return Byte(GLOBAL_REQUEST) + String(name) + Boolean(want_reply) + fields


def publish(host: Text, port: int, want_reply: bool = True) -> bytes:
    return global_request("tcpip-forward", String(host) + UInt32(port), want_reply)


def withdraw(host: Text, port: int, want_reply: bool = True) -> bytes:
    return global_request("cancel-tcpip-forward", String(host) + UInt32(port), want_reply)


def request_success(fields: bytes = b"") -> bytes:
    return Byte(REQUEST_SUCCESS) + fields


def request_failure() -> bytes:
    return Byte(REQUEST_FAILURE)


def channel_open(
    kind: Text, fields: bytes = b"", sender: int = 0, window: int = MIB, packet: int = 32768
) -> bytes:
    return Byte(OPEN) + String(kind) + UInt32(sender) + UInt32(window) + UInt32(packet) + fields


def _address(host: Text, port: int, origin: Text = "127.0.0.1") -> bytes:
    return String(host) + UInt32(port) + String(origin) + UInt32(1)


def open_direct(
    host: Text,
    port: int,
    sender: int = 0,
    window: int = MIB,
    packet: int = 32768,
    origin: Text = "127.0.0.1",
) -> bytes:
    return channel_open("direct-tcpip", _address(host, port, origin), sender, window, packet)


def open_forwarded(
    host: str, port: int, sender: int = 0, window: int = MIB, packet: int = 32768
) -> bytes:
    return channel_open("forwarded-tcpip", _address(host, port), sender, window, packet)


def confirmation(recipient: int, sender: int = 0, window: int = MIB, packet: int = 32768) -> bytes:
    numbers = recipient, sender, window, packet
    return Byte(OPEN_CONFIRMATION) + b"".join(map(UInt32, numbers))


def failure(recipient: int, code: int = CONNECT_FAILED, reason: str = "") -> bytes:
    return Byte(OPEN_FAILURE) + UInt32(recipient) + UInt32(code) + String(reason) + String("")


def window_adjust(recipient: int, size: int) -> bytes:
    return Byte(WINDOW_ADJUST) + UInt32(recipient) + UInt32(size)


def data(recipient: int, text: bytes = b"data") -> bytes:
    return Byte(DATA) + UInt32(recipient) + String(text)


def extended_data(recipient: int, text: bytes = b"data", code: int = 1) -> bytes:
    return Byte(EXTENDED_DATA) + UInt32(recipient) + UInt32(code) + String(text)


def eof(recipient: int) -> bytes:
    return Byte(EOF) + UInt32(recipient)


def close(recipient: int) -> bytes:
    return Byte(CLOSE) + UInt32(recipient)


def channel_request(
    recipient: int, name: Text = "shell", want_reply: bool = True, fields: bytes = b""
) -> bytes:
    return Byte(CHANNEL_REQUEST) + UInt32(recipient) + String(name) + Boolean(want_reply) + fields


def channel_success(recipient: int) -> bytes:
    return Byte(CHANNEL_SUCCESS) + UInt32(recipient)


def channel_failure(recipient: int) -> bytes:
    return Byte(CHANNEL_FAILURE) + UInt32(recipient)


ON_A_CHANNEL: Final[dict[str, Callable[[int], bytes]]] = {
    "confirmation": lambda number: confirmation(number, sender=3),
    "failure": failure,
    "window adjust": lambda number: window_adjust(number, 1000),
    "data": data,
    "extended data": extended_data,
    "eof": eof,
    "close": close,
    "request": channel_request,
}
"""What names a channel by its number and may mean something on it, by name."""


def anything(number: int, fields: bytes = b"") -> bytes:
    """A message of this number, with whatever behind it."""
    return Byte(number) + fields


def packet(payload: bytes) -> bytes:
    """The whole packet, as it is before the first keys."""
    padding = 16 - (5 + len(payload)) % 8
    return UInt32(1 + len(payload) + padding) + Byte(padding) + payload + bytes(padding)


# -- what comes back

_FIELDS: Final[dict[int, str]] = {
    DISCONNECT: "code:uint32 reason:string language:string",
    UNIMPLEMENTED: "sequence:uint32",
    GLOBAL_REQUEST: "name:string want_reply:boolean",
    OPEN: "kind:string sender:uint32 window:uint32 packet:uint32 host:string port:uint32",
    OPEN_CONFIRMATION: "recipient:uint32 sender:uint32 window:uint32 packet:uint32",
    OPEN_FAILURE: "recipient:uint32 code:uint32 reason:string",
    WINDOW_ADJUST: "recipient:uint32 size:uint32",
    DATA: "recipient:uint32 text:string",
    EXTENDED_DATA: "recipient:uint32 code:uint32 text:string",
    EOF: "recipient:uint32",
    CLOSE: "recipient:uint32",
    CHANNEL_REQUEST: "recipient:uint32 name:string want_reply:boolean",
    CHANNEL_SUCCESS: "recipient:uint32",
    CHANNEL_FAILURE: "recipient:uint32",
}
"""The fields that tests ask for; of an OPEN, as if it were for tcpip."""


class Message:
    """A payload that came. Its fields have the names of the builders' parameters; strings are
    bytes."""

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        self.number = payload[0] if payload else -1

    @cached_property
    def _fields(self) -> dict[str, object]:
        rest, fields = SSHPacket(self.payload[1:]), {}
        for field in _FIELDS.get(self.number, "").split():
            name, _, kind = field.partition(":")
            fields[name] = getattr(rest, f"get_{kind}")()
        return fields

    def __getattr__(self, name: str) -> Any:
        try:
            return self._fields[name]
        except KeyError:
            raise AttributeError(f"message {self.number} has no field {name!r}") from None

    def matches(self, numbers: Sequence[int], fields: Mapping[str, object]) -> bool:
        """Is it one of these numbers, and has it these fields?"""
        return self.number in numbers and all(
            self._fields[name] == value for name, value in fields.items()
        )

    def __repr__(self) -> str:
        shown = self.payload[1:41].hex(" ") + (" ..." if len(self.payload) > 41 else "")
        return f"<message {self.number}: {shown}>"
