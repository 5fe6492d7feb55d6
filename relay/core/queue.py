"""The packets that wait for a leg, a queue for each channel, leaving in turn.

Deficit round robin (Shreedhar and Varghese, 1995): in each round a channel may send a quantum of
bytes, and what it could not use because its next packet is larger is kept for the next round. So
a bulk stream with packets of 128 KiB and a token stream with packets of 100 bytes get the same
share of a full leg, and a token waits for one packet of each bulk stream, not for all of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

QUANTUM: Final = 32 * 1024
"""Bytes that a channel may send in a round: the usual packet of a stock ssh, so that most take
their turn with one packet, without a second round of counting."""


class FairQueue(Generic[Key]):
    """First in, first out within a key; in turn between keys. A key with nothing waiting
    costs nothing."""

    __slots__ = ("_deficits", "_queues", "_ring", "waiting")

    def __init__(self) -> None:
        # A key is in the ring exactly when its queue is in `_queues` and is not empty.
        self._ring: deque[Key] = deque()
        self._queues: dict[Key, deque[bytearray]] = {}
        self._deficits: dict[Key, int] = {}
        # Bytes in all queues together. Read by all, written here only.
        self.waiting = 0

    def __bool__(self) -> bool:
        return bool(self._ring)

    def holds(self, key: Key) -> bool:
        """Is anything waiting for `key`?"""
        return key in self._queues

    def size(self, key: Key) -> int:
        """Bytes that wait for `key`."""
        return sum(map(len, self._queues.get(key, ())))

    def push(self, key: Key, packet: bytearray) -> None:
        """Let `packet` wait behind the others of its key."""
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = deque()
            self._deficits[key] = QUANTUM
            self._ring.append(key)
        queue.append(packet)
        self.waiting += len(packet)

    def pop(self) -> tuple[Key, bytearray]:
        """The next packet in turn. Raises IndexError when nothing waits."""
        while True:
            key = self._ring[0]
            queue = self._queues[key]
            size = len(queue[0])
            if size <= self._deficits[key]:
                break
            self._deficits[key] += QUANTUM
            self._ring.rotate(-1)
        packet = queue.popleft()
        self.waiting -= size
        self._deficits[key] -= size
        if not queue:
            self._forget(key)
        return key, packet

    def drop(self, key: Key) -> int:
        """Throw away what waits for `key`; returns the bytes that it held."""
        queue = self._queues.get(key)
        if queue is None:
            return 0
        size = self.size(key)
        self.waiting -= size
        self._forget(key)
        return size

    def clear(self) -> None:
        """Throw everything away."""
        for table in (self._ring, self._queues, self._deficits):
            table.clear()
        self.waiting = 0

    def _forget(self, key: Key) -> None:
        self._ring.remove(key)
        del self._queues[key]
        del self._deficits[key]
