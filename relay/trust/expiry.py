"""What ends at a time of day: rights that expire while their owner is there."""

from __future__ import annotations

from heapq import heappop, heappush
from math import ceil
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Expiries(Generic[Item]):
    """Items, each with the time at which it is due. Times are seconds since the epoch: a machine
    that slept finds due what expired meanwhile.

    By whole seconds, so that ten thousand items of one authority share a place. One that goes
    before its time leaves that behind, and finds it again when it comes back.
    """

    def __init__(self) -> None:
        # The items of each second, perhaps none any more; `_seconds` has each second once.
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
        if second is not None:
            self._at[second].discard(item)

    def due(self, now: float) -> list[Item]:
        """Take out what is due."""
        due: list[Item] = []
        while self._seconds and self._seconds[0] <= now:
            for item in self._at.pop(heappop(self._seconds)):
                del self._of[item]
                due.append(item)
        return due
