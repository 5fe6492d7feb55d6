"""The data types of RFC 4251 §5: what is needed of them, both ways."""

from __future__ import annotations

from relay.errors import ProtocolViolation
from relay.wire.numbers import MAX_UINT32


def byte(value: int) -> bytes:
    """One byte."""
    return value.to_bytes(1, "big")


def uint32(value: int) -> bytes:
    """Four bytes, most significant first."""
    return value.to_bytes(4, "big")


def string(value: bytes | str) -> bytes:
    """A length and that many bytes; text goes as UTF-8."""
    data = value.encode() if isinstance(value, str) else value
    return len(data).to_bytes(4, "big") + data


def mpint(value: bytes) -> bytes:
    """A number that is not negative, given by its bytes, most significant first."""
    digits = value.lstrip(b"\0")
    return string(b"\0" + digits if digits[:1] >= b"\x80" else digits)


class Reader:
    """Takes the fields of a payload one after the other.

    Every method raises `ProtocolViolation` when the payload is too short for its field.
    """

    __slots__ = ("_data", "_position")

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self._data = bytes(data)
        self._position = 0

    def _take(self, size: int) -> bytes:
        end = self._position + size
        if end > len(self._data):
            raise ProtocolViolation("a message ends before its last field")
        field = self._data[self._position : end]
        self._position = end
        return field

    @property
    def left(self) -> int:
        """How many bytes there are still."""
        return len(self._data) - self._position

    def skip(self, size: int) -> None:
        self._take(size)

    def byte(self) -> int:
        return self._take(1)[0]

    def uint64(self) -> int:
        return int.from_bytes(self._take(8), "big")

    def uint32(self) -> int:
        return int.from_bytes(self._take(4), "big")

    def string(self) -> bytes:
        return self._take(self.uint32())

    def text(self, limit: int = MAX_UINT32) -> str:
        """A string of UTF-8 text of at most `limit` bytes."""
        data = self.string()
        if len(data) > limit:
            raise ProtocolViolation(f"a text of {len(data)} bytes where {limit} are allowed")
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise ProtocolViolation("a text that is not UTF-8") from None

    def rest(self) -> bytes:
        """All that is left."""
        return self._take(self.left)

    def end(self) -> None:
        """Nothing may follow."""
        if self.left:
            raise ProtocolViolation("bytes after a message's last field")
