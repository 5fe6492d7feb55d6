"""What the two ends of a resumable session say to each other (design.md §6).

Within the session, as global requests (RFC 4254 §4):

    RESUME           version, lifetime, buffer, the id of an earlier session or nothing
      its answer     id, secret, lifetime, buffer, is the earlier session known?
    RESUME_RECEIVED  bytes received so far, and whether the same is wanted in return

And instead of a session's first bytes, on a new channel:

    A  line | id | attempt | received | HMAC             80 bytes
    C  its version line, as ever, and then
       line | received | HMAC                            56 bytes, or another line alone: no

The HMAC is by the secret, over all that is before it and, in the answer, over the question too: an
answer is good for its own attempt alone. A relay on the way reads all this and can make none of it.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Final

from relay.errors import ProtocolViolation
from relay.wire.encoding import Reader, byte, string, uint32

VERSION: Final = 1

ID_SIZE: Final = 16
SECRET_SIZE: Final = 32
MAC_SIZE: Final = 32

LINE_SIZE: Final = 16
ATTACH_LINE: Final = b"relay-resume-1\r\n"
"""A line, so that an sshd which takes it for a version (RFC 4253 §4.2) refuses it at once."""
YES_LINE: Final = b"relay-resumed1\r\n"
NO_LINE: Final = b"relay-not-known\n"

ATTACH_SIZE: Final = LINE_SIZE + ID_SIZE + 8 + 8 + MAC_SIZE
YES_SIZE: Final = LINE_SIZE + 8 + MAC_SIZE

LONGEST_VERSION: Final = 255
"""Bytes of a version line with its end (RFC 4253 §4.2)."""


@dataclass(frozen=True, slots=True)
class Offer:
    """`RESUME`: A would like to come back."""

    lifetime: int
    """Milliseconds for which a session without a carrier is kept."""
    buffer: int
    """Bytes that A retains at most."""
    earlier: bytes = b""
    """The id of a session that C is said not to know; empty: there is none."""
    version: int = VERSION

    def fields(self) -> bytes:
        numbers = (self.version, self.lifetime, self.buffer)
        return b"".join(map(uint32, numbers)) + string(self.earlier)


def parse_offer(data: bytes) -> Offer:
    """Raises `ProtocolViolation`."""
    reader = Reader(data)
    version, lifetime, buffer = reader.uint32(), reader.uint32(), reader.uint32()
    # What a later version has behind that is not ours to judge.
    return Offer(lifetime, buffer, reader.string(), version)


@dataclass(frozen=True, slots=True)
class Agreement:
    """C's answer: what both keep to."""

    id: bytes
    secret: bytes
    lifetime: int
    buffer: int
    """Bytes that C retains at most."""
    knows_earlier: bool

    def __repr__(self) -> str:
        return f"Agreement({self.id.hex()})"  # No log has the secret.

    def fields(self) -> bytes:
        known = byte(self.knows_earlier)
        numbers = uint32(self.lifetime) + uint32(self.buffer)
        return string(self.id) + string(self.secret) + numbers + known


def parse_agreement(data: bytes) -> Agreement:
    """Raises `ProtocolViolation`."""
    reader = Reader(data)
    agreement = Agreement(
        reader.string(), reader.string(), reader.uint32(), reader.uint32(), reader.byte() != 0
    )
    reader.end()
    if len(agreement.id) != ID_SIZE or len(agreement.secret) != SECRET_SIZE:
        raise ProtocolViolation("a resumable session with an id or a secret of the wrong length")
    return agreement


def received_fields(received: int, *, wanted: bool) -> bytes:
    """The fields of `RESUME_RECEIVED`."""
    return received.to_bytes(8, "big") + byte(wanted)


def parse_received(data: bytes) -> tuple[int, bool]:
    """The same fields as they came. Raises `ProtocolViolation`."""
    reader = Reader(data)
    fields = reader.uint64(), reader.byte() != 0
    reader.end()
    return fields


@dataclass(frozen=True, slots=True)
class Attach:
    """A's question on a new channel."""

    id: bytes
    attempt: int
    """Higher than in any question before."""
    received: int
    """Bytes of C's that A has."""
    mac: bytes = b""

    def _told(self) -> bytes:
        numbers = self.attempt.to_bytes(8, "big") + self.received.to_bytes(8, "big")
        return ATTACH_LINE + self.id + numbers

    def sealed(self, secret: bytes) -> bytes:
        """As it is sent."""
        told = self._told()
        return told + hmac.digest(secret, told, "sha256")

    def is_by(self, secret: bytes) -> bool:
        """Does it come from who has the secret?"""
        return hmac.compare_digest(hmac.digest(secret, self._told(), "sha256"), self.mac)

    def _mac_of_answer(self, secret: bytes, received: int) -> bytes:
        told = self._told() + YES_LINE + received.to_bytes(8, "big")
        return hmac.digest(secret, told, "sha256")

    def answer(self, secret: bytes, received: int) -> bytes:
        """C's yes: it has so many bytes of A's."""
        return YES_LINE + received.to_bytes(8, "big") + self._mac_of_answer(secret, received)

    def answered(self, secret: bytes, answer: bytes) -> int | None:
        """What C has received, by the `YES_SIZE` bytes of its answer; None: they are not C's, or
        not to this question."""
        received = int.from_bytes(answer[LINE_SIZE : LINE_SIZE + 8], "big")
        mac = self._mac_of_answer(secret, received)
        good = hmac.compare_digest(mac, answer[LINE_SIZE + 8 :])
        return received if good and answer.startswith(YES_LINE) else None


def may_be_attach(data: bytes) -> bool:
    """Can what begins so be an attach? (Of a version line not even the first byte can.)"""
    return ATTACH_LINE.startswith(data[:LINE_SIZE])


def parse_attach(data: bytes) -> Attach:
    """The `ATTACH_SIZE` bytes of one, which `may_be_attach`."""
    rest = data[LINE_SIZE:]
    attempt, received = (int.from_bytes(rest[at : at + 8], "big") for at in (ID_SIZE, ID_SIZE + 8))
    return Attach(rest[:ID_SIZE], attempt, received, rest[ID_SIZE + 16 :])
