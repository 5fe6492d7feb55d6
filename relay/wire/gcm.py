"""AES-GCM of RFC 5647, as OpenSSH uses it, in place.

`cryptography` works in the caller's memory and releases the interpreter lock meanwhile, so a
packet is opened and sealed where the socket put it.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from relay.wire.cipher import TagMismatch
from relay.wire.packet import (
    BLOCK_SIZE,
    LENGTH_SIZE,
    MAX_LENGTH,
    OVERHEAD,
    TAG_SIZE,
    check_length,
    read_length,
)

_COUNTER = Struct(">Q")
_FIXED_SIZE: Final = 4
_COUNTER_MASK: Final = 2**64 - 1

MAX_BLOCKS: Final = 2**32
"""Blocks of 16 bytes under one key, after which keys are changed: 2^(L/4) of RFC 4344 §3.2 for
a block of L = 128 bits, 64 GiB, which is OpenSSH's limit as well. RFC 5647 sets none."""

MAX_PACKETS: Final = 2**31
"""Packets under one key (RFC 4344 §3.1), OpenSSH's limit as well."""


class GcmCipher:
    """One direction of a leg: an `Opener` or a `Sealer`, in place."""

    __slots__ = ("_counter", "_decrypt_into", "_encrypt_into", "_nonce")

    head = LENGTH_SIZE
    overhead = OVERHEAD
    cost = 1

    def __init__(self, key: bytes, iv: bytes) -> None:
        """`key`: 16 or 32 bytes; `iv`: 12 bytes, fixed field and counter (RFC 5647 §7.1)."""
        aead = AESGCM(key)
        self._encrypt_into = aead.encrypt_into
        self._decrypt_into = aead.decrypt_into
        self._nonce = bytearray(iv)
        # The next invocation's number. Advances by one for each packet.
        self._counter = int.from_bytes(iv[_FIXED_SIZE:], "big")

    def length(self, view: memoryview, start: int) -> int:
        """RFC 5647 §7.2"""
        length: int = read_length(view, start)[0]
        if length % BLOCK_SIZE or not BLOCK_SIZE <= length <= MAX_LENGTH:
            check_length(length)
        return length

    def open(self, buffer: memoryview, start: int, length: int) -> None:
        """Verify and decrypt the packet at `start`, whose length field says `length`.

        Raises `TagMismatch`; not a byte of it may be used then.
        """
        counter = self._counter
        _COUNTER.pack_into(self._nonce, _FIXED_SIZE, counter)
        self._counter = (counter + 1) & _COUNTER_MASK
        body = start + LENGTH_SIZE
        end = body + length
        try:
            self._decrypt_into(
                self._nonce, buffer[body : end + TAG_SIZE], buffer[start:body], buffer[body:end]
            )
        except InvalidTag:
            raise TagMismatch from None

    def seal(self, buffer: memoryview, start: int, length: int) -> None:
        """Encrypt the packet at `start` and write its tag behind it."""
        counter = self._counter
        _COUNTER.pack_into(self._nonce, _FIXED_SIZE, counter)
        self._counter = (counter + 1) & _COUNTER_MASK
        body = start + LENGTH_SIZE
        end = body + length
        self._encrypt_into(
            self._nonce, buffer[body:end], buffer[start:body], buffer[body : end + TAG_SIZE]
        )
