"""The shape of a packet: any bytes as an opened packet, and packets around any bytes."""

from __future__ import annotations

from relay.errors import ProtocolViolation
from relay.wire import packet
from relay.wire.packet import DATA_OFFSET, LENGTH_SIZE, MIN_PADDING, OVERHEAD, PAYLOAD_OFFSET


def one_input(data: bytes) -> None:
    read(data)
    write(data)


def read(data: bytes) -> None:
    if len(data) < LENGTH_SIZE:
        return
    (length,) = packet.read_length(data)
    try:
        packet.check_length(length)
        if len(data) < length + OVERHEAD:
            return  # Its rest has not come.
        buffer = memoryview(bytearray(data))
        end = packet.payload_end(buffer, 0, length)
        assert PAYLOAD_OFFSET < end <= LENGTH_SIZE + length - MIN_PADDING
        assert DATA_OFFSET + data_size(buffer, length) == end
    except ProtocolViolation:
        return


def write(data: bytes) -> None:
    whole = packet.frame(data)
    (length,) = packet.read_length(whole)
    assert length + OVERHEAD == len(whole)
    if data:
        packet.check_length(length)
        end = packet.payload_end(whole, 0, length)
        assert whole[PAYLOAD_OFFSET:end] == data

    # What stood in the buffer before must not leak.
    buffer = bytearray(b"\xff" * (DATA_OFFSET + len(data) + packet.TAIL_ROOM))
    buffer[DATA_OFFSET : DATA_OFFSET + len(data)] = data
    view = memoryview(buffer)
    length = packet.frame_data(view, 0, len(data))
    packet.check_length(length)
    assert packet.read_length(view) == (length,)
    assert data_size(view, length) == len(data)
    end = DATA_OFFSET + len(data)
    assert buffer[DATA_OFFSET:end] == data
    assert not any(buffer[end : LENGTH_SIZE + length])
    assert LENGTH_SIZE + length + packet.TAG_SIZE <= len(buffer)


def data_size(buffer: memoryview, length: int) -> int:
    _, padding, _, _, size = packet.read_header(buffer, 0)
    packet.check_data(length, padding, size)
    return int(size)
