"""relay/wire/packet.py: the shape of a packet, and of a data packet in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import ProtocolViolation
from relay.wire.encoding import Reader, byte, string, uint32
from relay.wire.numbers import MSG_CHANNEL_DATA
from relay.wire.packet import (
    BLOCK_SIZE,
    DATA_HEADER,
    DATA_OFFSET,
    LABEL_OFFSET,
    LENGTH_SIZE,
    MAX_DATA,
    MAX_LENGTH,
    MIN_PADDING,
    OVERHEAD,
    PAYLOAD_OFFSET,
    TAG_SIZE,
    TAIL_ROOM,
    check_data,
    check_length,
    frame,
    frame_data,
    padding_for,
    payload_end,
    read_header,
    read_length,
    write_label,
)


def data_size(packet: memoryview, start: int, length: int) -> int:
    """How much data the opened data packet at `start` holds, as a leg reads it."""
    _, padding, _, _, size = read_header(packet, start)
    check_data(length, padding, size)
    return int(size)


def data_message(label: int, data: bytes) -> bytes:
    """CHANNEL_DATA of RFC 4254 §5.2, put together field by field."""
    return byte(MSG_CHANNEL_DATA) + uint32(label) + string(data)


# -- the length field


def test_every_length_that_is_accepted() -> None:
    accepted = []
    for length in range(MAX_LENGTH + 2 * BLOCK_SIZE):
        try:
            check_length(length)
        except ProtocolViolation:
            continue
        accepted.append(length)
    assert accepted == list(range(BLOCK_SIZE, MAX_LENGTH + 1, BLOCK_SIZE))


def test_a_length_that_is_too_large_says_the_limit() -> None:
    with pytest.raises(ProtocolViolation, match=f"of 4294967295 bytes, more than {MAX_LENGTH}"):
        check_length(2**32 - 1)


# -- the padding


def test_padding_is_the_least_that_the_rfc_allows() -> None:
    for size in range(3 * BLOCK_SIZE):
        allowed = [n for n in range(MIN_PADDING, 256) if (1 + size + n) % BLOCK_SIZE == 0]
        assert padding_for(size) == min(allowed)


def packet_of(payload: bytes, padding: int) -> tuple[memoryview, int]:
    """An opened packet with `padding` bytes of padding, and its length field."""
    body = byte(padding) + payload + b"\xee" * padding
    return memoryview(uint32(len(body)) + body + bytes(TAG_SIZE)), len(body)


def test_a_payload_ends_where_its_padding_begins() -> None:
    for padding in range(MIN_PADDING, 256):
        packet, length = packet_of(b"payload", padding)
        assert bytes(packet[PAYLOAD_OFFSET : payload_end(packet, 0, length)]) == b"payload"


@pytest.mark.parametrize("padding", range(MIN_PADDING))
def test_too_little_padding_is_a_violation(padding: int) -> None:
    packet, length = packet_of(b"payload", padding)
    with pytest.raises(ProtocolViolation, match=f"a padding of {padding} bytes"):
        payload_end(packet, 0, length)


@pytest.mark.parametrize("start", [0, 40])
def test_padding_may_take_all_but_one_byte(start: int) -> None:
    """Payloads of 2, 1, 0 and "-1" bytes in a packet of one block."""
    sizes = []
    for padding in (13, 14, 15, 16):
        packet = bytearray(start) + bytes([0, 0, 0, 16, padding, *bytes(15)])
        try:
            sizes.append(payload_end(packet, start, 16) - start - PAYLOAD_OFFSET)
        except ProtocolViolation:
            sizes.append(-1)
    assert sizes == [2, 1, -1, -1]


# -- whole packets


def test_frame() -> None:
    close = b"\x61\0\0\0\7"
    assert frame(close) == b"\0\0\0\x10\x0a" + close + bytes(10) + bytes(TAG_SIZE)


@given(st.binary(min_size=1, max_size=300))
def test_what_is_framed_is_found_again(payload: bytes) -> None:
    packet = frame(payload)
    length = read_length(packet)[0]
    check_length(length)
    assert len(packet) == length + OVERHEAD
    assert packet[PAYLOAD_OFFSET : payload_end(packet, 0, length)] == payload


@given(st.binary(max_size=300), st.integers(0, 40))
def test_data_is_framed_around_itself(data: bytes, start: int) -> None:
    """The same packet as `frame` makes of the message, in memory full of something else."""
    expected = frame(data_message(0, data))[:-TAG_SIZE]
    end = start + len(expected)
    memory = bytearray(b"\xee" * (end + 40))
    memory[start + DATA_OFFSET : start + DATA_OFFSET + len(data)] = data
    length = frame_data(memoryview(memory), start, len(data))
    assert memory[start:end] == expected
    assert read_length(memory, start)[0] == length == len(expected) - LENGTH_SIZE
    assert set(memory[:start] + memory[end:]) == {0xEE}


@given(st.binary(max_size=100), st.integers(0, 2**32 - 1), st.integers(0, 40))
def test_the_label_is_all_that_relabelling_changes(data: bytes, label: int, start: int) -> None:
    memory = memoryview(bytearray(start) + frame(data_message(7, data)))
    write_label(memory, start + LABEL_OFFSET, label)
    assert memory == bytearray(start) + frame(data_message(label, data))


def test_room_behind_the_data_for_padding_and_tag() -> None:
    padding = {padding_for(DATA_HEADER + size) for size in range(BLOCK_SIZE)}
    assert max(padding) + TAG_SIZE <= TAIL_ROOM


def test_the_largest_data_makes_a_packet_that_is_accepted() -> None:
    check_length(read_length(frame(data_message(0, bytes(MAX_DATA))))[0])


# -- the three lengths of a data packet


@given(st.binary(max_size=100), st.integers(0, 15), st.integers(0, 40))
def test_data_is_as_long_as_its_three_lengths_say(data: bytes, blocks: int, start: int) -> None:
    message = data_message(1, data)
    padding = padding_for(len(message)) + blocks * BLOCK_SIZE
    packet, length = packet_of(message, min(padding, 255 - (255 - padding) % BLOCK_SIZE))
    assert data_size(memoryview(bytes(start) + packet), start, length) == len(data)


@pytest.mark.parametrize("claimed", [0, 4, 6, 21, 2**31, 2**32 - 1])
def test_data_that_claims_another_size_is_a_violation(claimed: int) -> None:
    message = byte(MSG_CHANNEL_DATA) + uint32(1) + uint32(claimed) + b"12345"
    packet, length = packet_of(message, padding_for(len(message)))
    with pytest.raises(ProtocolViolation, match=f"claims {claimed} of data"):
        data_size(packet, 0, length)


PAYLOADS = st.one_of(
    st.binary(max_size=60),
    st.builds(
        lambda size, data: byte(MSG_CHANNEL_DATA) + uint32(1) + uint32(size) + data,
        st.integers(0, 8),
        st.binary(max_size=8),
    ),
)


@given(PAYLOADS, st.integers(0, 40), st.integers(0, 255), st.binary(min_size=100, max_size=100))
def test_arbitrary_packets_are_read_as_a_plain_parser_does(
    payload: bytes, filler: int, padding: int, rest: bytes
) -> None:
    """Length field in order, everything behind it arbitrary: a size, or a violation."""
    blocks = -(-(1 + len(payload) + filler) // BLOCK_SIZE)
    length = blocks * BLOCK_SIZE
    body = (byte(padding) + payload + rest)[:length]
    packet = memoryview(uint32(length) + body + bytes(TAG_SIZE))
    assert size_or_violation(packet, length) == plain_size_or_violation(body)


def size_or_violation(packet: memoryview, length: int) -> int | None:
    try:
        return data_size(packet, 0, length)
    except ProtocolViolation:
        return None


def plain_size_or_violation(body: bytes) -> int | None:
    padding = body[0]
    if padding < MIN_PADDING or padding >= len(body) - 1:
        return None
    reader = Reader(body[1:-padding])
    try:
        reader.byte()
        reader.uint32()
        data = reader.string()
        reader.end()
    except ProtocolViolation:
        return None
    return len(data)
