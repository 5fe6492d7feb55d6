"""SOCKS 4, 4a and 5 as a server speaks them, as far as `-D` needs: CONNECT without authentication.

Bytes in, bytes out. RFC 1928 is SOCKS 5; SOCKS 4 and 4a are as their only descriptions have them
(Ying-Da Lee: `USERID` and, in 4a, the name behind an address of the form 0.0.0.x, both ended by a
zero byte). Names are passed on as they are: the far end resolves them, as with ssh.

    client ─greeting (5)──► method ─request──► the caller opens the stream ─► granted / refused
    client ─request (4, 4a)───────────────────►
"""

from __future__ import annotations

import ipaddress
from enum import Enum
from typing import Final, NamedTuple

from relay.errors import ProtocolViolation

MAX_TEXT: Final = 255
"""Bytes of a user's or host's name: what SOCKS 5 can say at most, and enough for SOCKS 4."""

_NO_AUTHENTICATION: Final = 0
_NO_ACCEPTABLE_METHOD: Final = 0xFF
_CONNECT: Final = 1
_IPV4, _NAME, _IPV6 = 1, 3, 4


class Reply(Enum):
    """How a request ended: the codes of SOCKS 5 (RFC 1928 §6) and of SOCKS 4."""

    GRANTED = (0, 90)
    FAILED = (1, 91)
    NOT_ALLOWED = (2, 91)
    REFUSED = (5, 91)
    COMMAND_UNKNOWN = (7, 91)
    ADDRESS_UNKNOWN = (8, 91)


class Request(NamedTuple):
    """The client wants a stream to `host:port`."""

    host: str
    port: int


class SocksViolation(ProtocolViolation):
    """What came is not SOCKS, or asks for more than CONNECT. `reply` is what to answer first."""

    def __init__(self, problem: str, reply: bytes = b"") -> None:
        super().__init__(problem)
        self.reply = reply


class _Incomplete(Exception):
    """The message's end has not come yet."""


class SocksServer:
    """One client's negotiation, up to its request."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._version = 0
        self._greeted = False

    def receive(self, data: bytes) -> tuple[Request | None, bytes]:
        """Take bytes from the client; returns its request, once it is whole, and what to send.

        Raises `SocksViolation`. What follows the request is in `rest`.
        """
        self._received += data
        answer = b""
        try:
            if not self._received:
                return None, b""
            version = 5 if self._greeted else self._received[0]
            if version == 4:
                return self._request_4(), b""
            if version != 5:
                raise SocksViolation(f"version {version} of SOCKS, or no SOCKS at all")
            self._version = 5
            if not self._greeted:
                answer = self._greeting()
            return self._request_5(), answer
        except _Incomplete:
            return None, answer
        except SocksViolation as violation:
            # Whoever sends its request without waiting gets both answers, in their order.
            violation.reply = answer + violation.reply
            raise

    @property
    def rest(self) -> bytes:
        """What the client sent behind its request already."""
        return bytes(self._received)

    def reply(self, reply: Reply) -> bytes:
        """The answer to the request. The address in it says nothing, as ssh's does not."""
        if self._version == 5:
            return bytes((5, reply.value[0], 0, _IPV4)) + bytes(6)
        return bytes((0, reply.value[1])) + bytes(6)

    # -- SOCKS 5

    def _greeting(self) -> bytes:
        """RFC 1928 §3: version, count, methods."""
        count = self._at(1)
        self._need(2 + count)
        methods = self._take(2 + count)[2:]
        if _NO_AUTHENTICATION not in methods:
            raise SocksViolation(
                "a client that insists on SOCKS authentication",
                bytes((5, _NO_ACCEPTABLE_METHOD)),
            )
        self._greeted = True
        return bytes((5, _NO_AUTHENTICATION))

    def _request_5(self) -> Request:
        """RFC 1928 §4: version, command, zero, address, port."""
        self._need(5)
        version, command, _, kind, first = self._received[:5]
        if version != 5:
            raise SocksViolation("a request that is not of SOCKS 5 behind its greeting")
        if command != _CONNECT:
            raise SocksViolation(
                f"SOCKS command {command}: only CONNECT is served",
                self.reply(Reply.COMMAND_UNKNOWN),
            )
        size = {_IPV4: 4, _IPV6: 16, _NAME: 1 + first}.get(kind)
        if size is None:
            raise SocksViolation(f"SOCKS address type {kind}", self.reply(Reply.ADDRESS_UNKNOWN))
        self._need(4 + size + 2)
        message = self._take(4 + size + 2)
        address, port = message[4 : 4 + size], int.from_bytes(message[4 + size :], "big")
        if kind == _NAME:
            return Request(self._name(address[1:]), port)
        return Request(str(ipaddress.ip_address(address)), port)

    # -- SOCKS 4 and 4a

    def _request_4(self) -> Request:
        """Version, command, port, address, user, zero; in 4a a name and a zero."""
        self._version = 4
        self._need(8)
        _, command = self._received[:2]
        port = int.from_bytes(self._received[2:4], "big")
        address = bytes(self._received[4:8])
        if command != _CONNECT:
            raise SocksViolation(
                f"SOCKS command {command}: only CONNECT is served", self.reply(Reply.FAILED)
            )
        end = self._text_end(8)
        if address[:3] == bytes(3) and address[3]:
            name_end = self._text_end(end)
            name = bytes(self._received[end : name_end - 1])
            self._take(name_end)
            return Request(self._name(name), port)
        self._take(end)
        return Request(str(ipaddress.ip_address(address)), port)

    def _text_end(self, start: int) -> int:
        """Behind the zero byte that ends the text at `start`."""
        end = self._received.find(b"\0", start)
        if (end if end >= 0 else len(self._received)) - start > MAX_TEXT:
            raise SocksViolation("a SOCKS name without an end", self.reply(Reply.FAILED))
        if end < 0:
            raise _Incomplete
        return end + 1

    def _name(self, text: bytes) -> str:
        try:
            name = text.decode("ascii")
        except UnicodeDecodeError:
            name = ""
        if not name or not name.isprintable():
            raise SocksViolation(
                "a SOCKS request for a host without a proper name", self.reply(Reply.FAILED)
            )
        return name

    # -- bytes

    def _at(self, index: int) -> int:
        self._need(index + 1)
        return self._received[index]

    def _need(self, size: int) -> None:
        if len(self._received) < size:
            raise _Incomplete

    def _take(self, size: int) -> bytes:
        taken = bytes(self._received[:size])
        del self._received[:size]
        return taken
