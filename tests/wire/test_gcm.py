"""relay/wire/gcm.py: AES-GCM in place, the same as asyncssh's."""

from __future__ import annotations

import pytest
from asyncssh.crypto.cipher import GCMCipher, get_cipher_params
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import ProtocolViolation
from relay.wire.gcm import GcmCipher, TagMismatch
from relay.wire.packet import (
    DATA_OFFSET,
    LENGTH_SIZE,
    OVERHEAD,
    PAYLOAD_OFFSET,
    TAG_SIZE,
    frame,
    frame_data,
    payload_end,
    read_length,
)

KEYS = [bytes(range(16)), bytes(range(32))]
IV = bytes(range(100, 112))
LAST_IV = IV[:4] + b"\xff" * 8
"""Its counter stands at 2^64-1: the next is 0, and the fixed field stays (RFC 5647 §7.1)."""

payloads = st.binary(min_size=1, max_size=200)
both_keys = pytest.mark.parametrize("key", KEYS, ids=["aes128", "aes256"])
both_ivs = pytest.mark.parametrize("iv", [IV, LAST_IV], ids=["", "rollover"])


def sealed(cipher: GcmCipher, payload: bytes) -> bytearray:
    packet = frame(payload)
    cipher.seal(memoryview(packet), 0, len(packet) - OVERHEAD)
    return packet


def opened(cipher: GcmCipher, packet: bytearray) -> bytes:
    length = read_length(packet)[0]
    cipher.open(memoryview(packet), 0, length)
    return bytes(packet[PAYLOAD_OFFSET : payload_end(packet, 0, length)])


def asyncssh_cipher(key: bytes, iv: bytes) -> GCMCipher:
    name = f"aes{len(key) * 8}-gcm"
    assert get_cipher_params(name) == (len(key), len(iv), 16)
    return GCMCipher(name, key, iv)


@given(st.sampled_from(KEYS), st.lists(payloads, min_size=1, max_size=5))
def test_what_is_sealed_is_opened(key: bytes, messages: list[bytes]) -> None:
    sender, receiver = GcmCipher(key, IV), GcmCipher(key, IV)
    for message in messages:
        assert opened(receiver, sealed(sender, message)) == message


@both_ivs
@both_keys
def test_asyncssh_opens_what_is_sealed(key: bytes, iv: bytes) -> None:
    ours, theirs = GcmCipher(key, iv), asyncssh_cipher(key, iv)
    for number in range(1, 300):
        plain = bytes(frame(bytes(number)))
        packet = bytes(sealed(ours, bytes(number)))
        header, body, tag = (
            packet[:LENGTH_SIZE],
            packet[LENGTH_SIZE:-TAG_SIZE],
            packet[-TAG_SIZE:],
        )
        assert theirs.verify_and_decrypt(header, body, tag) == plain[LENGTH_SIZE:-TAG_SIZE]


@both_ivs
@both_keys
def test_what_asyncssh_seals_is_opened(key: bytes, iv: bytes) -> None:
    ours, theirs = GcmCipher(key, iv), asyncssh_cipher(key, iv)
    for number in range(1, 300):
        plain = bytes(frame(bytes(number)))
        packet = bytearray().join(
            theirs.encrypt_and_sign(plain[:LENGTH_SIZE], plain[LENGTH_SIZE:-TAG_SIZE])
        )
        assert opened(ours, packet) == bytes(number)


@both_keys
def test_a_packet_changes_legs_in_place(key: bytes) -> None:
    """Sealed, opened, sealed for the next leg and opened there, with no byte beside it touched."""
    data, start = b"token" * 100, 50
    memory = memoryview(bytearray(b"\xee" * 1000))
    memory[start + DATA_OFFSET : start + DATA_OFFSET + len(data)] = data
    length = frame_data(memory, start, len(data))
    end = start + length + OVERHEAD
    plain = bytes(memory[start : end - TAG_SIZE])
    for iv in (IV, LAST_IV):
        GcmCipher(key, iv).seal(memory, start, length)
        assert memory[start + LENGTH_SIZE : end - TAG_SIZE] != plain[LENGTH_SIZE:]
        GcmCipher(key, iv).open(memory, start, length)
        assert memory[start : end - TAG_SIZE] == plain
    assert set(memory[:start]) == set(memory[end:]) == {0xEE}


def test_no_nonce_is_used_twice() -> None:
    cipher = GcmCipher(KEYS[0], LAST_IV)
    assert len({bytes(sealed(cipher, b"the same")) for _ in range(100)}) == 100


def test_opening_and_sealing_advance_the_same_counter() -> None:
    """A packet of asyncssh's path between two of ours is opened with the number in between."""
    ours, theirs = GcmCipher(KEYS[0], IV), GcmCipher(KEYS[0], IV)
    for message in (b"one", b"two", b"three"):
        assert opened(theirs, sealed(ours, message)) == message
    with pytest.raises(TagMismatch):
        opened(GcmCipher(KEYS[0], IV), sealed(ours, b"four"))


# -- what is not as it was sealed


def test_every_single_bit_is_verified() -> None:
    packet = bytes(sealed(GcmCipher(KEYS[0], IV), b"token"))
    for bit in range(8 * len(packet)):
        flipped = bytearray(packet)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(TagMismatch):
            GcmCipher(KEYS[0], IV).open(memoryview(flipped), 0, len(packet) - OVERHEAD)


@given(st.sampled_from(KEYS), payloads, st.data())
def test_a_flipped_bit_is_a_mismatch(key: bytes, payload: bytes, draw: st.DataObject) -> None:
    packet = sealed(GcmCipher(key, IV), payload)
    bit = draw.draw(st.integers(0, 8 * len(packet) - 1))
    packet[bit // 8] ^= 1 << bit % 8
    with pytest.raises(TagMismatch):
        GcmCipher(key, IV).open(memoryview(packet), 0, len(packet) - OVERHEAD)


@given(st.sampled_from(KEYS), st.integers(1, 8), st.data())
def test_arbitrary_bytes_are_a_mismatch(key: bytes, blocks: int, draw: st.DataObject) -> None:
    length = 16 * blocks
    size = length + OVERHEAD
    packet = bytearray(draw.draw(st.binary(min_size=size, max_size=size)))
    with pytest.raises(TagMismatch):
        GcmCipher(key, IV).open(memoryview(packet), 0, length)


def test_a_packet_out_of_its_turn_is_a_mismatch() -> None:
    sender = GcmCipher(KEYS[0], IV)
    first, second = sealed(sender, b"first"), sealed(sender, b"second")
    receiver = GcmCipher(KEYS[0], IV)
    assert opened(receiver, bytearray(first)) == b"first"
    with pytest.raises(TagMismatch):
        opened(receiver, first)
    with pytest.raises(TagMismatch):
        opened(GcmCipher(KEYS[0], IV), second)


def test_a_mismatch_is_the_peers_doing_and_says_so() -> None:
    assert isinstance(TagMismatch(), ProtocolViolation)
    assert str(TagMismatch()) == "a packet failed its integrity check"
