"""What a leg has sealed and its socket has not taken."""

from __future__ import annotations

from typing import Final, Protocol

MAX_IOVECS: Final = 512
"""Buffers in one sendmsg. Linux takes 1,024 (IOV_MAX); half is as fast."""

Buffer = bytes | bytearray | memoryview


class Taker(Protocol):
    """Where sealed packets go."""

    def send(self, buffers: list[Buffer]) -> int:
        """Take what can be taken now; returns how many bytes that was."""


class Output:
    """Sealed packets in their order.

    Packets that lie one behind the other in memory are one piece: small packets that came in one
    receive and leave on one leg need no list of buffers.
    """

    __slots__ = ("_buffers", "_end", "_start", "_view", "packets", "size")

    def __init__(self) -> None:
        self._buffers: list[Buffer] = []
        # The piece that may still grow, behind all buffers; None: there is none.
        self._view: memoryview | None = None
        self._start = 0
        self._end = 0
        # Bytes in all, and the packets that have come since all had been sent. Read by all,
        # written here only.
        self.size = 0
        self.packets = 0

    def add(self, view: memoryview, start: int, end: int) -> None:
        """The packet `view[start:end]` goes out, from where it lies, before its memory is used
        again."""
        self.size += end - start
        self.packets += 1
        if start == self._end and view is self._view:
            self._end = end
            return
        self._close_piece()
        self._view = view
        self._start = start
        self._end = end

    def append(self, data: Buffer) -> None:
        """The packet `data` goes out; its memory is nobody else's."""
        self.size += len(data)
        self.packets += 1
        self._close_piece()
        self._buffers.append(data)

    def send(self, stream: Taker) -> int:
        """Give `stream` what it takes now; returns how many bytes that was. What it has not taken
        is `size` bytes, in memory of its own."""
        buffers, taken = self._buffers, 0
        self._close_piece()
        while self.size:
            sent = stream.send(buffers)
            self.size -= sent
            taken += sent
            if not self.size:
                buffers.clear()
                self.packets = 0
            elif _take(buffers, sent):
                self.own()
                break
        return taken

    def own(self) -> None:
        """Copy what lies in memory of others, who are about to use it again."""
        self._close_piece()
        self._buffers[:] = [
            bytes(data) if isinstance(data, memoryview) else data for data in self._buffers
        ]

    def _close_piece(self) -> None:
        if self._view is not None:
            self._buffers.append(self._view[self._start : self._end])
            self._view = None


def _take(buffers: list[Buffer], sent: int) -> bool:
    """Remove `sent` bytes from the front of `buffers`; returns whether the front was cut short
    there, so that the socket is full. (sendmsg takes only so many buffers at once.)"""
    count = 0
    while sent >= len(buffers[count]):  # There is more in them.
        sent -= len(buffers[count])
        count += 1
    del buffers[:count]
    if sent:
        buffers[0] = memoryview(buffers[0])[sent:]
        return True
    return count < MAX_IOVECS
