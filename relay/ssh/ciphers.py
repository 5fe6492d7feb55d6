"""asyncssh's cipher objects as ours: AES-GCM's keys for `GcmCipher`, the others behind its methods.

For peers without AES-GCM: chacha20-poly1305@openssh.com, and AES-CTR with a MAC. Two copies a
packet, and twice the time; the same result.
"""

from __future__ import annotations

from collections.abc import Callable

from asyncssh.encryption import Encryption, GCMEncryption, get_encryption_params

from relay.core.limits import FED_PACKET
from relay.wire.cipher import TagMismatch, check_size, repadded
from relay.wire.encoding import uint32
from relay.wire.gcm import GcmCipher
from relay.wire.numbers import MAX_UINT32
from relay.wire.packet import LENGTH_SIZE, TAIL_ROOM


class SlowCipher:
    """One direction of a leg: an `Opener` or a `Sealer`."""

    cost = FED_PACKET

    def __init__(
        self, encryption: Encryption, block: int, tag: int, sequence: int, *, etm: bool
    ) -> None:
        """`sequence` is the number of the next packet (RFC 4253 §6.4)."""
        self.head = block
        self.overhead = LENGTH_SIZE + tag
        self._encryption = encryption
        self._sequence = sequence
        # An encrypted length is part of what is padded (RFC 4253 §6).
        self._uncounted = 0 if etm else LENGTH_SIZE
        # The beginning of the next packet, as asyncssh has decrypted it, and the length in it:
        # that may be asked for again and again until all of the packet is there.
        self._begun: tuple[bytes, int] | None = None

    def length(self, view: memoryview, start: int) -> int:
        if self._begun is None:
            first, length = self._encryption.decrypt_header(
                self._sequence, bytes(view[start : start + self.head]), LENGTH_SIZE
            )
            self._begun = first, int.from_bytes(length, "big")
            check_size(self._begun[1], self.head, self._uncounted)
        return self._begun[1]

    def open(self, view: memoryview, start: int, length: int) -> memoryview:
        assert self._begun is not None
        first, _ = self._begun
        self._begun = None
        end = start + LENGTH_SIZE + length
        tag = bytes(view[end : end + self.overhead - LENGTH_SIZE])
        rest = bytes(view[start + self.head : end])
        opened = self._encryption.decrypt_packet(self._sequence, first, rest, LENGTH_SIZE, tag)
        if not opened:
            raise TagMismatch
        self._sequence = (self._sequence + 1) & MAX_UINT32
        packet = bytearray(uint32(length) + opened)
        packet += bytes(TAIL_ROOM)
        return memoryview(packet)

    def seal(self, view: memoryview, start: int, length: int) -> bytes:
        body = repadded(view, start, length, self.head, self._uncounted)
        sealed, tag = self._encryption.encrypt_packet(self._sequence, uint32(len(body)), body)
        self._sequence = (self._sequence + 1) & MAX_UINT32
        return sealed + tag


Cipher = GcmCipher | SlowCipher


def cipher_for(encryption: Encryption, cipher: str, mac: str) -> Callable[[int], Cipher]:
    """What does the work of `encryption`, which is `cipher` with `mac` by their names, from the
    packet on whose number it is called with."""
    if isinstance(encryption, GCMEncryption):
        theirs = encryption._cipher
        ours = GcmCipher(theirs._key, theirs._iv)
        return lambda sequence: ours
    _, _, block, _, tag, etm = get_encryption_params(cipher.encode(), mac.encode())
    return lambda sequence: SlowCipher(encryption, max(8, block), tag, sequence, etm=etm)
