"""The unsealed packets that wait for one leg, counted with those of all legs of the process."""

from __future__ import annotations

from typing import Protocol

from relay.core.channel import Channel
from relay.core.queue import FairQueue


class Shared(Protocol):
    """What waits in one process: bytes, and the legs that they wait for."""

    waiting: int
    legs_waiting: int


class Backlog(FairQueue[Channel]):
    """A leg's part in `Shared` is what it holds, at any time."""

    __slots__ = ("_shared",)

    def __init__(self, shared: Shared) -> None:
        super().__init__()
        self._shared = shared

    def push(self, key: Channel, packet: bytearray) -> None:
        if not self._ring:
            self._shared.legs_waiting += 1
        FairQueue.push(self, key, packet)
        self._shared.waiting += len(packet)

    def pop(self) -> tuple[Channel, bytearray]:
        popped = FairQueue.pop(self)
        self._let_go(len(popped[1]))
        return popped

    def drop(self, key: Channel) -> int:
        size = FairQueue.drop(self, key)
        if size:
            self._let_go(size)
        return size

    def clear(self) -> None:
        size = self.waiting
        FairQueue.clear(self)
        if size:
            self._let_go(size)

    def _let_go(self, size: int) -> None:
        self._shared.waiting -= size
        if not self._ring:
            self._shared.legs_waiting -= 1
