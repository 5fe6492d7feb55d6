"""relay/ssh/ciphers.py: a `SlowCipher` against asyncssh's own encryption objects, both ways."""

from __future__ import annotations

import os
from dataclasses import dataclass

import pytest
from asyncssh.encryption import Encryption, get_encryption, get_encryption_params
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.core.limits import FED_PACKET
from relay.errors import ProtocolViolation
from relay.ssh.ciphers import SlowCipher, cipher_for
from relay.trust import algorithms
from relay.wire.cipher import TagMismatch
from relay.wire.encoding import uint32
from relay.wire.gcm import GcmCipher
from relay.wire.packet import (
    MAX_LENGTH,
    OVERHEAD,
    PAYLOAD_OFFSET,
    frame,
    frame_data,
    payload_end,
    read_header,
)

AEAD = "chacha20-poly1305@openssh.com"
SLOW = [
    (AEAD, ""),
    *((cipher, mac) for cipher in ("aes128-ctr", "aes256-ctr") for mac in algorithms.MACS),
]
GCM = ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com"]

slow = pytest.mark.parametrize(("cipher", "mac"), SLOW)


@dataclass
class Keys:
    """Those of one direction."""

    cipher: str
    mac: str

    def __post_init__(self) -> None:
        names = self.cipher.encode(), self.mac.encode()
        key, iv, self.block, mac, self.tag, self.etm = get_encryption_params(*names)
        self.keys = os.urandom(key), os.urandom(iv), os.urandom(mac)

    def theirs(self) -> Encryption:
        """asyncssh's object."""
        key, iv, mac = self.keys
        return get_encryption(self.cipher.encode(), key, iv, self.mac.encode(), mac, self.etm)

    def ours(self, sequence: int = 0) -> SlowCipher | GcmCipher:
        return cipher_for(self.theirs(), self.cipher, self.mac)(sequence)

    def sealed(self, theirs: Encryption, sequence: int, payload: bytes) -> bytes:
        """A packet as asyncssh sends it."""
        block = max(8, self.block)
        counted = 0 if self.etm or self.cipher == AEAD or "gcm" in self.cipher else 4
        padding = -(counted + 1 + len(payload)) % block
        padding += block * (padding < 4)
        body = bytes([padding]) + payload + os.urandom(padding)
        packet, mac = theirs.encrypt_packet(sequence, uint32(len(body)), body)
        return packet + mac

    def opened(self, theirs: Encryption, sequence: int, packet: bytes) -> tuple[bytes, int]:
        """What asyncssh makes of a packet: its payload, and its size."""
        head = max(8, self.block)
        first, length = theirs.decrypt_header(sequence, packet[:head], 4)
        end = 4 + int.from_bytes(length, "big")
        tag = packet[end : end + self.tag]
        body = theirs.decrypt_packet(sequence, first, packet[head:end], 4, tag)
        assert body
        return body[1 : len(body) - body[0]], end + self.tag


def open_one(ours: SlowCipher | GcmCipher, packet: bytes) -> bytes:
    view = memoryview(bytearray(packet))
    length = ours.length(view, 0)
    assert length + ours.overhead == len(packet)
    opened = ours.open(view, 0, length)
    opened = view if opened is None else opened
    return bytes(opened[PAYLOAD_OFFSET : payload_end(opened, 0, length)])


def seal_one(ours: SlowCipher | GcmCipher, payload: bytes) -> bytes:
    packet = memoryview(frame(payload))
    sealed = ours.seal(packet, 0, len(packet) - OVERHEAD)
    return bytes(packet) if sealed is None else sealed


PAYLOADS = [b"x", b"", b"y" * 11, b"z" * 12, b"w" * 1000, b"\x5e" + bytes(40_000)]


@slow
@pytest.mark.parametrize("sequence", [0, 5, 2**32 - 2])
def test_both_directions(cipher: str, mac: str, sequence: int) -> None:
    """And the number of a packet wraps."""
    keys = Keys(cipher, mac)
    ours, theirs = (keys.ours(sequence), keys.ours(sequence)), (keys.theirs(), keys.theirs())
    for count, payload in enumerate(PAYLOADS, sequence):
        number = count & 0xFFFFFFFF
        payload = payload or b"\0"
        assert open_one(ours[0], keys.sealed(theirs[0], number, payload)) == payload
        packet = seal_one(ours[1], payload)
        assert keys.opened(theirs[1], number, packet) == (payload, len(packet))


@pytest.mark.parametrize("cipher", GCM)
def test_gcm_is_ours(cipher: str) -> None:
    keys = Keys(cipher, "")
    ours, theirs = (keys.ours(), keys.ours()), (keys.theirs(), keys.theirs())
    assert all(isinstance(one, GcmCipher) for one in ours)
    for number, payload in enumerate(PAYLOADS):
        payload = payload or b"\0"
        assert open_one(ours[0], keys.sealed(theirs[0], number, payload)) == payload
        packet = seal_one(ours[1], payload)
        assert keys.opened(theirs[1], number, packet) == (payload, len(packet))


@slow
def test_what_is_opened_lies_in_the_one_shape(cipher: str, mac: str) -> None:
    """It can be framed anew for AES-GCM where it lies."""
    keys = Keys(cipher, mac)
    ours, theirs = keys.ours(), keys.theirs()
    for number in range(40):
        payload = b"\x5e" + uint32(7) + uint32(number) + bytes(number)
        view = memoryview(bytearray(keys.sealed(theirs, number, payload)))
        packet = ours.open(view, 0, ours.length(view, 0))
        assert packet is not None
        assert read_header(packet, 0)[2:] == (0x5E, 7, number)
        length = frame_data(packet, 0, number)
        assert len(packet) >= length + OVERHEAD


@slow
@settings(max_examples=20)
@given(pieces=st.lists(st.integers(1, 60), max_size=20), sizes=st.lists(st.integers(1, 90)))
def test_any_split_of_the_bytes(cipher: str, mac: str, pieces: list[int], sizes: list[int]) -> None:
    """The length of a packet may be asked for with each piece."""
    keys = Keys(cipher, mac)
    ours, theirs = keys.ours(), keys.theirs()
    payloads = [bytes([size]) * size for size in sizes]
    stream = b"".join(keys.sealed(theirs, number, one) for number, one in enumerate(payloads))
    opened, pending = [], b""
    while stream:
        size = pieces.pop() if pieces else len(stream)
        pending, stream = pending + stream[:size], stream[size:]
        while len(pending) >= ours.head:
            view = memoryview(bytearray(pending))
            end = ours.length(view, 0) + ours.overhead
            if len(view) < end:
                break
            opened.append(open_one(ours, pending[:end]))
            pending = pending[end:]
    assert (opened, pending) == (payloads, b"")


@slow
def test_tampering_with_each_byte(cipher: str, mac: str) -> None:
    keys = Keys(cipher, mac)
    good = keys.sealed(keys.theirs(), 0, b"a payload")
    for at in range(len(good)):
        forged = bytearray(good)
        forged[at] ^= 1
        view = memoryview(forged + bytearray(MAX_LENGTH))
        ours = keys.ours()
        with pytest.raises(ProtocolViolation):
            ours.open(view, 0, ours.length(view, 0))


@slow
@pytest.mark.parametrize("what", ["number", "key"])
def test_a_packet_of_another_number_or_key(cipher: str, mac: str, what: str) -> None:
    keys = Keys(cipher, mac)
    other = Keys(cipher, mac)
    good = keys.sealed(keys.theirs(), 0, b"a payload")
    ours = other.ours() if what == "key" else keys.ours(1)
    view = memoryview(bytearray(good) + bytearray(MAX_LENGTH))
    try:
        length = ours.length(view, 0)
    except ProtocolViolation:
        return  # An encrypted length is nonsense then, most times.
    with pytest.raises(TagMismatch):
        ours.open(view, 0, length)


@slow
@pytest.mark.parametrize("length", [0, 4, 13, MAX_LENGTH + 64, 2**32 - 16])
def test_a_length_that_cannot_be(cipher: str, mac: str, length: int) -> None:
    keys = Keys(cipher, mac)
    packet, _ = keys.theirs().encrypt_packet(0, uint32(length), bytes(60))
    with pytest.raises(ProtocolViolation, match=f"a packet of {length} bytes"):
        keys.ours().length(memoryview(packet), 0)


def test_what_a_slow_packet_costs() -> None:
    assert SlowCipher.cost == FED_PACKET
