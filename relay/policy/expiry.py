"""What ends at a time of day: rights that expire while their owner is there."""

from __future__ import annotations

from heapq import heappop, heappush
from math import ceil
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Expiries(Generic[Item]):
    """Items, each with the time at which it is due. Times are seconds since the epoch: a machine
    that slept finds due what expired meanwhile.

    By whole seconds, so that ten thousand items of one authority share a place, and one that goes
    before its time leaves nothing behind but a number.
    """

    def __init__(self) -> None:
        # Each second has its items or is gone; `_seconds` has each of them, perhaps twice.
        self._at: dict[int, set[Item]] = {}
        self._seconds: list[int] = []
        self._of: dict[Item, int] = {}

    def __len__(self) -> int:
        return len(self._of)

    def set(self, item: Item, when: float | None) -> None:
        """From now on `item` is due then; None: never."""
        self.discard(item)
        if when is None:
            return
        second = ceil(when)
        if second not in self._at:
            self._at[second] = set()
            heappush(self._seconds, second)
        self._at[second].add(item)
        self._of[item] = second

    def discard(self, item: Item) -> None:
        """It is gone, if it was there."""
        second = self._of.pop(item, None)
        if second is None:
            return
        items = self._at[second]
        items.discard(item)
        if not items:
            del self._at[second]

    def due(self, now: float) -> list[Item]:
        """Take out what is due."""
        due: list[Item] = []
        while self._seconds and self._seconds[0] <= now:
            for item in self._at.pop(heappop(self._seconds), ()):
                del self._of[item]
                due.append(item)
        return due
