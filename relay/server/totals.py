"""How much went to each service, by its name: what a route has carried ends with it, and an agent
that comes back publishes another.

The names are bounded, as agents make them up: whoever keeps a row for each name (metrics do, for
months) must not be given a million. The first ones have their own, the others are one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from relay.core.traffic import Traffic

MAX_NAMES: Final = 200
"""That are told apart: nine rows each, so that a scrape is a fifth of a megabyte."""


class TrafficByName:
    """Counts on while its name is published, withdrawn, and published again."""

    def __init__(self, most: int = MAX_NAMES) -> None:
        self._most = most
        self._of: dict[str, Traffic] = {}
        # How many routes have the name now; never 0. And those that nobody has, the eldest first.
        self._published: Counter[str] = Counter()
        self._idle: dict[str, None] = {}
        # Of all that have none of their own.
        self.others = Traffic()

    def __iter__(self) -> Iterator[tuple[str, Traffic]]:
        """Those that are told apart."""
        return iter(tuple(self._of.items()))

    def begin(self, name: str) -> Traffic:
        """A route of this name is published: what counts for it as well."""
        traffic = self._of.get(name)
        if traffic is None:
            if len(self._of) >= self._most:
                if not self._idle:
                    return self.others
                # Its row ends. (Its sum is none of the others': they would seem to leap.)
                eldest = next(iter(self._idle))
                del self._idle[eldest], self._of[eldest]
            traffic = self._of[name] = Traffic()
        self._idle.pop(name, None)
        self._published[name] += 1
        return traffic

    def end(self, name: str, traffic: Traffic) -> None:
        """It is withdrawn; `traffic` is what `begin` gave."""
        if self._of.get(name) is not traffic:
            return
        self._published[name] -= 1
        if not self._published[name]:
            del self._published[name]
            self._idle[name] = None
