"""Connections that have not logged in, by the source that they come from.

MaxStartups of sshd_config(5) drops newcomers at random, whoever they are, so that one address that
holds its connections keeps all others out. Here each newcomer is measured against the sources that
are there:

* a source that has PerSourceMaxStartups of them gets no more, as with sshd;
* of the other newcomers, MaxStartups' begin:rate:full refuses only those of the source that has
  most (with others, perhaps): they are why it is full;
* everybody else comes in, and where there are `full` of them the oldest of the source that has most
  gives way.

So a newcomer from a source that has fewer than another is never refused, and there are never more
than `full`. Each step takes the same time however many there are.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from relay.settings.server import Limits

T = TypeVar("T")


class StartupTable(Generic[T]):
    """Who has not logged in. `T` is a connection."""

    def __init__(self) -> None:
        # Of each source, in the order in which they came; never empty.
        self._of: dict[str, dict[T, None]] = {}
        # The sources by how many they have, in the order in which they came to have so many; never
        # empty.
        self._having: dict[int, dict[str, None]] = {}
        # What the source that has most has.
        self._most = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def refusal(self, source: str, limits: Limits, chance: float, *, scarce: bool = False) -> str:
        """The limit that keeps a newcomer from this source out; empty: it comes in. `chance` is
        random, from 0 up to 1; `scarce` says that it is full for another reason."""
        has = len(self._of.get(source, ()))
        if limits.per_source_max_startups and has >= limits.per_source_max_startups:
            return "per-source-max-startups"
        refuses = scarce or limits.max_startups.refuses(self._count, chance)
        return "max-startups" if has and has == self._most and refuses else ""

    def oldest_of_most(self) -> T | None:
        """Who gives way: the oldest of the source that has most; of several such, of the one that
        has had so many for longest. None: nobody is there."""
        if not self._most:
            return None
        source = next(iter(self._having[self._most]))
        return next(iter(self._of[source]))

    def add(self, source: str, connection: T) -> None:
        """A newcomer came in."""
        connections = self._of.setdefault(source, {})
        self._move(source, len(connections), len(connections) + 1)
        connections[connection] = None
        self._count += 1

    def discard(self, source: str, connection: T) -> None:
        """It has logged in, or is gone."""
        connections = self._of.get(source)
        if connections is None or connection not in connections:
            return
        self._move(source, len(connections), len(connections) - 1)
        del connections[connection]
        if not connections:
            del self._of[source]
        self._count -= 1

    def _move(self, source: str, before: int, after: int) -> None:
        """A source has one more, or one less."""
        if before:
            del self._having[before][source]
            if not self._having[before]:
                del self._having[before]
        if after:
            self._having.setdefault(after, {})[source] = None
        if after > self._most or self._most not in self._having:
            self._most = after  # One less: it has most still, if no other had as many.
