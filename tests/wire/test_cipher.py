"""relay/wire/cipher.py: lengths and padding, and the cipher that is none yet (RFC 4253 §6)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import ProtocolViolation
from relay.wire.cipher import LEAST_LENGTH, PLAIN_BLOCK, Plain, check_size, repadded
from relay.wire.encoding import uint32
from relay.wire.packet import MAX_LENGTH, OVERHEAD, TAIL_ROOM, frame, payload_end, read_header

blocks = st.sampled_from([8, 16])
uncounted = st.sampled_from([0, 4])
payloads = st.binary(min_size=1, max_size=300)


@given(payloads, blocks, uncounted, st.integers(0, 40))
def test_repadded_is_what_another_cipher_wants(
    payload: bytes, block: int, before: int, start: int
) -> None:
    """The same payload, with the least padding of four or more zeros that fills its blocks."""
    packet = bytes(start) + frame(payload)
    length = len(packet) - start - OVERHEAD
    body = repadded(memoryview(packet), start, length, block, before)
    size = body[0]
    assert body[1:] == payload + bytes(size)
    assert (before + len(body)) % block == 0
    assert 4 <= size < 4 + block


@given(payloads, blocks, uncounted)
def test_what_is_repadded_has_a_length_that_is_accepted(
    payload: bytes, block: int, before: int
) -> None:
    packet = memoryview(frame(payload))
    check_size(len(repadded(packet, 0, len(packet) - OVERHEAD, block, before)), block, before)


@given(st.integers(0, MAX_LENGTH + 64) | st.integers(0, 2**32 - 1), blocks, uncounted)
def test_check_size(length: int, block: int, before: int) -> None:
    good = LEAST_LENGTH <= length <= MAX_LENGTH and (before + length) % block == 0
    try:
        check_size(length, block, before)
    except ProtocolViolation:
        assert not good
    else:
        assert good


def test_the_least_and_the_largest_length() -> None:
    check_size(8, 8)
    check_size(MAX_LENGTH, 16)
    with pytest.raises(ProtocolViolation, match="no multiple of 8"):
        check_size(0, 8)
    with pytest.raises(ProtocolViolation, match=f"more than {MAX_LENGTH}"):
        check_size(MAX_LENGTH + 8, 8)


def test_a_payload_that_is_not_there_is_not_repadded() -> None:
    packet = frame(b"x")
    packet[4] = 200
    with pytest.raises(ProtocolViolation, match="a padding of 200 bytes"):
        repadded(memoryview(packet), 0, len(packet) - OVERHEAD, 8)


# -- no cipher yet


@given(payloads, st.integers(0, 40))
def test_plain_there_and_back(payload: bytes, start: int) -> None:
    packet = memoryview(frame(payload))
    before = bytes(packet)
    sealed = Plain().seal(packet, 0, len(packet) - OVERHEAD)
    assert packet == before
    assert len(sealed) % PLAIN_BLOCK == 0
    assert len(sealed) >= 16
    view = memoryview(bytearray(bytes(start) + sealed))
    length = Plain().length(view, start)
    assert Plain.overhead + length == len(sealed)
    assert Plain().open(view, start, length) is None
    assert view[start + 5 : payload_end(view, start, length)] == payload


@given(payloads)
def test_whatever_is_plain_has_room_for_a_header(payload: bytes) -> None:
    """`read_header` reads as much whatever the message is."""
    packet = memoryview(frame(payload))
    sealed = memoryview(Plain().seal(packet, 0, len(packet) - OVERHEAD))
    assert read_header(sealed, 0)[2] == payload[0]
    # The shortest of all is behind another cipher, which leaves room.
    assert len(uint32(LEAST_LENGTH)) + LEAST_LENGTH + TAIL_ROOM >= 14


@pytest.mark.parametrize("length", [0, 4, 11, 13, 16, MAX_LENGTH + 4, 2**32 - 4])
def test_a_plain_length_that_cannot_be(length: int) -> None:
    with pytest.raises(ProtocolViolation):
        Plain().length(memoryview(uint32(length)), 0)
