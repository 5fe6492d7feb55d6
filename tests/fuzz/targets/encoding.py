"""`Reader`: any fields asked of any bytes. The first byte says how many of the next are fields."""

from __future__ import annotations

from relay.errors import ProtocolViolation
from relay.wire import encoding
from relay.wire.encoding import Reader

TEXT_LIMIT = 8


def one_input(data: bytes) -> None:
    count = data[0] if data else 0
    fields, payload = data[1 : 1 + count], data[1 + count :]
    reader = Reader(payload)
    taken = b""
    try:
        for field in fields:
            taken += take(reader, field % 4)
            assert payload.startswith(taken)
    except ProtocolViolation:
        return
    try:
        reader.end()
    except ProtocolViolation:
        assert taken != payload
    else:
        assert taken == payload


def take(reader: Reader, field: int) -> bytes:
    """Read one field; returns it as it stood there."""
    match field:
        case 0:
            return encoding.byte(reader.byte())
        case 1:
            return encoding.uint32(reader.uint32())
        case 2:
            return encoding.string(reader.string())
        case _:
            text = reader.text(TEXT_LIMIT)
            assert len(text.encode()) <= TEXT_LIMIT
            return encoding.string(text)
